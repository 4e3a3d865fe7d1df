"""``make bench-classify``: image categories through the pod: overhead, batching, a steady load.

Every pod is the bench's own, on free ports; the bench's clients share the machine's cores
with it. Run it alone.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import skimage.data
from PIL import Image

from deploy.local.pod import Pod
from gateway.media.images import ImageLimits
from gateway.pipelines.classify_image import packed, shown
from loadtest.attack import attack
from loadtest.closed_loop import Hits, one_by_one, saturated
from loadtest.lab import own_pod
from loadtest.pace import constant
from loadtest.tables import Cell, Table, machine, save
from loadtest.targets import Target, post_form, post_json, write
from tests.hostile import hostile_server

STORE = Path(__file__).resolve().parents[1] / "model_store"
RESULTS = Path(__file__).parent / "results" / "classify"
BATCHES = ((1, 0), (2, 2), (4, 2), (8, 1), (8, 2), (8, 10))
"""Batch size and delay in milliseconds, as TorchServe's model-config.yaml has them."""

CLIENTS = 16
LONE = 40
"""Requests one after the other, to see what the delay costs who comes alone."""

LOAD = 0.7
SIZE = (640, 480)
SIDE = 256


def photo() -> bytes:
    """A JPEG of a size that other back ends send."""
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize(SIZE).save(out, "JPEG", quality=90)
    return out.getvalue()


def pixels(body: bytes) -> bytes:
    """What the gateway sends to the model server of an encoded image."""
    limits = ImageLimits(bytes=1 << 26, pixels=1 << 26, frames=1)
    return packed(shown(body, limits, SIDE)[1])


def store_with(folder: Path, batch: int, delay: int) -> Path:
    """A model store whose classifier batches so; the other archives are the same."""
    folder.mkdir(parents=True)
    for archive in STORE.glob("*.mar"):
        if archive.stem != "classifier":
            (folder / archive.name).symlink_to(archive)
    with (
        zipfile.ZipFile(STORE / "classifier.mar") as old,
        zipfile.ZipFile(folder / "classifier.mar", "w") as new,
    ):
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "model-config.yaml":
                text = re.sub(r"batchSize: \d+", f"batchSize: {batch}", data.decode())
                data = re.sub(r"maxBatchDelay: \d+", f"maxBatchDelay: {delay}", text).encode()
            new.writestr(item, data)
    return folder


@contextmanager
def pod_with(work: Path, batch: int, delay: int) -> Iterator[Pod]:
    """A pod whose classifier batches so; it fetches from loopback."""
    name = f"{batch}-{delay}"
    env = {
        "MODEL_STORE": str(store_with(work / f"store-{name}", batch, delay)),
        "MASQUERADE_FETCH_PRIVATE_HOSTS": "127.0.0.1",
    }
    with own_pod(work / f"pod-{name}", env) as pod:
        yield pod


def by_form(pod: Pod, body: bytes) -> Target:
    """A file in a form, as other back ends send it."""
    return post_form(f"{pod.url}/v1/classify", "photo.jpg", body)


def by_url(pod: Pod, url: str) -> Target:
    """A URL in JSON."""
    return post_json(f"{pod.url}/v1/classify", {"image_url": url})


def bare(pod: Pod, body: bytes) -> Target:
    """The model itself: TorchServe without the gateway."""
    env = pod.environment()
    keys = json.loads(Path(env["MASQUERADE_TORCHSERVE_KEY_FILE"]).read_text())
    headers = {
        "Content-Type": ["application/octet-stream"],
        "Authorization": [f"Bearer {keys['inference']['key']}"],
    }
    url = f"{env['MASQUERADE_TORCHSERVE_URL']}/predictions/classifier"
    return Target("POST", url, headers, body)


