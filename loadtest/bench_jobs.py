"""``make bench-jobs``: what the queue costs, what it survives, and what more workers bring.

The simulations use real workers, leases and outputs, with a pipeline that only sleeps; the
comparison of one worker with two runs a pod of its own. Run it alone: it times the cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import boto3
import requests
from botocore.config import Config

from deploy.local.pod import ROOT, Pod
from loadtest.jobs_simulation import Seen, Setup, simulate
from loadtest.lab import own_pod
from loadtest.media import find
from loadtest.tables import Cell, Table, machine, save

RESULTS = Path(__file__).parent / "results" / "jobs"
WHOLE = Setup(items=10_000, workers=200, seconds=8.0)
QUICK = Setup(items=600, workers=40, seconds=2.0, killed_per_minute=0.2)
COST_ITEMS = 300
CLIPS = 8


def survival(setup: Setup) -> Table:
    """Workers killed at random, without and with Redis killed and started anew half-way."""
    rows: list[list[Cell]] = []
    for restart in (False, True):
        print(f"  {setup.items} items, Redis restarted: {restart}", flush=True)
        seen = simulate(replace(setup, restart_redis=restart))
        rows.append(_row(setup, restart, seen))
    columns = ["items", "workers", "killed", "Redis killed", "s", "done", "lost", "double"]
    return Table(
        "Workers killed at random",
        [*columns, "failed", "repeated %", "s without a death"],
        rows,
        f"{100 * setup.killed_per_minute:.0f} % of the workers are killed each minute, and"
        f" replaced. Items sleep {setup.seconds:.0f} s in the mean. Lost: inputs without an output;"
        " double: counted more than once; repeated: items that were worked on to their end more"
        " than once. Goal: none lost, none double, under 5 % repeated.",
    )


def _row(setup: Setup, restart: bool, seen: Seen) -> list[Cell]:
    ideal = setup.items * setup.seconds / setup.workers
    return [
        *(setup.items, setup.workers, seen.killed, "yes" if restart else "no", seen.seconds),
        *(seen.done, setup.items - seen.outputs, seen.done - seen.outputs, seen.failed),
        *(100 * seen.repeated, ideal),
    ]


def cost() -> Table:
    """What queue, record, work-horse and output cost for an item that takes no time."""
    empty = Setup(items=COST_ITEMS, workers=1, seconds=0.0, killed_per_minute=0.0)
    few, many = (simulate(replace(empty, items=count)) for count in (COST_ITEMS, 2 * COST_ITEMS))
    further = (many.seconds - few.seconds) / COST_ITEMS
    slept = Setup(items=COST_ITEMS, workers=1, seconds=0.2, killed_per_minute=0.0)
    single, two = simulate(slept), simulate(replace(slept, workers=2))
    return Table(
        "The queue's own cost",
        ["items", "ms a further item", "start s", "items of 0.2 s: 2 workers against 1"],
        [
            [
                *(COST_ITEMS, 1000 * further, few.seconds - COST_ITEMS * further),
                single.seconds / two.seconds,
            ]
        ],
        f"One worker, from submission to the end, {COST_ITEMS} items and twice as many: what each"
        " further one costs, and what submission and the worker's start do. Goal: under 50 ms.",
    )


def workers(clip: Path, home: Path, runs: int) -> Table:
    """The same videos by one worker and by two, through a pod: real work on real cores."""
    rows: list[list[Cell]] = []
    with own_pod(home) as pod:
        for run in range(runs):
            alone, helped = (_batch(pod, clip, helpers, run) for helpers in (0, 1))
            rows.append([CLIPS, clip.name, alone, helped, alone / helped])
    return Table(
        "Two workers against one",
        ["videos", "clip", "1 worker s", "2 workers s", "times"],
        rows,
        f"{CLIPS} copies of a clip. Both share the cores with one model server: where one worker"
        " keeps all cores busy (encoding uses threads of its own), a second brings little.",
    )


def _batch(pod: Pod, clip: Path, helpers: int, run: int) -> float:
    """Seconds for a batch, with so many workers besides the pod's own."""
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
        begun = time.monotonic()
        answer = requests.post(f"{pod.url}/v1/jobs", json={"pipeline": "blur", **wish}, timeout=30)
        answer.raise_for_status()
        while (view := _view(pod, answer.json()["id"]))["status"] in ("queued", "running"):
            time.sleep(0.2)
        if view["items"]["done"] != CLIPS:
            raise RuntimeError(f"not all were done: {view}")
        return time.monotonic() - begun


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


def main() -> int:
    """Measure, print and keep the tables."""
    parser = argparse.ArgumentParser(prog="bench-jobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer items and workers")
    parser.add_argument("--media", type=Path, help="folder with clips")
    parts = ("survival", "cost", "workers")
    parser.add_argument("--only", choices=parts, action="append", help="one part of it")
    args = parser.parse_args()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "none")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "none")
    wanted, tables = args.only or parts, []
    if "cost" in wanted:
        tables.append(cost())
    if "survival" in wanted:
        tables.append(survival(QUICK if args.quick else WHOLE))
    if "workers" in wanted:
        with tempfile.TemporaryDirectory() as work:
            media = find(args.media, Path(work), args.quick)
            tables.append(workers(media.videos[0], Path(work) / "pod", 1 if args.quick else 3))
    for table in tables:
        print(table.markdown())
    save(tables, RESULTS, machine())
    return 0


if __name__ == "__main__":
    sys.exit(main())
