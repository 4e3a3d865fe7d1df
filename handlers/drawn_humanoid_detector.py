"""AnimatedDrawings' detector, answered by the rigger: ``drawn_humanoid_detector``.

A request is the multipart field ``data`` (an encoded image); the answer a list of
``{"class_name", "bbox": [left, top, right, bottom], "score"}``, best first.
"""

from __future__ import annotations

from typing import Any

try:  # inside an archive these are siblings
    from rig_figures import rig
    from rig_photo import Photo
    from rigger import Rigger
except ModuleNotFoundError:
    from handlers.rig_figures import rig
    from handlers.rig_photo import Photo
    from handlers.rigger import Rigger

CLASS_NAME = "drawn_humanoid"


class DrawnHumanoidDetector(Rigger):
    """The TorchServe entry point."""

    def answer(self, photos: list[Photo]) -> Any:
        """The figures of the request's first image."""
        return [
            {
                "class_name": CLASS_NAME,
                "bbox": [round(v, 1) for v in figure.box],
                "score": round(figure.score, 4),
            }
            for figure in rig(self.network, photos[:1])[0]
        ]
