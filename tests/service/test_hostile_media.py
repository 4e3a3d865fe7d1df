"""Thousands of malformed files through the real pod, several at once.

Each is answered as the contract says, within its deadline; none of them ends a process that
shall stay, and nothing of them is left: no file, no process, no descriptor, no memory.
A file that fails is kept in ``.hostile/``; ``python -m tests.corpus SEED:INDEX --url URL``
sends it once more.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import requests

from deploy.local.pod import Pod
from tests.corpus.cases import Case, cases
from tests.corpus.samples import VIDEOS
from tests.corpus.sending import WAIT, Sender, fault
from tests.service import media
from tests.service.conftest import LIMITS
from tests.service.helpers import Api, becomes
from tests.service.watch import Holdings, Watch, growth

KEPT = Path(__file__).resolve().parents[2] / ".hostile"
AT_ONCE = 6
SHORT = 150  # files in `make test`
PIECE = 250  # files between two looks at memory
ROOM = {"gateway": 60, "renderer": 250, "worker": 120}
"""MiB that a program's processes may have more at the end: what allocators and pools keep."""
SLOPE = {"gateway": 5, "renderer": 25, "worker": 10}
"""MiB by which their floor may rise with a thousand files, once there were enough of them."""
ENOUGH = 20  # pieces from which on a slope can be told from the work in hand
POOLED = 16  # connections that a process may keep for the next request
DRAWING_ROUTES = ("rig", "animate", "animate-upload", "phone", "mask", "motion")
SLACK = 10.0  # seconds for all that is around the work, on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What became of a case. wrong: None where all is as it should be."""

    label: str
    told: str
    seconds: float
    wrong: str | None


@pytest.fixture
def sender(api: Api) -> Sender:
    """Sends to the pod, which knows a rig whose masks can be tried."""
    rig = api.rig(media.drawing())
    assert rig.status_code == 201, rig.text
    return Sender(api.url, rig.json()["rig_id"])


@pytest.fixture
def watch(pod: Pod, api: Api) -> Watch:
    return Watch(pod, api)


def test_hostile_files(api, sender, watch):
    """A short run of the same files each time."""
    warm(api, sender)
    before = watch.at_rest()
    outcomes = list(run(sender, 0, SHORT))
    report(outcomes)
    unchanged(watch, before)
    assert api.blur(media.photo()).status_code == 200


@pytest.mark.long
@pytest.mark.timeout(0)
def test_thousands_of_hostile_files(api, sender, watch):
    """Other files each time, at least ``HOSTILE_FILES`` and for ``HOSTILE_SECONDS``."""
    least = int(os.environ.get("HOSTILE_FILES", "5000"))
    until = time.monotonic() + float(os.environ.get("HOSTILE_SECONDS", "0"))
    seed = int(os.environ.get("HOSTILE_SEED", str(int(time.time()))))
    warm(api, sender)
    list(run(sender, seed, PIECE))  # what only these make it allocate is not a leak
    before = watch.at_rest()
    outcomes: list[Outcome] = []
    looks: list[tuple[int, Holdings]] = []
    for number in count(1):
        outcomes += run(sender, seed + number, PIECE)
        looks.append((len(outcomes), watch.now()))
        held = looks[-1][1]
        print(
            f"{len(outcomes)} files, seed {seed}: MiB {held.memory}, {held.descriptors}", flush=True
        )
        if len(outcomes) >= least and time.monotonic() > until:
            break
    report(outcomes)
    unchanged(watch, before)
    flat(looks)
    assert api.blur(media.photo()).status_code == 200


def warm(api: Api, sender: Sender) -> None:
    """Have every program at work once, so that it holds what it always will."""
    for _ in range(4):
        assert api.blur(media.photo()).status_code == 200
        assert api.call("POST", "/v1/classify", files={"file": media.photo()}).status_code == 200
    assert api.animate(media.drawing(), size=64).status_code == 200
    list(run(sender, -1, 16))


def run(sender: Sender, seed: int, files: int) -> Iterator[Outcome]:
    """The outcomes of so many cases of a seed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda case: outcome(sender, case), cases(seed, files))


def outcome(sender: Sender, case: Case) -> Outcome:
    begun = time.monotonic()
    told, wrong = "none", None
    try:
        answer = sender.send(case)
        told, wrong = f"{answer.status_code}", fault(answer)
        if answer.status_code >= 400 and not wrong:
            told += f" {answer.json()['code']}"
    except requests.RequestException as error:
        wrong = f"no answer: {error!r}"
    seconds = time.monotonic() - begun
    limit = deadline(case)
    if wrong is None and seconds > limit:
        wrong = f"answered after {seconds:.0f} s, not within {limit:.0f} s"
    if wrong:
        KEPT.mkdir(exist_ok=True)
        for number, part in enumerate(case.parts):
            (KEPT / f"{case.id.replace(':', '-')}.{number}.{case.kind}").write_bytes(part)
    return Outcome(case.label, told, seconds, wrong)


def report(outcomes: list[Outcome]) -> None:
    """Tell what came of them; fails when anything was wrong."""
    for told, number in sorted(Counter(outcome.told for outcome in outcomes).items()):
        print(f"{number:6} {told}")
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(f"slowest: {slowest.seconds:.1f} s, {slowest.label}")
    wrong = [f"{outcome.label}: {outcome.wrong}" for outcome in outcomes if outcome.wrong]
    assert not wrong, f"{len(wrong)} of {len(outcomes)}:\n" + "\n".join(wrong[:40])


def deadline(case: Case) -> float:
    """Seconds within which its answer is due; a video's request waits for its job."""
    kind = "DRAWING" if case.route in DRAWING_ROUTES else "IMAGE"
    limit = WAIT if case.kind in VIDEOS else float(LIMITS[f"MASQUERADE_{kind}_DEADLINE"])
    return limit + SLACK


def unchanged(watch: Watch, before: Holdings) -> None:
    """The same processes hold the same as before, once all jobs have ended."""
    watch.at_rest()
    becomes(watch.now, before, "processes and open files")
    after = watch.now().memory
    grown = {name: after[name] - before.memory[name] for name in ROOM}
    print(f"MiB grown by: {grown}")
    few = {name: most + POOLED for name, most in before.descriptors.items()}
    fewer = lambda: {n: c for n, c in watch.now().descriptors.items() if c > few[n]}  # noqa: E731
    becomes(fewer, {}, f"descriptors above {few}", 40)
    assert all(grown[name] < ROOM[name] for name in ROOM), f"MiB grown by: {grown}"


def flat(looks: list[tuple[int, Holdings]]) -> None:
    """Memory does not grow with the files; the first quarter fills caches and is left out."""
    if len(looks) < ENOUGH:
        return
    files, held = zip(*looks[len(looks) // 4 :], strict=True)
    slopes = {name: growth(files, [one.memory[name] for one in held]) for name in SLOPE}
    told = "MiB for a thousand files: " + ", ".join(f"{n} {v:+.1f}" for n, v in slopes.items())
    print(told)
    assert all(slopes[name] < SLOPE[name] for name in SLOPE), told
