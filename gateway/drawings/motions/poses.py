"""The library's motions as key poses.

A pose says where limbs point, not how joints turn. Angles are in degrees. ``out`` angles
lie in the plane seen from the front: 0 hangs down, 90 points away from the body, 180 up,
negative crosses the body. ``fore`` angles lean that towards the viewer, 90 fully. Between
key poses everything eases in and out, and the last leads back into the first.
"""

from __future__ import annotations

from typing import NamedTuple


class Limb(NamedTuple):
    """Where the near and the far bone of an arm or leg point: (out, fore) each."""

    near: tuple[float, float]
    far: tuple[float, float]


class Pose(NamedTuple):
    """A key pose. lean, head: sideways, towards the figure's left; bow: forwards; degrees.

    sway, jump: of the hips to the figure's left, and of the feet over the floor; centimetres.
    """

    left_arm: Limb = Limb((12, 12), (8, 18))
    right_arm: Limb = Limb((12, 12), (8, 18))
    left_leg: Limb = Limb((5, 0), (3, 0))
    right_leg: Limb = Limb((5, 0), (3, 0))
    lean: float = 0
    head: float = 0
    bow: float = 0
    sway: float = 0
    jump: float = 0


def mirrored(pose: Pose) -> Pose:
    """The same pose with left and right exchanged."""
    return Pose(
        pose.right_arm,
        pose.left_arm,
        pose.right_leg,
        pose.left_leg,
        -pose.lean,
        -pose.head,
        pose.bow,
        -pose.sway,
        pose.jump,
    )


def arm(near: float, far: float, fore: float = 15) -> Limb:
    """An arm seen from the front, its bones' ``out`` angles, a little before the body."""
    return Limb((near, fore), (far, fore))


def leg(near: float, far: float) -> Limb:
    """A leg seen from the front."""
    return Limb((near, 0), (far, 0))


def swung(near: float, far: float) -> Limb:
    """A limb seen from the side: its bones' ``fore`` angles."""
    return Limb((3, near), (3, far))


Keys = list[tuple[float, Pose]]
"""(seconds, pose) in order; the first at 0."""

Clip = tuple[float, Keys]
"""How long a round takes in seconds, and its key poses."""


def dab() -> Clip:
    """The arm out, the face into the other elbow; to each side once."""
    stand = Pose(arm(20, 14), arm(20, 14), leg(8, 6), leg(8, 6))
    ready = stand._replace(
        left_arm=arm(35, 60), right_arm=arm(35, 60), left_leg=leg(20, -2), right_leg=leg(20, -2)
    )
    hit = Pose(
        left_arm=arm(118, 122),
        right_arm=Limb((-128, 30), (-112, 30)),
        left_leg=leg(14, 10),
        right_leg=leg(28, -6),
        lean=-9,
        head=-30,
        sway=-5,
    )
    low = hit._replace(left_arm=arm(112, 118), head=-36, lean=-11)
    other = [(s + 2, mirrored(p)) for s, p in ((0.45, ready), (0.75, hit), (1.0, low), (1.35, hit))]
    return 4.0, [
        (0, stand),
        (0.45, ready),
        (0.75, hit),
        (1.0, low),
        (1.35, hit),
        (2.0, stand),
        *other,
    ]


def jumping() -> Clip:
    """Crouch, leap with the arms up, land."""
    stand = Pose(arm(14, 10), arm(14, 10))
    crouch = Pose(arm(42, 30), arm(42, 30), leg(40, -26), leg(40, -26))
    up = Pose(arm(150, 165), arm(150, 165), leg(12, 8), leg(12, 8), jump=34)
    take_off = Pose(arm(120, 135), arm(120, 135), leg(5, 3), leg(5, 3), jump=6)
    land = take_off._replace(left_arm=arm(95, 105), right_arm=arm(95, 105), jump=2)
    return 2.0, [
        (0, stand),
        (0.5, crouch),
        (0.72, take_off),
        (1.0, up),
        (1.28, land),
        (1.5, crouch._replace(left_leg=leg(32, -20), right_leg=leg(32, -20))),
    ]


