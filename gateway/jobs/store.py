"""Job records in Redis: the one truth about a job's state that clients see.

RQ only carries the job's id to a worker. A record is a hash ``masquerade:job:<id>``;
every change of state is one atomic script that states which states it may leave, so
a cancel and a finish can never both win. A record whose state says "cancelled" is at
the same time the flag that stops its work. ``masquerade:originals`` maps the key of
each stored original to its live job; ``masquerade:counts`` holds totals for metrics;
``masquerade:unwanted`` is a sorted set of keys that are to be deleted from the bucket, by when
that was noted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from redis import Redis
from redis.exceptions import RedisError

from gateway.errors import Conflict, QueueUnavailable
from gateway.object_names import new_token

log = logging.getLogger(__name__)

Status = Literal["queued", "running", "done", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
LIVE: tuple[Status, ...] = ("queued", "running")

_RECORD = "masquerade:job:"
_LIVE = "masquerade:live"
_ORIGINALS = "masquerade:originals"
_COUNTS = "masquerade:counts"
_UNWANTED = "masquerade:unwanted"

# KEYS: record, live set, originals, counts. ARGV: id, allowed states, attempt that
# asks ('' = any), new state ('' = as it is), life in s (0 = for ever), field, value, ...
# Answers 1, or 0 when the record is gone, in another state, or another attempt's.
_CHANGE = """
local state = redis.call('HGET', KEYS[1], 'status')
if not state or not string.find(ARGV[2], state, 1, true) then return 0 end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'attempts') ~= ARGV[3] then return 0 end
for i = 6, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'status', ARGV[4])
  if ARGV[4] ~= 'queued' and ARGV[4] ~= 'running' then
    redis.call('SREM', KEYS[2], ARGV[1])
    redis.call('HDEL', KEYS[3], redis.call('HGET', KEYS[1], 'original'))
    redis.call('HINCRBY', KEYS[4], ARGV[4], 1)
  end
end
if ARGV[5] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return 1
"""

# KEYS as above. ARGV: id, original, field, value, ... Answers 0 when the original
# already belongs to a live job.
_CREATE = """
if redis.call('HSETNX', KEYS[3], ARGV[2], ARGV[1]) == 0 then return 0 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[4], 'submitted', 1)
return 1
"""


@dataclass(frozen=True)
class Job:
    """A job as it is now. Times are seconds since the epoch; ``original`` is a storage key.

    ``result`` keeps storage keys, never URLs; ``places`` are the keys an attempt may
    have written, known before it writes them, so that a killed one can be cleaned up.
    ``owner`` is the name of the API key that asked for it.
    """

    id: str
    status: Status
    original: str
    options: dict[str, Any]
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    attempts: int = 0
    progress: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    owner: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether it is still waiting or being worked on."""
        return self.status in LIVE


