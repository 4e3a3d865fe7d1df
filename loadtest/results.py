"""Many hits as arrays, and what they say: rates, percentiles, shares. Pure but for ``read``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.hits import SECOND, Hit

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

REFUSALS = (429, 503)
"""What a service says that has no room."""

_SETTLE = 4.0  # seconds, at most, until queues are as full as they get


@dataclass(frozen=True)
class Results:
    """Hits in the order in which they were due.

    due: seconds since the first of them. seconds: from then to the answer. code: HTTP's, 0
    without an answer. length: how long requests came, in seconds. began: when the first was
    due, in seconds since 1970.
    """

    due: F64
    seconds: F64
    code: I64
    length: float
    began: float = 0.0

    @classmethod
    def of(cls, hits: Iterable[Hit], length: float) -> Results:
        """``length``: how long requests came, in seconds."""
        ordered = sorted(hits, key=lambda hit: hit.timestamp)
        first = ordered[0].timestamp if ordered else 0
        return cls(
            np.array([(hit.timestamp - first) / SECOND for hit in ordered], np.float64),
            np.array([hit.latency / SECOND for hit in ordered], np.float64),
            np.array([hit.code for hit in ordered], np.int64),
            length,
            first / SECOND,
        )

    def __len__(self) -> int:
        return len(self.code)

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        """Which were answered with 200 to 299."""
        return (self.code >= 200) & (self.code < 300)

    @property
    def refused(self) -> npt.NDArray[np.bool_]:
        """Which were turned away for want of room."""
        return np.isin(self.code, REFUSALS)

    @property
    def success(self) -> float:
        """Share of good ones, 0 to 1; 0 of none."""
        return float(self.good.mean()) if len(self) else 0.0

    @property
    def broken(self) -> int:
        """How many got no answer, or a 5xx other than 503."""
        return int(((self.code == 0) | ((self.code >= 500) & (self.code != 503))).sum())

    def goodput(self, within: float = float("inf")) -> float:
        """Good answers a second, counted as they came in, once queues were filled; of those
        only that took at most ``within`` seconds.
        """
        settle = min(_SETTLE, self.length / 4)
        done = self.due + self.seconds
        came = self.good & (self.seconds <= within) & (done >= settle) & (done < self.length)
        return float(came.sum() / (self.length - settle))

    def served_within(self, share: float) -> float:
        """Seconds within which so many of 100 requests had a good answer. Who was refused or
        let down never had: infinite where they are too many.
        """
        if not len(self):
            return float("inf")
        waited = np.where(self.good, self.seconds, np.inf)
        return float(np.percentile(waited, share, method="inverted_cdf"))

    def percentile(self, share: float, which: npt.NDArray[np.bool_] | None = None) -> float:
        """Seconds within which so many of 100 were answered, of the good ones or of ``which``;
        infinite when there are none.
        """
        taken = self.seconds[self.good if which is None else which]
        return float(np.percentile(taken, share)) if len(taken) else float("inf")

    def codes(self) -> dict[int, int]:
        """How often each code came."""
        found, counts = np.unique(self.code, return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


def served(runs: Sequence[Results]) -> float:
    """Share of good ones among all requests of several runs, 0 to 1."""
    return sum(int(run.good.sum()) for run in runs) / max(1, sum(map(len, runs)))


def counts(runs: Sequence[Results]) -> str:
    """The same in words."""
    return f"{sum(int(run.good.sum()) for run in runs)} of {sum(map(len, runs))}"


def ratio(value: float, of: float) -> float:
    """A value in terms of another; not a number where that is none to compare with."""
    return value / of if of and np.isfinite(of) else float("nan")


def read(paths: Sequence[Path], length: float) -> Results:
    """The hits of several files of vegeta's JSON results as one run of ``length`` seconds."""
    return Results.of(
        (Hit.read(line) for path in paths for line in path.read_text().splitlines()), length
    )
