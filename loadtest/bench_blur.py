"""``make bench-blur``: every figure of the blur, through a real pod.

Starts a pod of its own, on free ports and in a temporary folder, measures, prints one
table per topic and writes ``loadtest/results/latest.md`` and ``.json``. Run it alone:
everything is timed on the machine's own cores.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.local.pod import ROOT, PodError
from loadtest import photos, recall, service, speed
from loadtest.lab import Lab
from loadtest.media import find
from loadtest.tables import Table, machine, save

TOPICS: dict[str, Callable[[Lab], list[Table]]] = {
    "video": speed.video,
    "recall": recall.recall,
    "flicker": recall.flicker,
    "residual": recall.residual,
    "photo": photos.photo,
    "memory": service.memory,
    "health": service.health,
}
RESULTS = Path(__file__).parent / "results"


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 when a topic failed (the others are still measured)."""
    args = _parse(argv)
    # Killed politely, it still stops its pod and removes its folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = []
    tables: list[Table] = []
    about = machine() | {"runs": str(args.runs) + (", quick" if args.quick else "")}
    with tempfile.TemporaryDirectory(prefix="masquerade-bench-") as folder:
        work = Path(folder)
        media = find(args.media, work, args.quick)
        about["media"] = "real clips" if args.media else "generated clips"
        print("starting a pod …", flush=True)
        try:
            with Lab(media, work, args.cache, args.runs, args.quick) as lab:
                for topic in args.only:
                    print(f"{topic} …", flush=True)
                    begun = time.monotonic()
                    try:
                        taken = TOPICS[topic](lab)
                    except Exception as error:  # one topic must not cost the others
                        failed.append(topic)
                        print(f"  failed: {type(error).__name__}: {error}", file=sys.stderr)
                        continue
                    print(f"  {time.monotonic() - begun:.0f} s\n")
                    for table in taken:
                        print(table.markdown(), flush=True)
                    tables += taken
                    save(tables, RESULTS, about)
                if failed:
                    shutil.copytree(lab.pod.logs, RESULTS / "logs", dirs_exist_ok=True)
        except PodError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if failed:
        names = ", ".join(failed)
        print(f"error: not measured: {names}; the pod's logs: {RESULTS}/logs", file=sys.stderr)
    else:
        print(f"written: {RESULTS / 'latest.md'}")
    return 1 if failed else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    beside = ROOT.parent / "shared" / "media"
    parser = argparse.ArgumentParser(prog="bench-blur", description=__doc__)
    parser.add_argument(
        "--media",
        type=Path,
        default=beside if beside.is_dir() else None,
        help="folder with images/, videos/ and faces_reference.json (default: "
        "../shared/media, else generated clips)",
    )
    parser.add_argument("--runs", type=int, default=3, help="of each timed pair (default 3)")
    parser.add_argument("--only", type=_topics, default=list(TOPICS), help=", ".join(TOPICS))
    parser.add_argument("--quick", action="store_true", help="100 frames a clip, few requests")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "masquerade-bench",
        help="where deface's own environment is kept",
    )
    return parser.parse_args(argv)


def _topics(text: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in chosen if word not in TOPICS]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"choose from {', '.join(TOPICS)}")
    return [topic for topic in TOPICS if topic in chosen]


if __name__ == "__main__":
    sys.exit(main())
