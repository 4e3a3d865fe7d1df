"""``python -m tests.fuzz [TARGET …] --seconds 60``: coverage-guided, by atheris (libFuzzer).

Inputs that reach new code are kept in ``.fuzz/TARGET/`` and begun with the next time; one that
fails lies there as ``crash-…`` (``timeout-…``, ``oom-…``) and is tried again by
``python -m tests.fuzz TARGET --replay FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

KEPT = Path(__file__).resolve().parents[2] / ".fuzz"
SLOW = 10  # seconds for one input that count as hanging
MEMORY = 2048  # MiB


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of what was found")
    parser.add_argument("--replay", type=Path, help="an input to be tried once")
    asked = parser.parse_args()
    if len(asked.targets) == 1 and not asked.replay:
        fuzz(asked.targets[0], asked.seconds, asked.seed, asked.kept)
    from tests.fuzz.targets import TARGETS

    if asked.replay:
        TARGETS[asked.targets[0]](asked.replay.read_bytes())
        return 0
    failed = []
    for name in asked.targets or TARGETS:
        more = ["--seconds", str(asked.seconds), "--seed", str(asked.seed)]
        command = [sys.executable, "-m", "tests.fuzz", name, *more, "--kept", str(asked.kept)]
        print(f"{name} …", flush=True)
        if subprocess.run(command).returncode:
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "nothing was found")
    return bool(failed)


def fuzz(name: str, seconds: int, seed: int, kept: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["gateway", "yaml"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    begun, found = kept / name / "seeds", kept / name / "found"
    for folder in (begun, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (begun / str(number)).write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}",
        f"-max_len={target.longest}",
        f"-seed={seed}",
        f"-artifact_prefix={kept / name}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), str(begun)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
