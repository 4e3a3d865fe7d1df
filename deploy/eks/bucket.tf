# The bucket: never public, and it forgets by itself what the service could not remove.

resource "aws_s3_bucket" "media" {
  #checkov:skip=CKV_AWS_18:an access log would list the capability in every key
  #checkov:skip=CKV_AWS_21:an old version would be the face that somebody wanted gone
  #checkov:skip=CKV_AWS_144:what is kept for days is not copied to other regions
  #checkov:skip=CKV_AWS_145:encrypted with S3's own keys, which cost no call for each object
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "media" {
  bucket                  = aws_s3_bucket.media.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "media" {
  bucket = aws_s3_bucket.media.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "media" {
  bucket = aws_s3_bucket.media.id

  # The service removes originals when their work ends and results after MASQUERADE_RESULT_TTL.
  rule {
    id     = "uploads"
    status = "Enabled"
    filter {
      prefix = "uploads/"
    }
    expiration {
      days = 2
    }
  }

  dynamic "rule" {
    for_each = toset(["results", "rigs", "motions", "work"])
    content {
      id     = rule.value
      status = "Enabled"
      filter {
        prefix = "${rule.value}/"
      }
      expiration {
        days = var.result_days
      }
    }
  }

  rule {
    id     = "unfinished"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_cors_configuration" "media" {
  bucket = aws_s3_bucket.media.id
  cors_rule {
    allowed_methods = ["GET", "HEAD", "PUT"]
    allowed_origins = var.page_origins
    allowed_headers = ["content-type", "range"]
    expose_headers  = ["content-length", "content-range", "etag"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_policy" "media" {
  bucket = aws_s3_bucket.media.id
  policy = data.aws_iam_policy_document.media.json
}

data "aws_iam_policy_document" "media" {
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.media.arn, "${aws_s3_bucket.media.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

locals {
  buckets = concat(
    [aws_s3_bucket.media.arn],
    [for name in var.batch_buckets : "arn:aws:s3:::${name}"],
  )
}
