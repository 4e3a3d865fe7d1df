"""``make loadtest-table``: take the latest figures into ``docs/load.json`` and README's table.

The figures are those of ``make loadtest`` and ``make soak`` under ``results``; one that was
not measured anew stays. A test holds the table to the file.
"""

from __future__ import annotations

import sys

from deploy.local.pod import ROOT
from loadtest import goals, load, soak
from loadtest.goals import Figure

KEPT = ROOT / "docs" / "load.json"
README = ROOT / "README.md"
BEGIN, END = "<!-- load: begin -->", "<!-- load: end -->"


def table(about: dict[str, str], figures: list[Figure]) -> str:
    """The table, with what it was measured on below."""
    if not figures:
        return "Not measured yet: `make loadtest`, `make soak`, then `make loadtest-table`.\n"
    rows = [("", "measured", "goal", "")]
    rows += [figure.row() for figure in figures]
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows]
    lines.insert(1, "|---|---|---|---|")
    told = "; ".join(f"{name}: {value}" for name, value in about.items())
    return "\n".join(lines) + f"\n\nMeasured: {told}.\n"


def placed(text: str, new: str) -> str:
    """A document with ``new`` between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{BEGIN} or {END} is missing")
    return f"{before}{BEGIN}\n{new}{END}{after}"


def main() -> int:
    """The command line."""
    about, kept = goals.load(KEPT) if KEPT.exists() else ({}, [])
    by_name = {figure.name: figure for figure in kept}
    for name, folder in (("load", load.RESULTS), ("soak", soak.RESULTS)):
        file = folder / "figures.json"
        if file.exists():
            on, figures = goals.load(file)
            about[name] = ", ".join(on[key] for key in ("machine", "taken", "form"))
            by_name |= {figure.name: figure for figure in figures}
    figures = list(by_name.values())
    goals.save(KEPT, about, figures)
    README.write_text(placed(README.read_text(), table(about, figures)))
    print(f"written: {KEPT.relative_to(ROOT)} and the table of {README.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