class JobStore:
    """Reads and changes records; raises ``QueueUnavailable`` when Redis does not answer.

    ``ttl``: seconds that a finished job is remembered.
    """

    def __init__(self, redis: Redis, ttl: int) -> None:
        self.redis = redis
        self._ttl = ttl
        self._change = redis.register_script(_CHANGE)
        self._create = redis.register_script(_CREATE)

    def create(
        self, original: str, options: Mapping[str, Any], frames: int, owner: str = ""
    ) -> Job:
        """A new queued job for a stored original.

        Raises:
            Conflict: that original is another live job's.
        """
        job = Job(
            id=new_token(),
            status="queued",
            original=original,
            options=dict(options),
            created_at=time.time(),
            progress={"stage": "queued", "frames_total": frames},
            owner=owner,
        )
        fields = _pairs(
            status=job.status,
            original=original,
            options=job.options,
            created_at=job.created_at,
            attempts=0,
            progress=job.progress,
            owner=owner,
        )
        with redis_errors():
            if not self._create(keys=self._keys(job.id), args=[job.id, original, *fields]):
                raise Conflict("this upload is already being worked on by another job")
        return job

    def get(self, job_id: str) -> Job | None:
        """The record, or None when there is none (never was, forgotten or expired)."""
        with redis_errors():
            raw = self.redis.hgetall(_RECORD + job_id)
        row = _texts(raw)
        if "status" not in row:
            return None
        return Job(
            id=job_id,
            status=row["status"],  # type: ignore[arg-type]
            original=row["original"],
            options=json.loads(row["options"]),
            created_at=float(row["created_at"]),
            started_at=float(row["started_at"]) if "started_at" in row else None,
            finished_at=float(row["finished_at"]) if "finished_at" in row else None,
            attempts=int(row["attempts"]),
            progress=json.loads(row["progress"]),
            places=tuple(json.loads(row.get("places", "[]"))),
            owner=row.get("owner", ""),
            result=json.loads(row["result"]) if "result" in row else None,
            error=json.loads(row["error"]) if "error" in row else None,
        )

    def begin(self, job: Job, places: tuple[str, ...]) -> Job | None:
        """Start the next attempt; None when the job was cancelled or taken meanwhile."""
        moved = self._apply(
            job.id,
            LIVE,
            "running",
            attempt=job.attempts,
            attempts=job.attempts + 1,
            started_at=job.started_at or time.time(),
            places=[*job.places, *places],
        )
        return self.get(job.id) if moved else None

    def progress(self, job: Job, progress: Mapping[str, Any]) -> bool:
        """Note how far this attempt is; False when it is no longer this attempt's job."""
        return self._apply(job.id, ("running",), "", attempt=job.attempts, progress=dict(progress))

    def requeue(self, job: Job) -> bool:
        """Back to waiting, for another attempt."""
        return self._apply(
            job.id,
            ("running",),
            "queued",
            attempt=job.attempts,
            progress={"stage": "queued", "frames_total": job.progress.get("frames_total", 0)},
        )

    def finish(self, job: Job, result: Mapping[str, Any]) -> bool:
        """Done; False when it was cancelled (or taken over) first."""
        done = self._apply(
            job.id,
            ("running",),
            "done",
            attempt=job.attempts,
            result=dict(result),
            finished_at=time.time(),
        )
        if done:
            with redis_errors():
                milliseconds = round(1000 * float(result.get("seconds", 0)))
                self.redis.hincrby(_COUNTS, "ms", milliseconds)
                for stage, spent in result.get("timings", {}).items():
                    self.redis.hincrby(_COUNTS, stage, round(spent))
                self.redis.hincrby(_COUNTS, "frames", int(result.get("frames", 0)))
                self.redis.hincrby(_COUNTS, "faces", int(result.get("faces_detected", 0)))
        return done

    def fail(self, job: Job, code: str, message: str) -> bool:
        """Failed for good, with a public reason; False when it was no longer live."""
        return self._apply(
            job.id,
            LIVE,
            "failed",
            attempt=job.attempts,
            error={"code": code, "message": message},
            finished_at=time.time(),
        )

    def cancel(self, job_id: str) -> bool:
        """Cancelled; False when it was no longer live."""
        return self._apply(job_id, LIVE, "cancelled", finished_at=time.time())

    def forget(self, job: Job) -> None:
        """Remove the record of a finished job."""
        with redis_errors():
            self.redis.delete(_RECORD + job.id)

    def live_ids(self) -> set[str]:
        """Ids of all queued and running jobs."""
        with redis_errors():
            return {item.decode() for item in self.redis.smembers(_LIVE)}  # type: ignore[union-attr]

    def drop_live(self, job_id: str) -> None:
        """Strike an id whose record is gone off the list of live jobs."""
        with redis_errors():
            self.redis.srem(_LIVE, job_id)

    def originals(self) -> dict[str, str]:
        """Storage key → job id of all originals that live jobs need."""
        with redis_errors():
            return _texts(self.redis.hgetall(_ORIGINALS))

    def unwant(self, keys: Iterable[str]) -> None:
        """Have the sweep delete these objects, which could not be deleted just now."""
        if wanted := dict.fromkeys(keys, time.time()):
            with redis_errors():
                self.redis.zadd(_UNWANTED, wanted)

    def unwanted(self) -> set[str]:
        """Keys of objects that are to be deleted."""
        with redis_errors():
            return {key.decode() for key in self.redis.zrange(_UNWANTED, 0, -1)}  # type: ignore[union-attr]

    def gone(self, before: float) -> None:
        """What was noted before that moment (Unix time) is deleted for good."""
        with redis_errors():
            self.redis.zremrangebyscore(_UNWANTED, "-inf", before)

    def counts(self) -> dict[str, int]:
        """Totals since ever: submitted, done, failed, cancelled, ms (of video),
        frames, faces, and ms of each stage."""
        with redis_errors():
            return {k: int(v) for k, v in _texts(self.redis.hgetall(_COUNTS)).items()}

    def _apply(
        self,
        job_id: str,
        allowed: tuple[Status, ...],
        status: Status | Literal[""],
        *,
        attempt: int | None = None,
        **fields: Any,
    ) -> bool:
        life = self._ttl if status and status not in LIVE else 0
        asks = "" if attempt is None else str(attempt)
        args: list[str | int] = [job_id, " ".join(allowed), asks, status, life, *_pairs(**fields)]
        with redis_errors():
            return bool(self._change(keys=self._keys(job_id), args=args))

    def _keys(self, job_id: str) -> list[str]:
        return [_RECORD + job_id, _LIVE, _ORIGINALS, _COUNTS]


def _pairs(**fields: Any) -> list[str]:
    flat: list[str] = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        flat += [name, text]
    return flat


def _texts(raw: Mapping[Any, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.items()}


def leave_to_sweep(store: JobStore, *keys: str) -> None:
    """Note objects that the store does not delete now; without Redis, time will tell of them."""
    try:
        store.unwant(keys)
    except QueueUnavailable:
        log.warning("objects could not be deleted; they go when uploads and results expire")


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Any failure of Redis inside the block becomes ``QueueUnavailable``."""
    try:
        yield
    except RedisError as error:
        raise QueueUnavailable("the job queue does not answer; try again later") from error
