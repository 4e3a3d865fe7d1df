"""Videos: how fast, against deface and against a plain transcode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from loadtest.lab import Blurred, Lab
from loadtest.media import SPEED_CLIPS, frame_count
from loadtest.peer import BACKENDS
from loadtest.tables import Cell, Table

STAGES = ("fetch_ms", "analyse_ms", "render_ms", "store_ms")


def video(lab: Lab) -> list[Table]:
    """Each run takes every clip through all tools in turn; ratios are of the same run.

    Of deface's backends, the one that the first run shows slower is then left out.
    """
    clips = [lab.media.video(name) for name in SPEED_CLIPS]
    lab.blur_video(clips[0])  # the pod is a service: its first job pays for warming up
    ours: dict[str, list[Blurred]] = defaultdict(list)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    peak: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(lab.runs):
        for clip in clips:
            print(f"  run {number + 1}/{lab.runs}: {clip.stem}", flush=True)
            blurred = lab.blur_video(clip)
            ours[clip.stem].append(blurred)
            seconds[clip.stem, "ours"].append(blurred.seconds)
            for backend in _worth_timing(clip.stem, seconds):
                ran = lab.peer.blur(clip, lab.work / f"deface-{backend}-{clip.name}", backend)
                seconds[clip.stem, backend].append(ran.seconds)
                peak[clip.stem, backend] = max(peak[clip.stem, backend], ran.peak_mb)
            ran = lab.peer.transcode(clip, lab.work / f"floor-{clip.name}")
            seconds[clip.stem, "floor"].append(ran.seconds)

    speeds: list[list[Cell]] = []
    stages: list[list[Cell]] = []
    for clip in clips:
        name, frames = clip.stem, frame_count(clip)
        faster = _faster(name, seconds)
        mine, floor = seconds[name, "ours"], seconds[name, "floor"]
        speeds.append(
            [
                name,
                frames,
                *(frames / median(seconds[name, tool]) for tool in ("ours", *BACKENDS, "floor")),
                median(d / o for d, o in zip(seconds[name, faster], mine, strict=True)),
                median(o / f for o, f in zip(mine, floor, strict=True)),
                *(peak[name, backend] for backend in BACKENDS),
            ]
        )
        runs = ours[name]
        known = [median(r.timings[stage] for r in runs) / 1000 for stage in STAGES]
        total, submit, download = (
            median(getattr(r, part) for r in runs) for part in ("seconds", "submit", "download")
        )
        waited = total - submit - download - sum(known)
        looks = runs[-1].report.get("looks", {})
        counts = [looks.get("full"), looks.get("half")]
        stages.append([name, submit, waited, *known, download, total, *counts])
    return [
        Table(
            f"Video speed, medians of {lab.runs}",
            [
                *("clip", "frames", "ours fps", "deface onnxrt fps", "deface opencv fps"),
                *("transcode fps", "× deface (faster)", "time ÷ transcode"),
                *("deface onnxrt peak MB", "deface opencv peak MB"),
            ],
            speeds,
            "ours: from submit to the result downloaded, through the pod. deface: default "
            "settings and -k. transcode: ffmpeg -c:v libx264 -preset veryfast -c:a copy. "
            "Ratios are medians of same-run pairs; the slower backend ran once. Goals: 6× deface "
            f"(12×); under 3× the transcode (1.5×). {lab.peer.versions()}.",
        ),
        Table(
            "Where a video's seconds go, medians",
            [
                *("clip", "submit", "wait and notice", "fetch", "analyse", "render", "store"),
                *("download", "total", "full looks", "half looks"),
            ],
            stages,
            "analyse: decode, detect, track. render: decode, hide, encode. Looks: frames that "
            "the detector saw at full and at half size.",
        ),
    ]


def _faster(clip: str, seconds: Mapping[tuple[str, str], list[float]]) -> str:
    return min(BACKENDS, key=lambda backend: seconds[clip, backend][0])


def _worth_timing(clip: str, seconds: Mapping[tuple[str, str], list[float]]) -> Sequence[str]:
    return [_faster(clip, seconds)] if seconds[clip, BACKENDS[-1]] else BACKENDS
