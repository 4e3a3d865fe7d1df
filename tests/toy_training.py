"""A model that trains within a second and needs nothing: its folder, and its script.

``steps`` steps of ``pause`` seconds; a checkpoint is the number of steps as text. ``fail``:
ends with an error; ``vanish``: kills itself, once; ``deaf``: does not hear SIGTERM.
"""

from __future__ import annotations

from pathlib import Path

ARGUMENTS = """
import argparse
from pathlib import Path

GPUS = 1

def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--device", choices=("cpu", "cuda"))
    made.add_argument("--data", type=Path)
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--pause", type=float, default=0.0)
    made.add_argument("--shape", choices=("round", "square"), default="round")
    made.add_argument("--label", default="")
    made.add_argument("--fail", action="store_true")
    made.add_argument("--vanish", action="store_true")
    made.add_argument("--deaf", action="store_true")
    return made
"""

SCRIPT = """
import os, signal, subprocess, sys, time
from .arguments import parser

args = parser().parse_args()
last = args.out / "last.pt"
asked = []
signal.signal(signal.SIGTERM, signal.SIG_IGN if args.deaf else lambda *_: asked.append(1))
done = int(last.read_text()) if last.exists() else 0
print("environment", sorted(os.environ), flush=True)
print("arguments", sys.argv[1:], flush=True)
print("gpus", os.environ["CUDA_VISIBLE_DEVICES"] or "none", flush=True)
child = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL)
print("processes", os.getpid(), child.pid, flush=True)
print("from step", done, flush=True)
(args.out / f"events.out.tfevents.{done}").write_text("event")
for step in range(done + 1, args.steps + 1):
    time.sleep(args.pause)
    last.with_suffix(".part").write_text(str(step))
    last.with_suffix(".part").replace(last)
    print(f"{step}: loss {1 / step:.3f} iou nan - 300 views/s".replace("-", "\\u00b7"), flush=True)
    if args.vanish and done == 0 and step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if asked:
        sys.exit(143)
if args.fail:
    raise RuntimeError("the loss is odd")
child.kill()
"""


def install(folder: Path) -> Path:
    """Write ``model_store/toy`` below a folder, and answer the folder."""
    toy = folder / "model_store" / "toy"
    toy.mkdir(parents=True)
    for place in (toy.parent, toy):
        (place / "__init__.py").touch()
    (toy / "arguments.py").write_text(ARGUMENTS)
    (toy / "train.py").write_text(SCRIPT)
    return folder
