"""Who has a message: an execution in RQ's registry, renewed every few seconds while it lives.

One that was not renewed in time is taken to be dead, and its message is given to another
worker. It may live all the same: its worker was stopped for a while, or cut off from Redis.
"""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.job import Job as Message

_CONTACT, _OUTAGE = "masquerade:contact", "masquerade:outage"


def may_judge(redis: Redis, lease: int) -> bool:
    """Whether an execution that was not renewed is certainly dead; every worker asks often.

    Not within one lease (s) of an outage: first each living worker must have had the time to
    reach Redis again.
    """
    seen: Any = redis.mget(_CONTACT, _OUTAGE)
    with redis.pipeline() as mark:
        if seen[0] is None:
            mark.set(_OUTAGE, 1, ex=lease)
        mark.set(_CONTACT, 1, ex=2 * lease // 3)
        mark.execute()
    return seen[0] is not None and seen[1] is None


def is_held(message: Message, execution: Execution | None) -> bool:
    """Whether the message is still this execution's, and was given to no other meanwhile.

    None, of what was never begun here, holds whatever it is asked about.
    """
    if execution is None:
        return True
    with message.connection.pipeline() as look:
        look.zscore(message.started_job_registry.key, execution.composite_key)
        look.hmget(message.key, "status", "worker_name")
        score, (status, worker) = look.execute()
    if score is None or status is None:
        return False
    return bool(status != b"started" or worker == execution.worker_name.encode())