def overhead(pod: Pod, body: bytes, count: int) -> Table:
    """One request after the other, all kinds in turns of ten."""
    with hostile_server(body) as source:
        shots = {
            "the model: TorchServe, the JPEG": bare(pod, body),
            "the model: TorchServe, pixels as the gateway sends them": bare(pod, pixels(body)),
            "POST /v1/classify, file": by_form(pod, body),
            "POST /v1/classify, image_url on loopback": by_url(pod, source.url("image")),
        }
        hits = {name: Hits() for name in shots}
        for _ in range(max(1, count // 10)):
            for name, shot in shots.items():
                some = one_by_one(shot, 10)
                hits[name].times += some.times
                hits[name].failed += some.failed
    base = next(iter(hits.values())).percentile(50)
    rows: list[list[Cell]] = [
        [name, len(h.times), h.percentile(50), h.percentile(95), h.percentile(50) - base]
        for name, h in hits.items()
    ]
    width, height = SIZE
    note = (
        f"JPEG {width}×{height}, {len(body) // 1000} kB, sequential. Goal: a file through the"
        " pod under 10 ms over the bare model."
    )
    return Table(
        "Overhead", ["what", "requests", "p50 ms", "p95 ms", "over the model ms"], rows, note
    )


def batching(work: Path, body: bytes, seconds: float) -> Table:
    """Throughput at saturation by batch size."""
    rows: list[list[Cell]] = []
    first: tuple[float, float] | None = None
    shipped = shipped_batching()
    for batch, delay in dict.fromkeys((*BATCHES, shipped)):
        print(f"  batches of {batch}, {delay} ms", flush=True)
        with pod_with(work, batch, delay) as pod:
            model, through = bare(pod, pixels(body)), by_form(pod, body)
            for shot in (model, through):
                saturated(shot, CLIENTS, min(3.0, seconds))
            lone = one_by_one(through, LONE)
            alone = saturated(model, CLIENTS, seconds)
            whole = saturated(through, CLIENTS, seconds)
        first = first or (alone.rate, whole.rate)
        name = f"{batch}, {delay} ms" + (" (shipped)" if (batch, delay) == shipped else "")
        rows.append(
            [
                name,
                *(alone.rate, alone.rate / first[0], alone.percentile(50)),
                *(whole.rate, whole.rate / first[1], whole.percentile(50)),
                lone.percentile(50),
                len(alone.failed) + len(whole.failed) + len(lone.failed),
            ]
        )
    columns = ["batch, delay", "model /s", "× of 1", "p50 ms"]
    columns += ["through the pod /s", "× of 1", "p50 ms", "alone, p50 ms", "failed"]
    note = (
        f"{CLIENTS} clients without pause, {seconds:g} s each; alone: one request after the"
        " other through the pod. Goal: 1.3 × batches of 1."
    )
    return Table("Batching at saturation", columns, rows, note)


def shipped_batching() -> tuple[int, int]:
    """Batch size and delay of the repository's model-config.yaml."""
    text = (STORE / "classifier" / "model-config.yaml").read_text()
    size, delay = (re.search(rf"{name}: (\d+)", text) for name in ("batchSize", "maxBatchDelay"))
    assert size and delay
    return int(size[1]), int(delay[1])


def steady(pod: Pod, body: bytes, measure: float, seconds: float) -> Table:
    """A constant rate of 70 % of what saturation of the same pod gives in ``measure`` seconds."""
    shot = by_form(pod, body)
    saturated(shot, CLIENTS, min(3.0, measure))
    capacity = saturated(shot, CLIENTS, measure).rate
    print(f"a constant rate of {LOAD * capacity:.1f} a second …", flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    targets = write(RESULTS / "targets.json", [shot])
    hits = attack(targets, constant(LOAD * capacity, seconds), RESULTS, "steady")
    p50, p95, p99 = (1000 * hits.percentile(share) for share in (50, 95, 99))
    good = int(hits.good.sum())
    row: list[Cell] = [capacity, LOAD * capacity, seconds, good, len(hits) - good]
    row += [p50, p95, p99, p99 / p50]
    columns = ["capacity /s", "rate /s", "seconds", "answers", "failed"]
    columns += ["p50 ms", "p95 ms", "p99 ms", "p99 ÷ p50"]
    note = (
        f"{LOAD:.0%} of the capacity through the pod, times from when each request was due."
        " Goal: p99 under 3 × p50."
    )
    return Table("A constant rate", columns, [row], note)


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench-classify", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="sequential requests of each kind")
    parser.add_argument("--seconds", type=float, default=15, help="of each saturated run")
    parser.add_argument("--steady", type=float, default=300, help="seconds of the constant rate")
    args = parser.parse_args(argv)
    body = photo()
    with tempfile.TemporaryDirectory(prefix="masquerade-bench-") as folder:
        work = Path(folder)
        print("batching …", flush=True)
        batches = batching(work, body, args.seconds)
        with pod_with(work / "last", *shipped_batching()) as pod:
            print("overhead …", flush=True)
            tables = [overhead(pod, body, args.count), batches]
            tables.append(steady(pod, body, args.seconds, args.steady))
    for table in tables:
        print(table.markdown())
    save(tables, RESULTS, machine() | {"seconds": str(args.seconds), "steady": str(args.steady)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
