"""Batches: many inputs under one job. Their records in Redis, and every change of them.

RQ only carries ``<batch id>`` and the key of a task to a worker; what is true about them
stands here. See :mod:`gateway.jobs.batch_scripts` for the states.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from redis import Redis

from gateway.errors import Conflict
from gateway.jobs import batch_scripts as scripts
from gateway.jobs.spec import Spec
from gateway.jobs.store import LIVE, Status, redis_errors
from gateway.object_names import new_token

LIST, TRAIN = "list", "train"
"""The first task of a batch, and the only one of a training."""

Ending = Literal["queued", "done", "skipped", "failed"]
COUNTERS = ("total", "done", "skipped", "failed", "bytes", "bytes_done", "ms", "frames", "faces")
# Spans of time over which the pace is told: while younger than so many seconds, so long.
_SPANS = ((600, 5), (86400, 60), (float("inf"), 600))


@dataclass(frozen=True)
class Batch:
    """A batch as it is now. Times are seconds since the epoch.

    counters: of items (total, done, skipped, failed), bytes (all, of ended ones), ms of video,
    frames and faces. listed: whether all inputs are known. queue: whose workers do it.
    owner: the name of the API key that asked for it.
    state: how a training stands. cursor: the last name listed.
    """

    id: str
    status: Status
    spec: Spec
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    counters: dict[str, int] = field(default_factory=dict)
    listed: bool = False
    queue: str = ""
    owner: str = ""
    state: dict[str, Any] | None = None
    cursor: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def live(self) -> bool:
        """Whether anything of it still waits or is at work."""
        return self.status in LIVE

    @property
    def kind(self) -> str:
        """What clients see as ``kind``."""
        return "training" if self.spec.pipeline == "train" else "batch"


@dataclass(frozen=True)
class Running:
    """A task that this process works on: its key, and the token that proves it."""

    batch: Batch
    key: str
    token: str


def first_task(spec: Spec) -> str:
    """What begins a batch."""
    return TRAIN if spec.pipeline == "train" else LIST


def item_key(name: str) -> str:
    """The task of an input: the same for the same name."""
    return "i-" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def item_of(key: str) -> str:
    """The item that a segment or a join belongs to; '' for other tasks."""
    return f"i-{key[2:34]}" if key[:2] in ("s-", "j-") else ""


def segment_keys(item: str, count: int) -> list[str]:
    """The tasks of an item's segments."""
    return [f"s-{item[2:]}-{n}" for n in range(count)]


def join_key(item: str) -> str:
    """The task that joins an item's segments."""
    return f"j-{item[2:]}"


