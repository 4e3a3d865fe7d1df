"""Where a batch reads and writes: a prefix of a bucket, or a folder below an allowed root."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import BadOption, Forbidden
from gateway.jobs.bucket_tree import S3, BucketTree
from gateway.jobs.folder_tree import FolderTree
from gateway.jobs.tree import Tree
from gateway.object_names import OURS
from gateway.settings import Settings
from gateway.storage import Storage


def open_tree(url: str, settings: Settings, storage: Storage) -> Tree:
    """The tree behind ``s3://bucket/prefix/`` or the absolute path of a folder.

    Raises:
        BadOption: it is neither. Forbidden: not one of those the settings allow.
    """
    if url.startswith(S3):
        bucket, _, prefix = url.removeprefix(S3).partition("/")
        return _bucket_tree(bucket, prefix, settings, storage)
    if not url.startswith("/") or "\0" in url:
        raise BadOption(
            f"{url[:80]!r} is neither s3://bucket/prefix/ nor the absolute path of a folder"
        )
    roots = [Path(root) for root in settings.batch_roots.split(":") if root]
    real = Path(os.path.realpath(url))  # Path.resolve stumbles over a circle of links
    for root in roots:
        if real.is_relative_to(root.resolve()):
            return FolderTree(real, root.resolve())
    raise Forbidden(
        "this folder is not below one that the service may read"
        " (setting MASQUERADE_BATCH_ROOTS); use s3://, or ask the operator"
    )


def _bucket_tree(bucket: str, prefix: str, settings: Settings, storage: Storage) -> Tree:
    named = {name.strip() for name in settings.batch_buckets.split(",")} - {""}
    if bucket not in {settings.s3_bucket, *named}:
        raise Forbidden(
            f"the bucket {bucket[:64]!r} is not one that batches may use"
            " (setting MASQUERADE_BATCH_BUCKETS)"
        )
    prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
    own = bucket == settings.s3_bucket
    if own and (not prefix or prefix.startswith(OURS)):
        raise Forbidden(f"in the service's own bucket name a prefix other than {', '.join(OURS)}")
    return BucketTree(storage.at(bucket), bucket, prefix)
