"""AnimatedDrawings' pose estimator, answered by the rigger: ``drawn_humanoid_pose_estimator``.

A request is the multipart field ``data``: an encoded picture of one figure, cut to its
box. The answer is a list of one ``{"bbox", "keypoints": [[x, y, score], …17]}`` in COCO's
order, pixels of that picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:  # inside an archive these are siblings
    from rig_look import all_joints, look
    from rig_photo import Photo
    from rigger import Rigger
except ModuleNotFoundError:
    from handlers.rig_look import all_joints, look
    from handlers.rig_photo import Photo
    from handlers.rigger import Rigger

#: COCO's names; "left" is the character's own, as in ours.
COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ),
)
OURS = {"wrist": "hand", "ankle": "foot"}
#: Where eyes and ears are guessed to be: (x, y) off the nose, share of nose to shoulders.
FACE = {
    "left_eye": (0.25, -0.2), "right_eye": (-0.25, -0.2),
    "left_ear": (0.5, -0.05), "right_ear": (-0.5, -0.05),
}  # fmt: skip
GUESSED = 0.1  # the score of what no network has seen


def keypoints(joints: dict[str, tuple[float, float, float]]) -> list[list[float]]:
    """17 rows of x, y, score out of the named joints."""
    nose, torso = joints["neck"], joints["torso"]
    reach = float(np.hypot(torso[0] - nose[0], torso[1] - nose[1]))
    rows: list[list[float]] = []
    for name in COCO:
        if name == "nose":
            rows.append(list(nose))
        elif name in FACE:
            dx, dy = FACE[name]
            rows.append([nose[0] + dx * reach, nose[1] + dy * reach, GUESSED])
        else:
            side, part = name.split("_")
            rows.append(list(joints[f"{side}_{OURS.get(part, part)}"]))
    return [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in rows]


class DrawnHumanoidPoseEstimator(Rigger):
    """The TorchServe entry point."""

    def answer(self, photos: list[Photo]) -> Any:
        """The joints of the figure that fills the request's first image."""
        photo = photos[0]
        height, width = photo.pixels.shape[:2]
        (seen,) = look(self.network, [(photo.pixels, np.array([0, 0, width, height], np.float32))])
        fx, fy = photo.scale
        joints = {k: (x * fx, y * fy, s) for k, (x, y, s) in all_joints(seen.joints).items()}
        return [{"bbox": [0, 0, photo.width, photo.height], "keypoints": keypoints(joints)}]
