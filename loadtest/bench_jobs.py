"""``make bench-jobs``: what the queue costs, what it survives, and what more workers bring.

The simulations use real workers, leases and outputs, with a pipeline that only sleeps; the
comparisons of one worker with two, and of a video in segments with one piece, run a pod of
their own. Run it alone: it times the cores. The exit code is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import boto3
import psutil
import requests
from botocore.config import Config

from deploy.local.pod import ROOT, Pod
from loadtest.busy import FULL
from loadtest.goals import Figure, missed, summary
from loadtest.jobs_simulation import Seen, Setup, simulate
from loadtest.lab import own_pod
from loadtest.media import find
from loadtest.segments import split
from loadtest.tables import Cell, Table, machine, save

RESULTS = Path(__file__).parent / "results" / "jobs"
WHOLE = Setup(items=10_000, workers=200, seconds=8.0)
QUICK = Setup(items=600, workers=40, seconds=2.0, killed_per_minute=0.2)
COST_ITEMS = 300
CLIPS = 8
MINUTES, QUICK_MINUTES = 10, 2  # of the video that is split

Found = tuple[Table, list[Figure]]


def survival(setup: Setup) -> Found:
    """Workers killed at random, without and with Redis killed and started anew half-way."""
    rows: list[list[Cell]] = []
    figures: list[Figure] = []
    for restart in (False, True):
        print(f"  {setup.items} items, Redis restarted: {restart}", flush=True)
        seen = simulate(replace(setup, restart_redis=restart))
        rows.append(_row(setup, restart, seen))
        figures += _survived(setup, restart, seen)
    columns = ["items", "workers", "killed", "Redis killed", "s", "done", "lost", "double"]
    table = Table(
        "Workers killed at random",
        [*columns, "failed", "repeated %", "s without a death"],
        rows,
        f"{100 * setup.killed_per_minute:.0f} % of the workers are killed each minute, and"
        f" replaced. Items sleep {setup.seconds:.0f} s in the mean. Lost: inputs without an output;"
        " double: counted more than once; repeated: items that were worked on to their end more"
        " than once.",
    )
    return table, figures


def _row(setup: Setup, restart: bool, seen: Seen) -> list[Cell]:
    ideal = setup.items * setup.seconds / setup.workers
    return [
        *(setup.items, setup.workers, seen.killed, "yes" if restart else "no", seen.seconds),
        *(seen.done, setup.items - seen.outputs, seen.done - seen.outputs, seen.failed),
        *(100 * seen.repeated, ideal),
    ]


def _survived(setup: Setup, restart: bool, seen: Seen) -> list[Figure]:
    name = f"{setup.items} items, {setup.workers} workers{', Redis killed' if restart else ''}:"
    return [
        Figure(f"{name} lost", setup.items - seen.outputs, "", "most"),
        Figure(f"{name} counted twice", seen.done - seen.outputs, "", "most"),
        Figure(f"{name} failed", seen.failed, "", "most"),
        Figure(f"{name} done again", 100 * seen.repeated, "%", "under", 5),
    ]


def cost() -> Found:
    """What queue, record, work-horse and output cost for an item that takes no time."""
    empty = Setup(items=COST_ITEMS, workers=1, seconds=0.0, killed_per_minute=0.0)
    few, many = (simulate(replace(empty, items=count)) for count in (COST_ITEMS, 2 * COST_ITEMS))
    further = (many.seconds - few.seconds) / COST_ITEMS
    slept = Setup(items=COST_ITEMS, workers=1, seconds=0.2, killed_per_minute=0.0)
    single, two = simulate(slept), simulate(replace(slept, workers=2))
    times = single.seconds / two.seconds
    start = few.seconds - COST_ITEMS * further
    table = Table(
        "The queue's own cost",
        ["items", "ms a further item", "start s", "items that sleep 0.2 s: 2 workers against 1"],
        [[COST_ITEMS, 1000 * further, start, times]],
        f"One worker, from submission to the end, {COST_ITEMS} items and twice as many: what each"
        " further one costs, and what submission and the worker's start do. The last column has"
        " no pipeline at work: it tells what queue and records leave of twice the speed, where"
        " neither cores nor model are short.",
    )
    figures = [
        Figure("a further item of a batch in the queue", 1000 * further, "ms", "under", 50),
        Figure("2 workers against 1, items that sleep 0.2 s", times, "×", "least", 1.8),
    ]
    return table, figures


def workers(clip: Path, home: Path, runs: int) -> Found:
    """The same videos by one worker and by two, through a pod: real work on real cores."""
    rows: list[list[Cell]] = []
    with own_pod(home) as pod:
        for run in range(runs):
            (alone, busy), (helped, busier) = (_batch(pod, clip, n, run) for n in (0, 1))
            rows.append([CLIPS, clip.name, alone, helped, alone / helped, busy, busier])
    busy = median(float(row[5] or 0) for row in rows)
    table = Table(
        "Two workers against one, real videos",
        ["videos", "clip", "1 worker s", "2 workers s", "times", "cores busy %", "with 2 %"],
        rows,
        f"{CLIPS} copies of a clip, blurred in earnest; both workers share the machine's cores"
        " with one model server. No goal: where one worker keeps all cores busy (encoding uses"
        " threads of its own), a second brings little, and says so by the cores' share.",
    )
    figure = Figure(
        f"2 workers against 1, {CLIPS} real videos",
        median(float(row[4] or 0) for row in rows),
        "×",
        note=f"one worker keeps {busy:.0f} % of the cores busy: "
        + ("they give out first" if busy >= 100 * FULL else "it waits for the model meanwhile"),
    )
    return table, [figure]


def _batch(pod: Pod, clip: Path, helpers: int, run: int) -> tuple[float, float]:
    """Seconds for a batch, with so many workers besides the pod's own, and % of the cores busy."""
    environment = {**os.environ, **pod.environment()}
    name = f"bench-{run}-{helpers}"
    _fill(environment, f"{name}/in/", clip)
    with ExitStack() as stack:
        for _ in range(helpers):
            command = ["nice", "-n", "10", sys.executable, "-m", "gateway.jobs.worker"]
            helper = subprocess.Popen(command, env=environment, cwd=ROOT)
            stack.callback(helper.wait)
            stack.callback(helper.terminate)
        time.sleep(5)  # until it has loaded everything
        wish = {place: f"s3://masquerade/{name}/{place[:-3]}/" for place in ("input", "output")}
        begun, idle = time.monotonic(), _idle()
        answer = requests.post(f"{pod.url}/v1/jobs", json={"pipeline": "blur", **wish}, timeout=30)
        answer.raise_for_status()
        while (view := _view(pod, answer.json()["id"]))["status"] in ("queued", "running"):
            time.sleep(0.2)
        if view["items"]["done"] != CLIPS:
            raise RuntimeError(f"not all were done: {view}")
        seconds = time.monotonic() - begun
        return seconds, 100 * (1 - (_idle() - idle) / seconds / len(os.sched_getaffinity(0)))


