"""Which faces get hidden, how steadily, and whether a detector still finds them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from gateway.faces.boxes import centres, sizes
from gateway.media.video import probe, read_frames
from gateway.pipelines.analyse import pack
from loadtest.coverage import (
    ANY_VIDEO,
    CLASSES,
    ENOUGH,
    F64,
    Boxes,
    covered,
    is_video,
    shares,
    size_of,
)
from loadtest.lab import Hidden, Lab
from loadtest.media import Reference
from loadtest.tables import Cell, Table
from loadtest.tracks import Track, link

TOOLS = ("ours", "deface")
REFERENCE_THRESHOLD = 0.5
FIRES = (0.2, 0.5)
FLICKER = 3


def recall(lab: Lab) -> list[Table]:
    """Reference faces hidden, by size."""
    shares_by: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for path, reference in lab.media.reference.items():
        wanted = {frame: boxes for frame, boxes in reference.items() if len(boxes)}
        if not wanted:
            continue
        kind = "videos" if is_video(path) else "photos"
        found = [_shares(getattr(lab, tool)(path), wanted, path) for tool in TOOLS]
        for frame in wanted.keys() & found[0].keys() & found[1].keys():
            for number, box in enumerate(wanted[frame]):
                values = [f[frame][number] for f in found]
                if not np.isnan(values).any():
                    for tool, value in zip(TOOLS, values, strict=True):
                        shares_by[kind, _class(box), tool].append(value)
    rows: list[list[Cell]] = []
    for kind in ("photos", "videos"):
        for name in (*(c[0] for c in CLASSES), "all"):
            classes = [name] if name != "all" else [c[0] for c in CLASSES]
            values = [
                np.array([v for c in classes for v in shares_by[kind, c, tool]]) for tool in TOOLS
            ]
            if len(values[0]):
                missed = [int((v < ENOUGH).sum()) for v in values]
                row = [kind, name, len(values[0]), *map(covered, values), *missed]
                rows.append(row)
    return [
        Table(
            "Reference faces hidden",
            [
                *("in", "face height", "faces", "ours %", "deface %"),
                *("ours missed", "deface missed"),
            ],
            rows,
            "A face is hidden when at least half of its reference box is changed, by pixels "
            "against the same encoder's output with nothing hidden (loadtest/coverage.py). "
            "Faces whose detail coding alone removed tell nothing and are left out for both.",
        )
    ]


def flicker(lab: Lab) -> list[Table]:
    """Tracks of faces, looked for in every frame, and how often one shows."""
    rows: list[list[Cell]] = []
    for path in lab.media.videos:
        print(f"  detecting in every frame: {path.name}", flush=True)
        tracks = _tracks(lab, path)
        wanted = _by_frame(tracks)
        row: list[Cell] = [path.stem, len(tracks), sum(len(t.boxes) for t in tracks)]
        results = []
        for tool in TOOLS:
            found = _shares(getattr(lab, tool)(path), wanted, path) if wanted else {}
            results.append(_steadiness(tracks, found))
        for part in zip(*results, strict=True):
            row += part
        rows.append(row)
    return [
        Table(
            "Flicker, every frame",
            [
                *("clip", "tracks", "face-frames", "ours missed %", "deface missed %"),
                *("ours gaps", "deface gaps", "ours flickers", "deface flickers"),
            ],
            rows,
            f"Tracks: detections ≥ {REFERENCE_THRESHOLD} of the original, every frame at full "
            "resolution, linked (10 or more hits; up to 5 frames without one are filled). "
            "missed: face-frames not hidden. gaps: runs of them. flickers: gaps of 1 to 3 "
            "frames between hidden ones.",
        )
    ]


def residual(lab: Lab) -> list[Table]:
    """Faces that the detector still finds where the pod has hidden one, beside deface's."""
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for path in (*lab.media.photos, *lab.media.videos):
        report = lab.report(path)
        if is_video(path):
            spots = {f["frame"]: _boxes(f["faces"]) for f in report["per_frame"]}
        else:
            spots = {0: _boxes(report["faces"])}
        kind = "videos" if is_video(path) else "photos"
        step = 5 if is_video(path) else 1
        for tool in TOOLS:
            total = totals[kind, tool]
            output = getattr(lab, tool)(path).output
            for frame, boxes, scores in _detections(lab, output, FIRES[0], step):
                hidden = spots.get(frame, np.empty((0, 4), np.float32))
                total[0] += len(hidden)
                inside = _inside(boxes, hidden)
                for place, threshold in enumerate(FIRES, 1):
                    total[place] += int((inside & (scores >= threshold)).sum())
    rows: list[list[Cell]] = [
        [*key, *total, 100 * total[1] / total[0] if total[0] else None]
        for key, total in totals.items()
    ]
    return [
        Table(
            "The detector on the outputs",
            ["in", "output of", "faces hidden by us", "fire ≥ 0.2", "fire ≥ 0.5", "≥ 0.2, %"],
            rows,
            "Detections whose centre lies in a box that the pod has hidden, of similar size "
            "(a third to three times); of videos every fifth frame. Goal: none. A black fill "
            "fires too: hair and shoulders around it are enough for the detector.",
        )
    ]


