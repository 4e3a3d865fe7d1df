"""Motion and retarget configurations, in the format of AnimatedDrawings' YAML files.

The motion configuration says how a BVH skeleton stands in its file; the retarget
configuration says which of its bones move which of the character's. Both arrive as
parsed YAML from anyone, so every value is checked here. Fields that only place a
character in AnimatedDrawings' own scene are accepted and not used.
Format: facebookresearch/AnimatedDrawings, ``examples/config/README.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

import yaml

from gateway.errors import BadMotion, TooLarge

Method = Literal["pca", "frontal", "sagittal"]
Up = Literal["+y", "+z"]
Names = tuple[str, ...]

MAX_YAML = 64 * 1024
"""Characters of a configuration file."""

_DEEPEST = 20  # lists in lists; the configurations have 5
_TUPLE = "tag:yaml.org,2002:python/tuple"

MAX_ITEMS = 512
"""The longest list of names taken."""


@dataclass(frozen=True)
class MotionConfig:
    """How a BVH file is to be read.

    start, end: the frames used, ``end`` excluded and None for all. frame_time: seconds,
    None for the file's own. forward: joint pairs, left to right, across which the figure
    faces forward. up: the file's upward axis.
    """

    forward: tuple[tuple[str, str], ...]
    up: Up = "+y"
    start: int = 0
    end: int | None = None
    frame_time: float | None = None

    @classmethod
    def parse(cls, raw: object) -> MotionConfig:
        """From a motion configuration's YAML.

        Raises:
            BadMotion: a field is missing or wrong; the text names it.
        """
        fields = _Fields("motion configuration", raw)
        up = fields.text("up", "+y")
        if up not in get_args(Up):
            raise fields.wrong("up", "must be '+y' or '+z'")
        start = fields.count("start_frame_idx", 0) or 0
        end = fields.count("end_frame_idx", None)
        if end is not None and end <= start:
            raise fields.wrong("end_frame_idx", "must be greater than start_frame_idx")
        forward = tuple(
            _pair(pair, "forward_perp_joint_vectors", fields)
            for pair in fields.items("forward_perp_joint_vectors")
        )
        if not forward:
            raise fields.wrong("forward_perp_joint_vectors", "must have at least one pair")
        seconds = fields.get("frame_time", None)
        if seconds is not None and not (is_number(seconds) and 0.001 <= seconds <= 1):
            raise fields.wrong("frame_time", "must be a number of seconds from 0.001 to 1")
        return cls(forward, up, start, end, seconds)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Projection:
    """BVH joints whose bones are flattened onto one plane, found as ``method`` says."""

    name: str
    joints: Names
    method: Method


@dataclass(frozen=True)
class DepthGroup:
    """Character joints drawn together; the drivers' mean depth gives their place in the order."""

    drivers: Names
    joints: Names


@dataclass(frozen=True)
class RetargetConfig:
    """Which BVH bone turns which bone of the character.

    mapping: character joint → the BVH bone, as (near joint, far joint), whose direction
    the bone ending in that joint takes. above: checks (joint, a, b): the joint is only
    moved when it lies above the line from a to b in the drawing. offset_plane: name of the
    projection that the root's path is flattened with; character_limbs over bvh_limbs
    (chains of joints) is the scale of that path. upright: checks (joint, a), ours alone:
    the joint is only moved when it stands over a rather than beside it, as in an animal.
    """

    projections: tuple[Projection, ...]
    groups: tuple[DepthGroup, ...]
    mapping: Mapping[str, tuple[str, str]]
    offset_plane: str
    bvh_limbs: tuple[Names, ...]
    character_limbs: tuple[Names, ...]
    above: tuple[tuple[str, str, str], ...] = ()
    upright: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, raw: object) -> RetargetConfig:
        """From a retarget configuration's YAML.

        Raises:
            BadMotion: a field is missing or wrong; the text names it.
        """
        fields = _Fields("retarget configuration", raw)
        projections = tuple(
            _projection(item, fields) for item in fields.items("bvh_projection_bodypart_groups")
        )
        if len({p.name for p in projections}) < len(projections):
            raise fields.wrong("bvh_projection_bodypart_groups", "must have different names")
        groups = tuple(_depth_group(item, fields) for item in fields.items("char_bodypart_groups"))
        mapping = fields.get("char_joint_bvh_joints_mapping")
        if not isinstance(mapping, Mapping) or not 0 < len(mapping) <= MAX_ITEMS:
            raise fields.wrong("char_joint_bvh_joints_mapping", "must map joints to bones")
        bones = {
            _name(joint, "char_joint_bvh_joints_mapping", fields): _pair(
                bone, "char_joint_bvh_joints_mapping", fields
            )
            for joint, bone in mapping.items()
        }
        offset = _Fields("retarget configuration", fields.get("char_bvh_root_offset"))
        plane = offset.text("bvh_projection_bodypart_group_for_offset", "")
        if plane not in {p.name for p in projections}:
            raise fields.wrong("char_bvh_root_offset", "names a projection group that is not there")
        checks = [_check(item, fields) for item in fields.items("char_runtime_checks", ())]
        return cls(
            projections,
            groups,
            bones,
            plane,
            _chains(offset, "bvh_joints"),
            _chains(offset, "char_joints"),
            tuple((c[1], c[2], c[3]) for c in checks if len(c) == 4),
            tuple((c[1], c[2]) for c in checks if len(c) == 3),
        )