def span(age: float) -> tuple[int, int]:
    """Start and length, in seconds of a batch's age, of the span that this age falls into."""
    length = next(length for limit, length in _SPANS if age < limit)
    return int(age // length) * length, length


class BatchStore:
    """Reads and changes records; raises ``QueueUnavailable`` when Redis does not answer.

    ``ttl``: seconds that an ended batch is remembered.
    """

    def __init__(self, redis: Redis, ttl: int) -> None:
        self.redis = redis
        self._ttl = ttl
        names = ("CREATE", "ADD", "BEGIN", "NOTE", "END", "SPLIT", "RETRY", "CANCEL")
        self._scripts = {name: redis.register_script(getattr(scripts, name)) for name in names}

    # the whole

    def create(self, spec: Spec, queue: str, owner: str = "") -> tuple[Batch, bool]:
        """A new batch with its first task; or the live one that asks for the same (and False).

        Raises:
            Conflict: a live batch writes other things to the same place.
        """
        batch_id, text = new_token(), json.dumps(spec.as_dict())
        given = ["spec", text, "queue", queue, "owner", owner]
        args = (spec.place, first_task(spec), *given)
        found = self._run("CREATE", batch_id, *args, index=_index(owner)).decode()
        batch = self.get(found)
        if batch is None or batch.owner != owner:
            raise Conflict("another job is writing to this output")
        if batch.spec.as_dict() != spec.as_dict():
            raise Conflict(f"the job {found} is writing to this output with other wishes")
        return batch, found == batch_id

    def get(self, batch_id: str) -> Batch | None:
        """The record, or None when there is none (never was, forgotten or expired)."""
        with redis_errors():
            raw: Any = self.redis.hgetall(scripts.RECORD + batch_id)
        row = {name.decode(): value.decode() for name, value in raw.items()}
        if "status" not in row:
            return None
        return Batch(
            id=batch_id,
            status=cast(Status, row["status"]),
            spec=Spec(**json.loads(row["spec"])),
            created_at=float(row["created_at"]),
            started_at=float(row["started_at"]) if "started_at" in row else None,
            finished_at=float(row["finished_at"]) if "finished_at" in row else None,
            counters={name: int(row.get(name, 0)) for name in COUNTERS},
            listed="result" in row,
            queue=row.get("queue", ""),
            owner=row.get("owner", ""),
            state=json.loads(row["state"]) if "state" in row else None,
            cursor=row.get("cursor", ""),
            result=json.loads(row["result"]) if "result" in row else None,
            error=json.loads(row["error"]) if "error" in row else None,
        )

    def cancel(self, batch_id: str) -> bool:
        """Cancelled; False when it was over."""
        return bool(self._run("CANCEL", batch_id))

    def retry(self, batch_id: str) -> list[str]:
        """Have what failed wait again; returns those tasks.

        Raises:
            Conflict: it was cancelled, or another live batch writes to its output.
        """
        again = self._run("RETRY", batch_id)
        if again == 0:
            raise Conflict("a cancelled job cannot be taken up again; submit it anew")
        if again == 1:
            raise Conflict("another job is writing to this output now")
        return [key.decode() for key in again]

    def forget(self, batch: Batch) -> None:
        """Remove the record of an ended batch."""
        with redis_errors():
            self.redis.delete(*_keys(batch.id)[: 1 + len(scripts.COMPANIONS)])
            self.redis.zrem(_index(batch.owner), batch.id)

    def page(self, before: float, limit: int, owner: str = "") -> list[Batch]:
        """An owner's batches created before a moment, newest first; expired ones are struck off."""
        index = _index(owner)
        found: list[Batch] = []
        edge: str | float = before
        while len(found) < limit:
            with redis_errors():
                rows: Any = self.redis.zrevrangebyscore(
                    index, f"({edge}", "-inf", start=0, num=limit, withscores=True
                )
            if not rows:
                break
            for raw, score in rows:
                batch = self.get(raw.decode())
                if batch is None:
                    with redis_errors():
                        self.redis.zrem(index, raw)
                else:
                    found.append(batch)
                edge = repr(score)
        return found[:limit]

    def live_ids(self) -> set[str]:
        """Ids of all queued and running batches."""
        with redis_errors():
            found: Any = self.redis.smembers(scripts.LIVE)
        return {item.decode() for item in found}

    def outputs(self) -> set[str]:
        """Where live batches write, and where ended ones did, until that is forgotten."""
        with redis_errors():
            live: Any = self.redis.hkeys(scripts.PLACES)
            ended: Any = self.redis.zrange(scripts.OUTPUTS, 0, -1)
        return {place.decode() for place in (*live, *ended)}

    def forget_outputs(self, before: float) -> None:
        """Forget where batches wrote that ended before a moment (s since the epoch)."""
        with redis_errors():
            self.redis.zremrangebyscore(scripts.OUTPUTS, "-inf", before)

    def counts(self) -> dict[str, int]:
        """Totals since ever, over all batches."""
        with redis_errors():
            raw: Any = self.redis.hgetall(scripts.COUNTS)
        return {name.decode(): int(value) for name, value in raw.items()}

    def dead_letters(self) -> int:
        """Failed inputs of live batches, and of ended ones that can be retried."""
        with redis_errors():
            ids: Any = list(self.redis.sunion([scripts.LIVE, scripts.DEAD]))
            look = self.redis.pipeline(transaction=False)
            for batch_id in ids:
                look.hmget(scripts.RECORD + batch_id.decode(), "status", "failed")
            rows = dict(zip(ids, look.execute(), strict=True))
            if gone := [batch_id for batch_id, (status, _) in rows.items() if status is None]:
                self.redis.srem(scripts.DEAD, *gone)  # forgotten, or expired
        return sum(int(failed or 0) for _, failed in rows.values())

    # its tasks

    def add(self, batch_id: str, inputs: Iterable[Mapping[str, Any]]) -> list[str] | None:
        """Note inputs (``name``, ``size``, …); returns which of them wait, None when over."""
        flat: list[str | int] = []
        for entry in inputs:
            text = json.dumps(entry, separators=(",", ":"))
            flat += [item_key(entry["name"]), text, int(entry["size"])]
        waiting = self._run("ADD", batch_id, *flat)
        return None if waiting == -1 else [key.decode() for key in waiting]

    def move_cursor(self, batch_id: str, name: str) -> None:
        """Inputs up to this name are noted, and queued."""
        with redis_errors():
            self.redis.hset(scripts.RECORD + batch_id, "cursor", name)

    def begin(self, batch: Batch, key: str) -> Running | None:
        """Start an attempt; None when there is nothing to do any more."""
        token = self._run("BEGIN", batch.id, key, item_of(key)).decode()
        return Running(batch, key, token) if token else None

    def keep(self, batch_id: str, state: Mapping[str, Any]) -> None:
        """Remember how a training stands, also between two attempts."""
        with redis_errors():
            self.redis.hset(scripts.RECORD + batch_id, "state", json.dumps(state))

    def note(self, task: Running, view: Mapping[str, Any]) -> bool:
        """Tell how far a task is; False when it is no longer this attempt's."""
        text = json.dumps(view, separators=(",", ":"))
        return bool(self._run("NOTE", task.batch.id, task.key, task.token, text))

    def end(
        self,
        task: Running,
        to: Ending,
        record: Mapping[str, Any] | None = None,
        counted: Mapping[str, int] | None = None,
    ) -> bool:
        """End an attempt and count it; False when it was not ours any more.

        A token of '' stands for whichever attempt runs.
        """
        start, _ = span(max(time.time() - task.batch.created_at, 0))
        numbers = [word for pair in (counted or {}).items() for word in pair]
        text = json.dumps(record or {}, separators=(",", ":"))
        args = (task.key, task.token, to, text, start, *numbers)
        return bool(self._run("END", task.batch.id, *args))

    def release(self, batch: Batch, key: str) -> bool:
        """Have a task wait again whose attempt has ended without a word."""
        return self.end(Running(batch, key, ""), "queued")

    def split(self, item: Running, plan: Mapping[str, Any], count: int) -> bool:
        """Replace a video by so many segments; False when it is no longer this attempt's."""
        return bool(
            self._run("SPLIT", item.batch.id, item.key, item.token, json.dumps(plan), count)
        )

    def input(self, batch_id: str, item: str) -> dict[str, Any]:
        """What was listed of an item."""
        return self._read(batch_id, "inputs", item) or {}

    def plan(self, batch_id: str, item: str) -> dict[str, Any] | None:
        """How an item was split, if it was."""
        return self._read(batch_id, "plans", item)

    def states(self, batch_id: str) -> Iterator[tuple[str, str]]:
        """Every task with its state."""
        cursor, found = self.some_states(batch_id, 0)
        yield from found
        while cursor:
            cursor, found = self.some_states(batch_id, cursor)
            yield from found

    def some_states(self, batch_id: str, cursor: int) -> tuple[int, list[tuple[str, str]]]:
        """About a thousand of them, and the cursor of the next ones, 0 after the last."""
        with redis_errors():
            found: Any = self.redis.hscan(_keys(batch_id)[2], cursor, count=1000)
        return found[0], [(key.decode(), state.decode()) for key, state in found[1].items()]

    def state(self, batch_id: str, key: str) -> str:
        """A task's state, '' when there is no such task."""
        with redis_errors():
            state: Any = self.redis.hget(_keys(batch_id)[2], key)
        return state.decode() if state else ""

    def running(self, batch_id: str) -> dict[str, dict[str, Any]]:
        """What the running tasks last told of themselves."""
        with redis_errors():
            raw: Any = self.redis.hgetall(_keys(batch_id)[3])
        return {key.decode(): json.loads(text) for key, text in raw.items()}

    def pace(self, batch_id: str) -> dict[int, dict[str, int]]:
        """Per span of time, by its start in s of age: ``ms`` of video and ``frames`` done."""
        with redis_errors():
            raw: Any = self.redis.hgetall(_keys(batch_id)[7])
        spans: dict[int, dict[str, int]] = {}
        for name, value in raw.items():
            kind, _, start = name.decode().partition(":")
            spans.setdefault(int(start), {"ms": 0, "frames": 0})[kind] = int(value)
        return dict(sorted(spans.items()))

    def ended(
        self, batch_id: str, which: Literal["done", "failed"], start: int, limit: int
    ) -> list[dict[str, Any]]:
        """Ended items, the latest first: what was listed, what became of it, and ``at``."""
        keys = _keys(batch_id)
        with redis_errors():
            rows: Any = self.redis.zrevrange(
                keys[5 if which == "done" else 6], start, start + limit - 1, withscores=True
            )
            if not rows:
                return []
            fields = [key for key, _ in rows]
            listed: Any = self.redis.hmget(keys[1], fields)
            told: Any = self.redis.hmget(keys[4], fields)
        return [
            {**json.loads(a or "{}"), **json.loads(b or "{}"), "at": at}
            for a, b, (_, at) in zip(listed, told, rows, strict=True)
        ]

    def _read(self, batch_id: str, companion: str, field_: str) -> dict[str, Any] | None:
        key = _keys(batch_id)[1 + scripts.COMPANIONS.index(companion)]
        with redis_errors():
            text: Any = self.redis.hget(key, field_)
        return None if text is None else dict(json.loads(text))

    def _run(
        self, script: str, batch_id: str, *args: str | int, index: str = scripts.BATCHES
    ) -> Any:
        now = f"{time.time():.6f}"
        with redis_errors():
            return self._scripts[script](
                keys=_keys(batch_id, index), args=[batch_id, now, self._ttl, *args]
            )


def _index(owner: str) -> str:
    """Where an owner's batches are listed."""
    return f"{scripts.BATCHES}:of:{owner}" if owner else scripts.BATCHES


def _keys(batch_id: str, index: str = scripts.BATCHES) -> list[str]:
    record = scripts.RECORD + batch_id
    companions = [f"{record}:{name}" for name in scripts.COMPANIONS]
    shared = (scripts.LIVE, scripts.PLACES, scripts.COUNTS, index, scripts.DEAD, scripts.OUTPUTS)
    return [record, *companions, *shared]
