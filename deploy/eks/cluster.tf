# The cluster, and two groups of nodes that share no work: CPU nodes, and GPU nodes, which are
# tainted and labelled as the overlays of deploy/k8s expect.

resource "aws_kms_key" "cluster" {
  description             = "Secrets of the cluster ${var.cluster}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
}

data "aws_caller_identity" "here" {}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:a key's own policy can name no resource but itself
  #checkov:skip=CKV_AWS_111:as above
  #checkov:skip=CKV_AWS_356:as above
  statement {
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${data.aws_caller_identity.here.account_id}:root"]
    }
  }
}

resource "aws_eks_cluster" "this" {
  name     = var.cluster
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn

  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }

  encryption_config {
    resources = ["secrets"]
    provider {
      key_arn = aws_kms_key.cluster.arn
    }
  }

  depends_on = [aws_iam_role_policy_attachment.cluster]
}

locals {
  groups = {
    cpu = {
      ami       = "AL2023_x86_64_STANDARD"
      types     = var.cpu_instance_types
      nodes     = var.cpu_nodes
      disk      = 100
      labels    = {}
      taints    = []
      templates = {}
    }
    gpu = {
      # Amazon Linux with NVIDIA's driver and container toolkit.
      ami   = "AL2023_x86_64_NVIDIA"
      types = var.gpu_instance_types
      nodes = var.gpu_nodes
      disk  = 150
      labels = {
        "nvidia.com/gpu.present" = "true"
        # By this one the Cluster Autoscaler knows GPU nodes, and waits for their GPUs to appear
        # instead of starting node after node.
        "k8s.amazonaws.com/accelerator" = var.gpu_accelerator
      }
      taints = [{ key = "nvidia.com/gpu", value = "present", effect = "NO_SCHEDULE" }]
      # What a node of the group will have, for an autoscaler that sees none yet and by itself
      # knows only an instance type's cores, memory and pods. Of the disk the kubelet keeps a tenth.
      templates = {
        "label/nvidia.com/gpu.present"        = "true"
        "label/k8s.amazonaws.com/accelerator" = var.gpu_accelerator
        "taint/nvidia.com/gpu"                = "present:NoSchedule"
        "resources/nvidia.com/gpu"            = "1"
        "resources/ephemeral-storage"         = "130Gi"
      }
    }
  }
}

resource "aws_launch_template" "nodes" {
  for_each    = local.groups
  name_prefix = "${var.cluster}-${each.key}-"

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = each.value.disk
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  # One hop: the node's credentials are for the node, not for its pods.
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_eks_node_group" "nodes" {
  for_each        = local.groups
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = each.key
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = var.subnet_ids
  ami_type        = each.value.ami
  instance_types  = each.value.types
  labels          = each.value.labels

  launch_template {
    id      = aws_launch_template.nodes[each.key].id
    version = aws_launch_template.nodes[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.nodes.min
    max_size     = each.value.nodes.max
    desired_size = each.value.nodes.min
  }

  update_config {
    max_unavailable = 1
  }

  dynamic "taint" {
    for_each = each.value.taints
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = taint.value.effect
    }
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # the autoscaler's business
  }

  depends_on = [aws_iam_role_policy_attachment.node]
}

# A managed group does not pass its tags on to the scaling group, where the autoscaler reads them.
resource "aws_autoscaling_group_tag" "template" {
  for_each               = local.groups.gpu.templates
  autoscaling_group_name = aws_eks_node_group.nodes["gpu"].resources[0].autoscaling_groups[0].name
  tag {
    key                 = "k8s.io/cluster-autoscaler/node-template/${each.key}"
    value               = each.value
    propagate_at_launch = false
  }
}

# Network policies are enforced by the network plugin only where it is told to; volumes for
# Redis come from the EBS driver; metrics-server feeds the pods' autoscaler.
resource "aws_eks_addon" "these" {
  for_each = {
    vpc-cni            = { role = null, values = jsonencode({ enableNetworkPolicy = "true" }) }
    kube-proxy         = { role = null, values = null }
    coredns            = { role = null, values = null }
    metrics-server     = { role = null, values = null }
    aws-ebs-csi-driver = { role = aws_iam_role.pods["ebs"].arn, values = null }
  }
  cluster_name             = aws_eks_cluster.this.name
  addon_name               = each.key
  service_account_role_arn = each.value.role
  configuration_values     = each.value.values
  # A new cluster comes with some of them already, which these take over.
  resolve_conflicts_on_create = "OVERWRITE"
  depends_on                  = [aws_eks_node_group.nodes]
}
