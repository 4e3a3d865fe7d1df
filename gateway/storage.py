"""The object store: objects, and presigned URLs to them. The only module that knows boto3.

Nothing is ever public: clients get presigned URLs that promise no more life than the credentials
behind them have.
"""

from __future__ import annotations

import contextlib
import copy
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import boto3
import botocore.session
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.loaders import create_loader

from gateway import metrics, traces
from gateway.clocks import StoreClock
from gateway.deadline import at_most, bounded
from gateway.errors import NotFound, StorageUnavailable
from gateway.settings import MIB, Settings

_LONGEST_LIFE = 7 * 86400  # seconds, the most that SigV4 allows
_SILENCE = 20.0  # seconds without a byte after which a connection is given up
_SLOWEST = 4 * MIB  # bytes a second that a patient caller expects at least
# Read once a process, and known to the processes forked from it: it takes a fifth of a second.
_SERVICE_DESCRIPTIONS = create_loader()
_MISSING = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"403", "AccessDenied", "AllAccessDisabled", "NoSuchBucket", "InvalidBucketName"}
_WORDLESS = {"400", "403"}  # what HEAD answers, which has no body, to whatever was wrong
_PASSING = {"ExpiredToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "RequestTimeout"}


@dataclass(frozen=True)
class Link:
    """A presigned URL and the moment (UTC) from which it is refused."""

    url: str
    expires_at: datetime


@dataclass(frozen=True)
class Stored:
    """What the store says about an object. ``modified`` is in UTC.

    ``etag`` changes with the content; ``note`` is what :meth:`Storage.put` was given to
    remember, which only :meth:`Storage.look` tells.
    """

    key: str
    size: int
    modified: datetime
    etag: str = ""
    note: Mapping[str, str] = field(default_factory=dict)


class Storage:
    """One bucket. Every method raises ``StorageUnavailable`` when the store fails; those that
    move bytes or look ``DeadlineExceeded`` when the present request has no more time."""

    def __init__(self, settings: Settings, patience: float = 0.0) -> None:
        """See the settings ``s3_*``.

        patience: longest time in s for a call, besides what its bytes take; 0 where a job's
        deadline is the only one.
        """
        self._settings = settings
        self._bucket = settings.s3_bucket
        self._patience = patience
        self._clock = StoreClock()
        plain = botocore.session.Session()
        plain.register_component("data_loader", _SERVICE_DESCRIPTIONS)
        self._session = boto3.Session(region_name=settings.s3_region, botocore_session=plain)
        self._client = self._connect(settings.s3_endpoint)
        public = settings.s3_public_endpoint
        self._signer = self._connect(public) if public else self._client
        self._transfer = TransferConfig(
            multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4
        )

    def _connect(self, endpoint: str) -> Any:
        config = Config(
            signature_version="s3v4",
            connect_timeout=3,
            read_timeout=min(self._patience or _SILENCE, _SILENCE),
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=32,
            # AWS wants the bucket in the host name; other servers rarely resolve that
            s3={"addressing_style": "path" if endpoint else "virtual"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = self._session.client("s3", endpoint_url=endpoint or None, config=config)
        client.meta.events.register("after-call.s3", self._clock.look)
        return client

    def at(self, bucket: str) -> Storage:
        """The same store's other bucket."""
        other = copy.copy(self)
        other._bucket = bucket
        return other

    # objects

    def put(
        self,
        key: str,
        body: BinaryIO,
        content_type: str,
        filename: str = "",
        note: Mapping[str, str] | None = None,
    ) -> None:
        """Store a seekable binary file from its start, whole or not at all.

        ``filename`` is the one offered to users; ``note`` (ASCII) is kept beside the object.
        """
        size = body.seek(0, io.SEEK_END)
        body.seek(0)
        extra: dict[str, Any] = {"ContentType": content_type, "CacheControl": "private, no-store"}
        if note:
            extra["Metadata"] = dict(note)
        if filename:
            extra["ContentDisposition"] = f'inline; filename="{filename}"'
        with _asking("put"), self._bound(size):
            if size < self._transfer.multipart_threshold:
                # The transfer's threads cost several times what a small object does.
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **extra)
                return
            # The transfer closes what it is given; the caller may want the file again.
            self._client.upload_fileobj(
                _KeepOpen(body), self._bucket, key, ExtraArgs=extra, Config=self._transfer
            )

    def look(self, key: str) -> Stored:
        """What is known of an object; NotFound when there is none."""
        with _asking("head"), self._bound():
            seen = self._ask_head(key)
        note = {name.lower(): value for name, value in seen.get("Metadata", {}).items()}
        return Stored(key, int(seen["ContentLength"]), seen["LastModified"], _etag(seen), note)

    def size(self, key: str) -> int:
        """Bytes of an object; NotFound when there is none."""
        with _asking("head"), self._bound():
            return int(self._ask_head(key)["ContentLength"])

    def head(self, key: str, count: int) -> bytes:
        """The first ``count`` bytes, which it must have; NotFound when there is none."""
        with _asking("read"), self._bound():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes=0-{count - 1}"
            )
            head = bytes(answer["Body"].read(count))
            if len(head) < count:  # botocore says so of whole bodies only
                raise IncompleteReadError(actual_bytes=len(head), expected_bytes=count)
            return head

    def fetch(self, key: str, out: BinaryIO, progress: Callable[[int], None] | None = None) -> str:
        """Copy an object into a file; ``progress`` is called with bytes done so far.

        Returns the etag of what was copied.
        """
        done = 0
        with _asking("get"):
            with self._bound():
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with self._bound(int(answer["ContentLength"])):
                for chunk in answer["Body"].iter_chunks(MIB):
                    out.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress(done)
        out.flush()
        return _etag(answer)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, whatever the request's deadline; those already gone are no error."""
        with _asking("delete"), at_most(self._patience):
            for key in keys:
                self._client.delete_object(Bucket=self._bucket, Key=key)

    def list(self, prefix: str, after: str = "", page: int = 1000) -> Iterator[Stored]:
        """All objects under a prefix, in the order of their keys, from the key ``after`` on.

        They are asked for as they are used, ``page`` at a time.
        """
        with _store_errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket,
                Prefix=prefix,
                PaginationConfig={"PageSize": page},
                **({"StartAfter": after} if after else {}),
            )
            for found in pages:
                for item in found.get("Contents", ()):
                    yield Stored(item["Key"], int(item["Size"]), item["LastModified"], _etag(item))

    def abort_unfinished(self, before: datetime, prefix: str = "") -> int:
        """Drop multipart uploads begun before a moment (UTC); a killed process leaves them.

        Only those of keys that begin with ``prefix``. Answers how many.
        """
        dropped = 0
        with _store_errors():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            for item in (item for page in pages for item in page.get("Uploads", ())):
                # Not every server heeds the prefix.
                if item["Initiated"] < before and item["Key"].startswith(prefix):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=item["Key"], UploadId=item["UploadId"]
                    )
                    dropped += 1
        return dropped

    # presigned URLs

    def link(self, key: str) -> Link:
        """A presigned GET."""
        return self._presign("get_object", {"Key": key})

    def put_link(self, key: str, size: int | None, content_type: str | None) -> Link:
        """A presigned PUT; a given size (bytes) and content type are part of the signature."""
        given: dict[str, Any] = {"Key": key}
        if size is not None:
            given["ContentLength"] = size
        if content_type:
            given["ContentType"] = content_type
        return self._presign("put_object", given)

    def _presign(self, call: str, params: dict[str, Any]) -> Link:
        with _store_errors():
            now = self._clock.now()
            life = self._life(now)
            # It is signed by our clock and ends by the store's.
            shifted = life + round(self._clock.ahead.total_seconds())
            url = self._signer.generate_presigned_url(
                call,
                Params={"Bucket": self._bucket, **params},
                ExpiresIn=max(1, min(shifted, _LONGEST_LIFE)),
            )
        return Link(url, now + timedelta(seconds=life))

    def _life(self, now: datetime) -> int:
        """Seconds a URL signed now can really live.

        A URL signed with temporary credentials dies with them, whatever it says.
        """
        life = min(self._settings.url_ttl, _LONGEST_LIFE)
        credentials = self._session.get_credentials()
        if credentials is None:
            raise StorageUnavailable("the object store's credentials are missing on the server")
        credentials.get_frozen_credentials()  # refreshes those that are about to end
        end = getattr(credentials, "_expiry_time", None)
        if end is not None:
            life = min(life, int((end - now).total_seconds()))
        if life < 1:
            raise StorageUnavailable("the object store's credentials have expired on the server")
        return life

    # the bucket

    @property
    def origin(self) -> str:
        """Scheme and host that presigned URLs point at (for the page's security policy)."""
        endpoint = self._signer.meta.endpoint_url
        if not (self._settings.s3_public_endpoint or self._settings.s3_endpoint):
            endpoint = endpoint.replace("://", f"://{self._bucket}.", 1)
        parts = urlsplit(endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def ready(self) -> str | None:
        """None when the bucket answers, else why not.

        A missing bucket is made where the endpoint is our own (a local pod); on AWS
        that is the operator's business. It is never given a public policy.
        """
        try:
            with at_most(self._patience):
                self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in _MISSING or not self._settings.s3_endpoint:
                return f"the bucket answers {code}" + _because(self._clock.fault())
            with contextlib.suppress(ClientError):  # another process was faster
                self._client.create_bucket(Bucket=self._bucket)
            return None
        except (BotoCoreError, HTTPClientError, TimeoutError) as error:
            return f"the object store does not answer ({type(error).__name__})"
        return None

    def _ask_head(self, key: str) -> Any:
        """What HEAD answers; why it is refused, which only GET tells."""
        try:
            return self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _WORDLESS:
                raise
        self._client.get_object(Bucket=self._bucket, Key=key)["Body"].close()
        return self._client.head_object(Bucket=self._bucket, Key=key)

    def _bound(self, size: int = 0) -> AbstractContextManager[None]:
        """As long as a call may take that moves ``size`` bytes, then TimeoutError; and no longer
        than the present request has, then DeadlineExceeded.
        """
        return bounded(self._patience and self._patience + size / _SLOWEST)


def _because(fault: str | None) -> str:
    return f": {fault}" if fault else ""


def was_denied(error: StorageUnavailable) -> bool:
    """Whether the store answered that we may not, or that there is no such bucket."""
    cause = error.__cause__
    return isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _DENIED


def may_recover(error: StorageUnavailable) -> bool:
    """Whether the store did not answer or said that it fails, rather than that it will not.

    So does what it refuses until clocks are right or credentials new.
    """
    cause = error.__cause__
    if not isinstance(cause, ClientError) or cause.response["Error"]["Code"] in _PASSING:
        return True
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return status >= 500 or status == 429


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


class _KeepOpen:
    """A file whose ``close`` does nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """Leave the file to its owner."""


@contextlib.contextmanager
def _asking(operation: str) -> Iterator[None]:
    """A call to the store: counted, in the trace, its failures translated."""
    begun = time.perf_counter()
    try:
        with traces.span(f"s3 {operation}", "client"), _store_errors():
            yield
    finally:
        metrics.storage(operation, time.perf_counter() - begun)


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            raise NotFound("no such upload, or it was already used or has expired") from error
        raise StorageUnavailable("the object store refused; try again later") from error
    except TimeoutError as error:
        raise StorageUnavailable("the object store is too slow; try again later") from error
    except (BotoCoreError, Boto3Error, HTTPClientError) as error:
        raise StorageUnavailable("the object store does not answer; try again later") from error
