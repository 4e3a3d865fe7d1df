"""The gate before photos and drawings: look at what was uploaded, tell it or refuse it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from gateway.errors import MasqueradeError, ModelFailed, ModelUnavailable
from gateway.media.image_base import on_white
from gateway.models import Classified, Classifier
from gateway.pipelines.classify_image import highest, shrunk
from gateway.settings import Settings, limits_of

log = logging.getLogger(__name__)

U8 = npt.NDArray[np.uint8]


class ContentRejected(MasqueradeError):
    """The upload shows what this service does not take."""

    status, code, title = 422, "content_rejected", "Content rejected"


class Judge(Protocol):
    """Scores frames; see :class:`gateway.models.Classifier`."""

    def classify(self, frames: U8) -> list[Classified]:
        """One result per frame of (N, h, w, 3) uint8 BGR."""
        ...


@dataclass(frozen=True)
class Review:
    """The gate as it is set.

    limits: by category, the score from which on an upload is flagged. rejects: whether a
    flagged one is refused, or only reported. side: shorter side of what is looked at, pixels.
    """

    judge: Judge
    limits: dict[str, float]
    rejects: bool
    side: int = 256

    @classmethod
    def from_settings(
        cls, settings: Settings, judge: Judge | None = None, patience: float = 0.0
    ) -> Self | None:
        """The gate that the settings ask for; None when it is off. patience: see ``Model``."""
        if settings.review == "off":
            return None
        return cls(
            judge or Classifier.from_settings(settings, patience),
            limits_of(settings.review_limits),
            settings.review == "reject",
            settings.classify_side,
        )

    def look(self, *frames: npt.NDArray[Any]) -> dict[str, Any]:
        """Frames of one size, as :class:`Picture` gives them → the answer's ``review``.

        ``{"flagged", "categories": {name: score}, "model"}``; when only reporting and the
        model is away, ``flagged`` is None and the upload passes.

        Raises:
            ContentRejected: over a limit. ModelUnavailable: it cannot be told, and must be.
        """
        small = np.stack([shrunk(on_white(frame), self.side) for frame in frames])
        try:
            found = self.judge.classify(small)
            scores = highest(one.scores for one in found)
            self._check_limits(scores)
        except ModelUnavailable:
            if self.rejects:
                raise
            log.warning("a picture passed without a review: the classifier cannot tell")
            return {"flagged": None, "categories": {}, "model": None}
        over = [name for name, limit in self.limits.items() if scores[name] >= limit]
        if over and self.rejects:
            raise ContentRejected(f"this image is not taken here: it shows {', '.join(over)}")
        return {
            "flagged": bool(over),
            "categories": {name: round(score, 4) for name, score in scores.items()},
            "model": found[0].model,
        }

    def _check_limits(self, scores: Mapping[str, float]) -> None:
        """A limit on what the model never tells, a misspelt one say, would let everything pass."""
        unknown = sorted(self.limits.keys() - scores.keys())
        if unknown:
            log.error(
                "MASQUERADE_REVIEW_LIMITS names %s; the classifier tells %s only",
                ", ".join(unknown),
                ", ".join(sorted(scores)),
            )
            raise ModelFailed("pictures cannot be reviewed: the service is set up wrongly")
