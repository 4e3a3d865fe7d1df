"""Bodies: plan, proportions and pose of a made-up figure, as joints and widths.

Units: the torso is about 1 high; x right, y down, the origin at the middle of the
shoulders. "right" is the character's own right: the left of the picture.

Joints follow AnimatedDrawings' annotation: the neck sits on the nose, shoulders and
hips where a limb's axis meets the torso, hands at the wrist, feet at the ankle; root,
hip and torso are midpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .shapes import Points, Rng, blob, points, spline, superellipse

SIDES = {"right": -1.0, "left": 1.0}
#: What the network answers; the other three are midpoints of these.
JOINTS = (
    "neck",
    *(
        f"{side}_{part}"
        for part in ("shoulder", "elbow", "hand", "hip", "knee", "foot")
        for side in ("right", "left")
    ),
)
#: Index of each joint's counterpart in a mirrored picture.
MIRRORED = [
    JOINTS.index(n.replace("right", "L").replace("left", "right").replace("L", "left"))
    for n in JOINTS
]


@dataclass
class Body:
    """A figure's geometry before it is drawn."""

    plan: str  # stick, outline, contour (limbs and torso share one outline) or egg (all head)
    torso: str  # line, ellipse, box, trapezoid, triangle, pear, bean
    top: float  # half-width at the shoulders
    bottom: float  # half-width at the hips
    head: tuple[float, float]  # centre
    radii: tuple[float, float]
    neck: float  # length between chin and shoulders
    arm: str  # line, tube, thick
    leg: str
    arm_width: float
    leg_width: float
    hem: float = 0.0  # how far a dress reaches below the hips
    joints: dict[str, Points] = field(default_factory=dict)

    def limb(self, side: str, arm: bool) -> Points:
        """The three joints of a limb, from the torso outwards, (3, 2)."""
        parts = ("shoulder", "elbow", "hand") if arm else ("hip", "knee", "foot")
        return np.stack([self.joints[f"{side}_{part}"] for part in parts])


def one_of(rng: Rng, **weights: float) -> str:
    """A key, drawn by its weight."""
    at = rng.uniform(0, sum(weights.values()))
    for key, weight in weights.items():
        at -= weight
        if at <= 0:
            return key
    return key


def make_body(rng: Rng) -> Body:
    """A body of any kind."""
    plan = one_of(rng, stick=0.22, outline=0.4, contour=0.26, egg=0.12)
    body = _egg(rng) if plan == "egg" else _upright(rng, plan)
    _pose_arms(rng, body)
    _pose_legs(rng, body)
    return body


def _upright(rng: Rng, plan: str) -> Body:
    if plan == "stick":
        torso = one_of(rng, line=0.6, triangle=0.25, box=0.08, ellipse=0.07)
    else:
        torso = one_of(
            rng, ellipse=0.24, box=0.22, trapezoid=0.16, triangle=0.15, pear=0.12, bean=0.11
        )
    top, bottom = rng.uniform(0.18, 0.55), rng.uniform(0.18, 0.55)
    if torso == "triangle":
        top, bottom = rng.uniform(0.03, 0.22), rng.uniform(0.28, 0.75)
    elif torso == "line":
        top = bottom = 0.0
    elif torso in ("ellipse", "pear"):
        top, bottom = sorted((top, bottom)) if rng.random() < 0.75 else (bottom, top)
    rx = rng.uniform(0.22, 0.7) * (1.25 if rng.random() < 0.15 else 1.0)
    ry = rx * rng.uniform(0.78, 1.3)
    neck = rng.uniform(0.05, 0.35) if rng.random() < 0.5 else rng.uniform(-0.08, 0.05)
    head = (rng.normal(0, 0.05), -neck - ry)
    limb = {"stick": {"line": 0.9, "thick": 0.1}, "contour": {"tube": 1.0}}.get(plan)
    arm = one_of(rng, **(limb or {"tube": 0.62, "line": 0.28, "thick": 0.1}))
    leg = arm if rng.random() < 0.85 else one_of(rng, **(limb or {"tube": 0.7, "line": 0.3}))
    hem = rng.uniform(0.0, 0.45) if torso == "triangle" and rng.random() < 0.5 else 0.0
    arm_width = rng.uniform(0.05, 0.2)
    leg_width = min(rng.uniform(0.06, 0.26), max(0.09, bottom * 0.62))
    return Body(plan, torso, top, bottom, head, (rx, ry), neck, arm, leg, arm_width, leg_width, hem)