def wave_hello() -> Clip:
    """One arm up, its hand from side to side."""
    inwards = Pose(arm(14, 10), arm(112, 196), leg(6, 4), leg(8, 6), lean=4, head=6, sway=2)
    outwards = inwards._replace(right_arm=arm(106, 138), lean=6, head=9)
    stand = Pose(arm(14, 10), arm(14, 20))
    waves = [(0.6 + 0.3 * i, outwards if i % 2 else inwards) for i in range(7)]
    return 3.4, [(0, stand), *waves, (3.0, stand)]


def zombie() -> Clip:
    """Arms ahead, feet dragging; seen from the side."""
    step = Pose(
        left_arm=swung(88, 96),
        right_arm=swung(72, 80),
        left_leg=swung(26, 14),
        right_leg=swung(-16, -34),
        lean=7,
        head=14,
        bow=8,
    )
    drag = Pose(
        left_arm=swung(80, 86),
        right_arm=swung(80, 90),
        left_leg=swung(4, 0),
        right_leg=swung(2, -30),
        lean=2,
        head=-4,
        bow=8,
    )

    def other(pose: Pose) -> Pose:
        return mirrored(pose)

    return 3.2, [(0, step), (0.8, drag), (1.6, other(step)), (2.4, other(drag))]


def jumping_jacks() -> Clip:
    """Arms and legs out and in, twice."""
    closed = Pose(arm(10, 8), arm(10, 8), leg(4, 2), leg(4, 2))
    half = Pose(arm(80, 88), arm(80, 88), leg(16, 14), leg(16, 14), jump=12)
    wide = Pose(arm(158, 172), arm(158, 172), leg(27, 25), leg(27, 25))
    keys = [(0.0, closed), (0.25, half), (0.5, wide), (0.75, half)]
    return 2.0, keys + [(s + 1, p) for s, p in keys]


def dance() -> Clip:
    """Sway, point up, roll the arms."""
    down = Pose(arm(50, 120), arm(50, 120), leg(26, -12), leg(26, -12))
    left = Pose(arm(148, 168), arm(58, -40), leg(16, 6), leg(34, -10), lean=10, head=12, sway=9)
    roll = Pose(arm(95, 170), arm(95, 10), leg(30, -16), leg(14, 4), lean=-6, head=-10, sway=-9)
    first = [(0.0, down), (0.5, left), (1.0, down), (1.5, mirrored(left))]
    second = [(2.0, down), (2.5, roll), (3.0, mirrored(roll)), (3.5, roll)]
    return 4.0, first + second


def walk() -> Clip:
    """Two strides on the spot; seen from the side."""
    contact = Pose(
        left_arm=swung(-26, -14),
        right_arm=swung(28, 48),
        left_leg=swung(28, 22),
        right_leg=swung(-22, -40),
        lean=2,
    )
    passing = Pose(
        left_arm=swung(2, 14),
        right_arm=swung(4, 18),
        left_leg=swung(2, 0),
        right_leg=swung(24, -42),
        lean=-2,
    )
    half = [(0.0, contact), (0.3, passing), (0.6, mirrored(contact)), (0.9, mirrored(passing))]
    return 2.4, half + [(s + 1.2, p) for s, p in half]


def cheer() -> Clip:
    """Hop and shake both arms in the air."""
    low = Pose(arm(60, 150), arm(60, 150), leg(24, -10), leg(24, -10))
    high = Pose(arm(148, 160), arm(148, 160), leg(10, 8), leg(10, 8), head=8, jump=14)
    shake = Pose(arm(140, 175), arm(140, 175), leg(12, 8), leg(12, 8), head=-6, sway=3)
    return 3.0, [
        (0.0, low),
        (0.3, high),
        (0.6, low),
        (0.9, mirrored(high)),
        (1.2, low),
        (1.5, shake),
        (1.8, mirrored(shake)),
        (2.1, shake),
        (2.4, mirrored(shake)),
    ]


MOTIONS = {
    motion.__name__: motion
    for motion in (cheer, dab, dance, jumping, jumping_jacks, walk, wave_hello, zombie)
}
