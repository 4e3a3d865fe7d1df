"""A constant-rate player of vegeta's targets, for where vegeta is not installed.

``python -m loadtest.player attack`` takes the options of ``vegeta attack`` that are listed
by ``-h`` and writes the lines that ``vegeta encode -to json`` would. It is an open loop: each
request goes out when it is due, on a connection and greenlet of its own, however many are
still waiting for their answers, and its latency counts from when it was due. Targets are
played in the order of the file, again and again. Plain HTTP only.
"""

from __future__ import annotations

import argparse
import http.client
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import gevent
from gevent import socket
from gevent.pool import Group

from loadtest.hits import SECOND, Hit
from loadtest.targets import BadTargets, Target, read

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Shot:
    """A target made ready: ``data`` is all that goes over the wire."""

    target: Target
    address: tuple[str, int]
    data: bytes

    @classmethod
    def of(cls, target: Target) -> Shot:
        """Raises BadTargets for anything but plain HTTP."""
        parts = urlsplit(target.url)
        if parts.scheme != "http" or not parts.hostname:
            raise BadTargets(f"{target.url}: only http:// can be played without vegeta")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = {
            "Host": [parts.netloc],
            "User-Agent": ["masquerade-loadtest"],
            "Content-Length": [str(len(target.body))],
            **target.header,
            "Connection": ["close"],
        }
        lines = [f"{name}: {value}" for name, values in head.items() for value in values]
        text = "\r\n".join([f"{target.method} {path} HTTP/1.1", *lines, "", ""])
        return cls(target, (parts.hostname, parts.port or 80), text.encode() + target.body)


@dataclass(frozen=True)
class Order:
    """What to play: requests a second, seconds, seconds to wait for an answer, the run's name,
    bytes of an answer's body to keep.
    """

    rate: float
    seconds: float
    timeout: float = 30.0
    name: str = ""
    max_body: int = 0


def play(shots: Sequence[Shot], order: Order, write: Callable[[Hit], None]) -> float:
    """Play to the end, ``write`` each hit as it comes in.

    Returns the longest by which a request went out late, in seconds: the player's own fault.
    """
    late = 0.0
    waiting = Group()
    started, clock = time.time_ns(), time.perf_counter()
    for seq in range(max(1, round(order.rate * order.seconds))):
        due = seq / order.rate
        gevent.sleep(max(0.0, due - (time.perf_counter() - clock)))
        late = max(late, time.perf_counter() - clock - due)
        shot = shots[seq % len(shots)]
        waiting.add(gevent.spawn(_hit, shot, order, seq, started, clock, write))
    waiting.join()
    return late


def _hit(
    shot: Shot, order: Order, seq: int, started: int, clock: float, write: Callable[[Hit], None]
) -> None:
    code, error, length, body = 0, "", 0, b""
    headers: dict[str, list[str]] = {}
    try:
        with gevent.Timeout(order.timeout, TimeoutError(f"no answer in {order.timeout:g} s")):
            answer, length, body = _exchange(shot, order.max_body)
        code = answer.status
        for name, value in answer.getheaders():
            headers.setdefault(name, []).append(value)
        if not 200 <= code < 400:
            error = f"{code} {answer.reason}"
    except (OSError, http.client.HTTPException) as fault:
        error = f"{type(fault).__name__}: {fault}"
    due = seq / order.rate
    write(
        Hit(
            order.name,
            seq,
            code,
            started + round(due * SECOND),
            round((time.perf_counter() - clock - due) * SECOND),
            len(shot.target.body),
            length,
            error,
            body,
            shot.target.method,
            shot.target.url,
            headers,
        )
    )


def _exchange(shot: Shot, max_body: int) -> tuple[http.client.HTTPResponse, int, bytes]:
    """The answer, its body's length, and the body's beginning.

    It may come before all was sent: who turns a request away does not read it to its end.
    """
    with socket.create_connection(shot.address) as connection:
        sending = gevent.spawn(_send, connection, shot.data)
        try:
            answer = http.client.HTTPResponse(connection, method=shot.target.method)
            answer.begin()
            length, kept = 0, b""
            while piece := answer.read(1 << 16):
                length += len(piece)
                kept += piece[: max(0, max_body - len(kept))]
            return answer, length, kept
        finally:
            sending.kill()


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        return  # the answer tells, or its absence


def rate(text: str) -> float:
    """``50``, ``50/s`` or ``519/100s``, as requests a second."""
    found = re.fullmatch(r"(\d+)(?:/(\d*)([a-z]+))?", text)
    if not found or found[3] not in (None, *_UNITS) or found[2] == "0" or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 50/s or 519/100s")
    return int(found[1]) / (float(found[2] or 1) * _UNITS[found[3] or "s"])


def duration(text: str) -> float:
    """``90s``, ``1.5s`` or ``1m30s``, as seconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="player", description=__doc__)
    attack = parser.add_subparsers(required=True).add_parser("attack")
    attack.add_argument("-format", choices=("json",), default="json", help="of the targets")
    attack.add_argument("-targets", type=Path, required=True, metavar="FILE")
    attack.add_argument("-rate", type=rate, default=50.0, help="519/100s")
    attack.add_argument("-duration", type=duration, required=True, help="90s")
    attack.add_argument("-timeout", type=duration, default=30.0, help="30s")
    attack.add_argument("-name", default="")
    attack.add_argument("-max-body", type=int, default=0, help="bytes of an answer to keep")
    attack.add_argument("-keepalive", choices=("false",), default="false")
    attack.add_argument("-output", type=Path, required=True, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = _arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        shots = [Shot.of(target) for target in read(args.targets)]
    except (OSError, BadTargets) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    order = Order(args.rate, args.duration, args.timeout, args.name, args.max_body)
    with args.output.open("w") as file:
        late = play(shots, order, lambda hit: print(hit.line(), file=file))
    if late > 0.05:
        print(f"{args.name}: requests went out up to {1000 * late:.0f} ms late", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