def _egg(rng: Rng) -> Body:
    """Body and head in one: tadpole people, eggs, monsters, fruit with limbs."""
    rx, ry = rng.uniform(0.4, 0.85), rng.uniform(0.45, 0.85)
    # The face sits in the upper part; the box below it plays the torso.
    head = (rng.normal(0, 0.03), 0.5 - ry * rng.uniform(0.1, 0.4))
    shape = one_of(rng, ellipse=0.6, box=0.2, pear=0.1, bean=0.1)
    arm = one_of(rng, line=0.5, tube=0.4, thick=0.1)
    leg = arm if rng.random() < 0.85 else one_of(rng, line=0.5, tube=0.5)
    return Body(
        "egg", shape, rx, rx, head, (rx, ry), 0.0, arm, leg,
        rng.uniform(0.05, 0.13), rng.uniform(0.06, 0.17),
    )  # fmt: skip


def _angle(rng: Rng) -> float:
    """An arm's direction, degrees above the horizontal."""
    kind = one_of(rng, down=0.4, level=0.24, up=0.24, any=0.12)
    low, high = {"down": (-78, -30), "level": (-28, 22), "up": (22, 82), "any": (-88, 90)}[kind]
    return float(rng.uniform(low, high))


def _bend(rng: Rng) -> float:
    kind = one_of(rng, straight=0.52, some=0.33, strong=0.15)
    if kind == "straight":
        return float(rng.normal(0, 9))
    return float(rng.uniform(-65, 65) if kind == "some" else rng.uniform(-135, 135))


def _pose_arms(rng: Rng, body: Body) -> None:
    length = rng.uniform(0.45, 1.35) * (0.75 if body.plan == "egg" else 1.0)
    raised, akimbo = rng.random() < 0.12, rng.random() < 0.05
    drop = rng.uniform(0.02, 0.25) + (rng.uniform(0, 0.3) if body.torso in ("line", "egg") else 0)
    inset = rng.uniform(0.0, 0.3)
    bends = (_angle(rng), _bend(rng), rng.uniform(0.4, 0.6), length)
    mirrored = rng.random() < 0.6
    for side, sign in SIDES.items():
        angle, bend, share, reach = bends
        if not mirrored:
            angle, bend = _angle(rng), _bend(rng)
        if raised:  # beside the head, bent at the elbow
            angle, bend = rng.uniform(-25, 55), rng.uniform(25, 85)
        elif akimbo:  # hands on the hips
            angle, bend = rng.uniform(-60, -25), -rng.uniform(60, 110)
        angle, reach = angle + rng.normal(0, 5), reach * rng.uniform(0.88, 1.12)
        if body.plan == "egg":
            at = math.radians(rng.uniform(-35, 15))
            rx, ry = body.radii
            sx, sy = rx * math.cos(at) * 0.96, 0.5 - ry * math.sin(at) * 0.96
        else:
            sx = half_width(body, drop) * (1 - inset) + rng.uniform(0, 0.03)
            sy = drop + rng.normal(0, 0.02)
        if body.arm == "tube":
            sy += body.arm_width * 0.4
        shoulder = np.array([sign * sx, sy])
        elbow = shoulder + _step(sign, angle, reach * share)
        hand = elbow + _step(sign, angle + bend, reach * (1 - share))
        for part, joint in zip(("shoulder", "elbow", "hand"), (shoulder, elbow, hand), strict=True):
            body.joints[f"{side}_{part}"] = joint