def _idle() -> float:
    """Seconds that our cores have had nothing to do so far, all together."""
    each = psutil.cpu_times(percpu=True)
    return sum(float(each[core].idle + each[core].iowait) for core in os.sched_getaffinity(0))


def _view(pod: Pod, job_id: str) -> dict:
    return dict(requests.get(f"{pod.url}/v1/jobs/{job_id}", timeout=30).json())


def _fill(environment: dict[str, str], prefix: str, clip: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=environment["MASQUERADE_S3_ENDPOINT"],
        region_name="us-east-1",
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    for number in range(CLIPS):
        client.upload_file(str(clip), "masquerade", f"{prefix}{number}.mp4")


def main(argv: list[str] | None = None) -> int:
    """Measure, print and keep the tables; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="bench-jobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer items, workers and minutes")
    parser.add_argument("--media", type=Path, help="folder with clips")
    parts = ("cost", "survival", "workers", "split")
    parser.add_argument("--only", choices=parts, action="append", help="one part of it")
    args = parser.parse_args(argv)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "none")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "none")
    wanted = args.only or parts
    with tempfile.TemporaryDirectory(prefix="masquerade-bench-") as folder:
        work = Path(folder)
        clip = cache(lambda: find(args.media, work, args.quick).videos[0])
        ways: dict[str, Callable[[], Found]] = {
            "cost": cost,
            "survival": lambda: survival(QUICK if args.quick else WHOLE),
            "workers": lambda: workers(clip(), work / "pod", 1 if args.quick else 3),
            "split": lambda: split(clip(), work, QUICK_MINUTES if args.quick else MINUTES),
        }
        found = [ways[name]() for name in parts if name in wanted]
    figures = [figure for _, some in found for figure in some]
    tables = [*(table for table, _ in found), summary(figures)]
    for table in tables:
        print(table.markdown())
    save(tables, RESULTS, machine())
    return int(bool(missed(figures)))


if __name__ == "__main__":
    sys.exit(main())
