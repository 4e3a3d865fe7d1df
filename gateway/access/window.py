"""What a sliding window has left, and when so much fits into it again; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Fixed windows of ``span`` s; of the one before, that part counts which is no older than that.

    most: may count at a time. before: was counted in the window before, which counts less and
    less for another ``fades`` s. now: was counted in the present window, which ends in ``ends`` s.
    """

    most: int
    span: int
    before: int = 0
    fades: float = 0.0
    now: int = 0
    ends: float = 0.0

    @property
    def left(self) -> int:
        """What still fits."""
        return max(0, self.most - math.floor(self.before * self.fades / self.span) - self.now)

    def wait(self, cost: int) -> float:
        """Seconds after which ``cost`` fits if nothing else comes; ``span`` if it never does."""
        room = self.most - cost
        if room < 0:
            return float(self.span)
        # What fades counts in whole numbers: it may be up to one more than there is room for.
        if self.now > room:  # not before this window has become the one before
            return self.ends + max(0.0, self.span - (room + 1) * self.span / self.now)
        if not self.before:
            return 0.0
        return max(0.0, self.fades - (room + 1 - self.now) * self.span / self.before)