def _shares(hidden: Hidden, wanted: Reference, path: Path) -> dict[int, F64]:
    return shares(hidden.output, hidden.baseline, wanted, size_of(path), hidden.lag)


def _class(box: Boxes) -> str:
    height = float(box[3] - box[1])
    return next(name for name, low, high in CLASSES if low <= height < high)


def _detections(lab: Lab, path: Path, threshold: float, step: int = 1) -> Any:
    """(frame, boxes, scores) of every ``step``-th frame, at full resolution."""
    if not is_video(path):
        found = lab.detector.detect_encoded(path.read_bytes(), threshold)
        yield 0, found.boxes, found.scores
        return
    for frame in read_frames(str(path), probe(str(path), ANY_VIDEO)):
        if frame.index % step == 0:
            found = lab.detector.detect_frames(pack(frame.planes)[None], threshold)[0]
            yield frame.index, found.boxes, found.scores


def _tracks(lab: Lab, path: Path) -> list[Track]:
    found = _detections(lab, path, REFERENCE_THRESHOLD)
    return link({frame: boxes for frame, boxes, _ in found})


def _by_frame(tracks: list[Track]) -> Reference:
    frames: dict[int, list[Boxes]] = defaultdict(list)
    for track in tracks:
        for frame, box in track.boxes.items():
            frames[frame].append(box)
    return {frame: np.array(boxes, np.float32) for frame, boxes in frames.items()}


def _steadiness(tracks: list[Track], found: dict[int, F64]) -> tuple[float | None, int, int]:
    """Percent of face-frames missed, gaps, and gaps short enough to flicker."""
    place: dict[int, int] = defaultdict(int)  # in each frame, in the order of _by_frame
    total = missed = gaps = flickers = 0
    for track in tracks:
        shown = []
        for frame in track.boxes:
            number, place[frame] = place[frame], place[frame] + 1
            if frame in found and not np.isnan(found[frame][number]):
                shown.append(bool(found[frame][number] < ENOUGH))
        total += len(shown)
        missed += sum(shown)
        for start, stop in _runs(shown):
            gaps += 1
            flickers += stop - start <= FLICKER and start > 0 and stop < len(shown)
    return (100 * missed / total if total else None), gaps, flickers


def _runs(flags: list[bool]) -> list[tuple[int, int]]:
    """(start, stop) of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.array([False, *flags, False], np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _boxes(faces: list[dict[str, Any]]) -> Boxes:
    return np.array([face["box"] for face in faces], np.float32).reshape(-1, 4)


def _inside(boxes: Boxes, hidden: Boxes) -> Any:
    """Which boxes have their centre in a hidden one of similar size."""
    if not len(boxes) or not len(hidden):
        return np.zeros(len(boxes), bool)
    middle = centres(boxes)[:, None]
    within = ((middle >= hidden[None, :, :2]) & (middle <= hidden[None, :, 2:])).all(2)
    ratio = sizes(boxes)[:, None, 1] / np.maximum(sizes(hidden)[None, :, 1], 1)
    return (within & (ratio > 1 / 3) & (ratio < 3)).any(1)
