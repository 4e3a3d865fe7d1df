"""``make bench-animate``: time and memory of animations, beside AnimatedDrawings' own renderer.

Both sides run as a command of their own, from start to finished GIF, in turns: the same
character, motion, frames and size. Where AnimatedDrawings is not installed, the figures
recorded on the reference machine stand in. Run it alone: it times the machine's cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from gateway.drawings.motions import library_motion
from gateway.pipelines.animate_drawing import Animator, Placed
from gateway.pipelines.character_folder import read_character
from gateway.pipelines.options import AnimateOptions
from loadtest import drawings
from loadtest.lab import own_pod
from loadtest.processes import Ran, run
from loadtest.tables import Cell, Table, machine, save

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "animate"
SIZE = 500
CASES = (
    ("char1", "dab", "fair1_ppf"),
    ("char4", "dab", "fair1_ppf"),
    ("char1", "jumping_jacks", "cmu1_pfp"),
)
"""Character, motion and retarget configuration; all of them 30 frames a second or slower,
so that both sides show the same frames."""

RECORDED = {
    ("char1", "dab"): Ran(21.6, 713),
    ("char4", "dab"): Ran(11.3, 666),
    ("char1", "jumping_jacks"): Ran(13.8, 622),
}
"""AnimatedDrawings on two cores of an AMD EPYC, late 2026."""

THREE = ("dab", "jumping", "zombie")


class Case:
    """One character and motion, and the commands that animate it."""

    def __init__(self, drawings: Path, work: Path, case: tuple[str, str, str]) -> None:
        self.character, self.motion, retarget = case
        peer = drawings / "animated_drawings"
        self._folder = drawings / self.character
        self._retarget = peer / "config" / "retarget" / f"{retarget}.yaml"
        config = yaml.safe_load((peer / "config" / "motion" / f"{self.motion}.yaml").read_text())
        self._bvh = peer / config["filepath"].removeprefix("examples/")
        self._config = work / f"{self.motion}.yaml"
        self._config.write_text(yaml.dump(config | {"filepath": str(self._bvh)}))
        self._work = work

    def ours(self) -> Ran:
        """Our command line."""
        program = str(Path(sys.executable).parent / "masquerade")
        look = ["--background", "#ffffff", "--size", f"{SIZE}x{SIZE}", "-o", str(self._work)]
        motion = ["--bvh", str(self._bvh), "--motion-config", str(self._config)]
        motion += ["--retarget-config", str(self._retarget)]
        return run([program, "animate", str(self._folder), *motion, *look])

    def peer(self, python: Path) -> Ran:
        """AnimatedDrawings, rendering without a window."""
        character = {
            "character_cfg": str(self._folder / "char_cfg.yaml"),
            "motion_cfg": str(self._config),
            "retarget_cfg": str(self._retarget),
        }
        scene = {
            "scene": {"ANIMATED_CHARACTERS": [character]},
            "view": {"USE_MESA": True, "WINDOW_DIMENSIONS": [SIZE, SIZE]},
            "controller": {
                "MODE": "video_render",
                "OUTPUT_VIDEO_PATH": str(self._work / f"peer_{self.character}_{self.motion}.gif"),
            },
        }
        path = self._work / "scene.yaml"
        path.write_text(yaml.dump(scene))
        code = "import sys; from animated_drawings import render; render.start(sys.argv[1])"
        return run([str(python), "-c", code, str(path)])


def beside_the_peer(drawings: Path, work: Path, runs: int, python: Path | None) -> Table:
    """Every case, ours and theirs in turns."""
    rows: list[list[Cell]] = []
    for case in (Case(drawings, work, case) for case in CASES):
        print(f"  {case.character} {case.motion}", flush=True)
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(case.ours())
            if python:
                theirs.append(case.peer(python))
        theirs = theirs or [RECORDED[case.character, case.motion]]
        a, b = (statistics.median(r.seconds for r in side) for side in (ours, theirs))
        c, d = (max(r.peak_mb for r in side) for side in (ours, theirs))
        rows.append([case.character, case.motion, a, b, b / a, c, d])
    columns = ["character", "motion", "ours s", "theirs s", "times faster", "ours MB", "theirs MB"]
    source = "measured in turns" if python else "theirs as recorded on the reference machine"
    note = f"GIF {SIZE}×{SIZE}, command to finished file; medians of {runs}, memory at its peak; "
    return Table("One animation", columns, rows, note + source + ".")


def several_motions(drawings: Path, runs: int) -> Table:
    """A rigged character to three GIFs, in a process that is up and warm."""
    figure = read_character(drawings / "char1")
    for name in THREE:
        library_motion(name)
    taken, ready = [], []
    for _ in range(runs):
        begun = time.perf_counter()
        animator = Animator([Placed(figure)], AnimateOptions(size=SIZE))
        ready.append(time.perf_counter() - begun)
        for name in THREE:
            animator.animate(library_motion(name))
        taken.append(time.perf_counter() - begun)
    row: list[Cell] = [", ".join(THREE), statistics.median(ready), statistics.median(taken)]
    columns = ["motions", "mesh and factorisation s", "all s"]
    return Table("Three motions of the library", columns, [row], "char1, GIF, in one process.")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench-animate", description=__doc__)
    parser.add_argument(
        "--drawings", type=Path, default=ROOT.parent / "shared" / "drawings", help="test drawings"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each timed pair (default 5)")
    parser.add_argument(
        "--peer", type=Path, help="a Python in which animated_drawings and OSMesa are installed"
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="masquerade-bench-") as folder:
        work = Path(folder)
        tables = []
        with own_pod(work / "pod") as pod:
            print("through the pod …", flush=True)
            tables += [drawings.phone(pod, work, args.runs), drawings.crowd(pod, work)]
        if (args.drawings / "char1").is_dir():
            print("beside the peer …", flush=True)
            tables.append(several_motions(args.drawings, args.runs))
            tables.append(beside_the_peer(args.drawings, work, args.runs, args.peer))
        else:
            print(f"no drawings in {args.drawings}: nothing to compare with the peer by")
    for table in tables:
        print(table.markdown())
    save(tables, RESULTS, machine() | {"runs": str(args.runs)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
