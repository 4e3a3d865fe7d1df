"""``make loadtest-table``: take the latest figures into ``docs/load.json`` and README's table.

The figures are those of ``make loadtest`` and ``make soak`` under ``results``. A run replaces
all that the last one of its kind had measured, so that a table never mixes two of them. A test
holds the table to the file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict

from deploy.local.pod import ROOT
from loadtest import goals, load, soak
from loadtest.goals import Run

KEPT = ROOT / "docs" / "load.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- load: begin -->", "<!-- load: end -->"


def table(runs: Mapping[str, Run]) -> str:
    """The table, with what each kind of run was measured on below."""
    if not runs:
        return "Not measured yet: `make loadtest`, `make soak`, then `make loadtest-table`.\n"
    rows = [("", "measured", "goal", "")]
    rows += [figure.row() for run in runs.values() for figure in run.figures]
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows]
    lines.insert(1, "|---|---|---|---|")
    told = "; ".join(
        f"{kind}: {', '.join(run.about[key] for key in ('machine', 'taken', 'form'))}"
        for kind, run in runs.items()
    )
    return "\n".join(lines) + f"\n\nMeasured: {told}.\n"


def placed(text: str, new: str) -> str:
    """A document with ``new`` between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{BEGIN} or {END} is missing")
    return f"{before}{BEGIN}\n{new}{END}{after}"


def kept() -> dict[str, Run]:
    """The figures in the repository, by the kind of run."""
    known = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    return {kind: Run.of(run) for kind, run in known.items()}


def main() -> int:
    """The command line."""
    runs = kept()
    for kind, folder in (("load", load.RESULTS), ("soak", soak.RESULTS)):
        if (file := folder / "figures.json").exists():
            runs[kind] = goals.load(file)
    KEPT.write_text(goals.as_text({kind: asdict(run) for kind, run in runs.items()}))
    README.write_text(placed(README.read_text(), table(runs)))
    print(f"written: {KEPT.relative_to(ROOT)} and the table of {README.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