def _pose_legs(rng: Rng, body: Body) -> None:
    egg = body.plan == "egg"
    # Seldom hardly any: feet right at the body.
    length = rng.uniform(0.35, 1.6) if rng.random() < 0.93 else rng.uniform(0.08, 0.35)
    length *= 0.7 if egg else 1.0
    spread = abs(rng.normal(4, 8)) if rng.random() < 0.6 else rng.uniform(0, 42)
    apart = rng.uniform(0.35, 0.8)
    bend = rng.normal(0, 7) if rng.random() < 0.8 else rng.uniform(-55, 55)
    stride = rng.random() < 0.12  # both feet to one side, as if walking
    for side, sign in SIDES.items():
        out = spread + rng.normal(0, 4)
        if stride:
            out = rng.uniform(-10, 40)
        hx = body.bottom * apart if not egg else body.radii[0] * apart * 0.7
        hx = max(hx, body.leg_width * 1.15 if body.leg == "tube" else 0.015)
        if egg:
            hy = 0.5 + body.radii[1] * math.sqrt(max(0.05, 1 - (hx / body.radii[0]) ** 2)) * 0.94
        else:
            hy = 1.0 - (body.leg_width * 0.25 if body.leg == "tube" else 0.0)
            if body.torso in ("ellipse", "pear", "bean"):
                hy -= 0.09 * (hx / max(body.bottom, 0.05))
        hip = np.array([sign * hx, hy + rng.normal(0, 0.01)])
        own = bend if not stride else rng.normal(0, 20)
        share = rng.uniform(0.43, 0.57)
        reach = length * rng.uniform(0.92, 1.08) + body.hem
        knee = hip + _step(sign, -90 + out, reach * share)
        foot = knee + _step(
            sign, -90 + out - own * sign * (1 if stride else sign), reach * (1 - share)
        )
        for part, joint in zip(("hip", "knee", "foot"), (hip, knee, foot), strict=True):
            body.joints[f"{side}_{part}"] = joint


def _step(sign: float, angle: float, length: float) -> Points:
    a = math.radians(angle)
    return np.array([sign * math.cos(a) * length, -math.sin(a) * length])


def half_width(body: Body, y: float) -> float:
    """The torso's half-width at height y (0 at the shoulders, 1 at the hips)."""
    straight = body.top + (body.bottom - body.top) * y
    if body.torso in ("ellipse", "pear", "bean"):
        wide = max(body.top, body.bottom)
        return float(wide * math.sqrt(max(0.03, 1 - (2 * min(max(y, 0.0), 1.0) - 1) ** 2)))
    return float(max(straight, 0.0))


def torso_outline(rng: Rng, body: Body) -> Points:
    """The closed outline of the torso (of the whole egg)."""
    if body.plan == "egg":
        rx, ry = body.radii
        if body.torso == "box":
            return superellipse(0, 0.5, rx, ry, rng.uniform(3, 9))
        return blob(rng, 0, 0.5, rx, ry, 0.02 if body.torso == "ellipse" else 0.09)
    t, b, low = body.top, body.bottom, 1.0 + body.hem
    wide = max(t, b)
    if body.torso == "ellipse":
        return superellipse(0, 0.5, wide, 0.53, rng.uniform(1.9, 2.6))
    if body.torso == "pear":
        side = points(
            (0, 0), (t * 0.7, 0.08), (t, 0.35), (b * 1.1, 0.75), (b * 0.6, 1.0), (0, 1.03)
        )
        return spline(np.concatenate([side, side[-2:0:-1] * (-1, 1)]), closed=True)
    if body.torso == "bean":
        return blob(rng, 0, 0.5, wide, 0.54, 0.07)
    corners = points((-t, 0), (t, 0), (b, low), (-b, low))
    if body.torso == "triangle":
        flare = rng.uniform(-0.04, 0.06)
        corners = points(
            (-t, 0), (t, 0), (t + (b - t) * 0.5 - flare, low / 2), (b, low),
            (0, low + rng.uniform(0, 0.08)), (-b, low), (-t - (b - t) * 0.5 + flare, low / 2),
        )  # fmt: skip
    elif body.torso == "box" and rng.random() < 0.4:
        return superellipse(0, 0.5, wide, 0.5, rng.uniform(4, 9))
    return corners