def read_yaml(text: str) -> object:
    """Plain values from YAML; Python tuples, which AnimatedDrawings writes, become lists.

    Raises:
        BadMotion: not YAML; with aliases, which can unfold without end; with other tags,
            which make odd values or none; nested too deeply. TooLarge.
    """
    if len(text) > MAX_YAML:
        raise TooLarge(f"this configuration has more than {MAX_YAML // 1024} KB")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadMotion(f"this configuration is not valid YAML: {reason}") from None


class _Loader(yaml.SafeLoader):
    """YAML's safe subset without aliases, of whose tags only ``!!python/tuple`` is left."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken here")
        if getattr(event, "tag", None) not in (None, "!", _TUPLE):
            raise yaml.YAMLError(f"the tag {event.tag[:60]} is not taken here")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError(f"lists and mappings are nested more than {_DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _sequence(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor(_TUPLE, _sequence)


class _Fields:
    """A mapping from YAML, and the error that names what is wrong in it."""

    def __init__(self, kind: str, raw: object) -> None:
        self._kind = kind
        if not isinstance(raw, Mapping):
            raise BadMotion(f"the {kind} is not a YAML mapping of names to values")
        self._raw: Mapping[Any, Any] = raw

    def wrong(self, field: str, why: str) -> BadMotion:
        return BadMotion(f"in the {self._kind}, {field} {why}")

    def get(self, field: str, *default: Any) -> Any:
        if field in self._raw:
            return self._raw[field]
        if default:
            return default[0]
        raise self.wrong(field, "is missing")

    def text(self, field: str, default: str) -> str:
        value = self.get(field, default)
        if not isinstance(value, str):
            raise self.wrong(field, "must be text")
        return value

    def count(self, field: str, default: int | None) -> int | None:
        value = self.get(field, default)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 0
        ):
            raise self.wrong(field, "must be a frame number")
        return value

    def items(self, field: str, *default: Any) -> list[Any]:
        value = self.get(field, *default)
        if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
            raise self.wrong(field, "must be a list")
        return list(value)


def _projection(item: object, fields: _Fields) -> Projection:
    where = "bvh_projection_bodypart_groups"
    group = _Fields("retarget configuration", item)
    method = group.get("method")
    if method not in get_args(Method):
        raise fields.wrong(where, "needs method pca, frontal or sagittal")
    return Projection(
        _name(group.get("name"), where, fields),
        _names(group.get("bvh_joint_names"), where, fields),
        method,
    )


def _depth_group(item: object, fields: _Fields) -> DepthGroup:
    where = "char_bodypart_groups"
    group = _Fields("retarget configuration", item)
    drivers = _names(group.get("bvh_depth_drivers"), where, fields)
    if not drivers:
        raise fields.wrong(where, "needs at least one bvh_depth_drivers joint per group")
    return DepthGroup(drivers, _names(group.get("char_joints"), where, fields))


def _check(item: object, fields: _Fields) -> Names:
    names = _names(item, "char_runtime_checks", fields)
    if (names[:1], len(names)) not in ((("above",), 4), (("upright",), 3)):
        raise fields.wrong("char_runtime_checks", "must be lists of 'above' and three joints")
    return names


def _chains(fields: _Fields, field: str) -> tuple[Names, ...]:
    chains = tuple(_names(chain, field, fields) for chain in fields.items(field))
    if not any(len(chain) > 1 for chain in chains):
        raise fields.wrong(field, "needs a chain of at least two joints")
    return chains


def _names(value: object, field: str, fields: _Fields) -> Names:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
        raise fields.wrong(field, "must hold lists of joint names")
    return tuple(_name(name, field, fields) for name in value)


def _name(value: object, field: str, fields: _Fields) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise fields.wrong(field, "has a name that is not text of 1 to 100 characters")
    return value


def _pair(value: object, field: str, fields: _Fields) -> tuple[str, str]:
    names = _names(value, field, fields)
    if len(names) != 2:
        raise fields.wrong(field, "must hold pairs of joint names")
    return names[0], names[1]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value from YAML or JSON is a finite number; integers there have no limit."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max
