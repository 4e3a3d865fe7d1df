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

    @property
    def goodput(self) -> float:
        """Good answers a second, counted as they came in, once queues were filled."""
        settle = min(_SETTLE, self.length / 4)
        done = self.due + self.seconds
        came = self.good & (done >= settle) & (done < self.length)
        return float(came.sum() / (self.length - settle))

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


def read(paths: Sequence[Path], length: float) -> Results:
    """The hits of several files of vegeta's JSON results as one run of ``length`` seconds."""
    return Results.of(
        (Hit.read(line) for path in paths for line in path.read_text().splitlines()), length
    )
