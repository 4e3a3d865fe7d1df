"""Videos and motions with headers that nobody would write in earnest."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

from tests.corpus.crafted_pictures import SIDES, nested
from tests.corpus.samples import motion_configs, sample

Motion = tuple[bytes, bytes, bytes]
"""BVH, motion configuration, retarget configuration."""

# Where, counted from its name, a box has numbers that decide how long, large or often.
_MP4_FIELDS: dict[bytes, tuple[tuple[int, int], ...]] = {
    b"mvhd": ((16, 4), (20, 4)),  # time scale, duration
    b"tkhd": ((24, 4), (44, 4), (48, 4), (80, 4), (84, 4)),  # duration, matrix, width, height
    b"mdhd": ((16, 4), (20, 4)),
    b"elst": ((8, 4), (12, 4), (16, 4)),  # count, duration, start
    b"stts": ((8, 4), (12, 4), (16, 4)),  # count, samples, ticks of each
    b"ctts": ((8, 4), (16, 4)),
    b"stsz": ((8, 4), (12, 4)),
    b"stsc": ((8, 4), (12, 4), (16, 4)),
    b"stco": ((8, 4), (12, 4)),
    b"avc1": ((28, 2), (30, 2)),  # width, height
    b"mp4a": ((20, 2), (28, 4)),  # channels, rate
}
_AVI_FIELDS: dict[bytes, tuple[tuple[int, int], ...]] = {
    b"avih": ((8, 4), (24, 4), (40, 4), (44, 4)),  # frame time, frames, width, height
    b"strh": ((28, 4), (32, 4), (36, 4), (40, 4)),  # scale, rate, start, length
    b"strf": ((12, 4), (16, 4), (22, 2)),
    b"idx1": ((4, 4), (16, 4)),
}
# Matroska's elements by their ids.
_MKV_FIELDS: dict[bytes, tuple[tuple[int, int], ...]] = {
    b"\x2a\xd7\xb1": ((4, 2),),  # time scale
    b"\x44\x89": ((3, 4), (3, 8)),  # duration, a float: also no number at all
    b"\xb0": ((2, 2),),  # width
    b"\xba": ((2, 2),),  # height
    b"\x53\xab": ((3, 4),),  # where something is to be found
    b"\xe7": ((2, 1),),  # time of a cluster
    b"\x1f\x43\xb6\x75": ((4, 8),),  # its size: unknown, or all there is
    b"\x16\x54\xae\x6b": ((4, 2),),
}


def _with_absurd_fields(
    rng: Random, body: bytes, fields: dict[bytes, tuple[tuple[int, int], ...]], order: str
) -> bytes:
    out = bytearray(body)
    for name in rng.sample(sorted(fields), min(3, len(fields))):
        at = out.find(name)
        if at < 0:
            continue
        offset, width = rng.choice(fields[name])
        number = rng.choice((*SIDES, (1 << 63) - 1, (1 << 64) - 1)) % (1 << (8 * width))
        start = at + offset
        out[start : start + width] = number.to_bytes(width, order)[: len(out) - start]  # type: ignore[arg-type]
    return bytes(out)


def mp4_fields(rng: Random) -> bytes:
    return _with_absurd_fields(rng, sample(rng.choice(("mp4", "mov"))), _MP4_FIELDS, "big")


def mp4_boxes(rng: Random) -> bytes:
    """Boxes in boxes, of no size, of all there is, or without an index."""
    body = sample("mp4")
    at = body.index(b"moov") - 4
    trick = rng.randrange(4)
    if trick == 0:
        return body[:at] + nested(rng.choice((b"moov", b"trak", b"meta")), 4000) + body[at:]
    if trick == 1:
        size = rng.choice((0, 1, 7, (1 << 32) - 1))
        return body[:at] + struct.pack(">I", size) + body[at + 4 :]
    if trick == 2:
        return body[:at]
    return body[:at] + struct.pack(">I4sQ", 1, b"free", rng.choice((0, 16, (1 << 64) - 1)))


def mp4_elsewhere(rng: Random) -> bytes:
    """Says that its data lie in another file, or on another host."""
    places = (b"file:///etc/hostname", b"http://127.0.0.1:9/", b"/proc/self/environ", b"../../x")
    body = sample("mp4")
    reference = b"\0\0\0\x0curl \0\0\0\1"
    where = rng.choice(places)
    other = struct.pack(">I", 12 + len(where) + 1) + b"url \0\0\0\0" + where + b"\0"
    return body.replace(reference, other)


def mkv_fields(rng: Random) -> bytes:
    return _with_absurd_fields(rng, sample(rng.choice(("mkv", "webm"))), _MKV_FIELDS, "big")


def mkv_nested(rng: Random) -> bytes:
    """Elements of unknown size in elements of unknown size."""
    body = sample("mkv")
    element = rng.choice((b"\x1f\x43\xb6\x75", b"\x18\x53\x80\x67", b"\xa0"))
    at = max(0, body.find(b"\x1f\x43\xb6\x75"))
    piece = (element + b"\x01\xff\xff\xff\xff\xff\xff\xff") * rng.choice((10, 5000))
    return body[:at] + piece + body[at:]


def avi_fields(rng: Random) -> bytes:
    return _with_absurd_fields(rng, sample("avi"), _AVI_FIELDS, "little")


def avi_index(rng: Random) -> bytes:
    """An index of indices that leads to itself."""
    body = sample("avi")
    at = body.index(b"strf") - rng.choice((0, 4))
    entry = struct.pack("<QII", rng.choice((0, 12, at)), 1 << 20, 1 << 20) * 4
    head = struct.pack("<HBBI4s12x", 4, 0, 0, rng.choice((4, 1 << 31)), b"00dc")
    return body[:at] + b"indx" + struct.pack("<I", len(head + entry)) + head + entry + body[at:]


def ts_packets(rng: Random) -> bytes:
    """Clocks that jump about, tables that name themselves, packets out of order."""
    body = sample("ts")
    packets = [bytearray(body[at : at + 188]) for at in range(0, len(body), 188)]
    for packet in rng.sample(packets, min(len(packets), rng.choice((1, 4, 20)))):
        at = packet.find(b"\0\0\1")
        if at > 0 and rng.random() < 0.6:
            packet[at + 9 : at + 14] = rng.randbytes(5)  # when it is to be shown
        else:
            packet[rng.choice((1, 2, 3, 4, 5, 12, 17))] = rng.randrange(256)
    if rng.random() < 0.3:
        rng.shuffle(packets)
    return b"".join(packets * rng.choice((1, 1, 3)))


def bvh_skeleton(rng: Random) -> Motion:
    """Joints in joints, or far too many of them."""
    count = rng.choice((10, 400, 3000))
    joint = "JOINT j{}\n{{\nOFFSET 0 1 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
    text = "HIERARCHY\nROOT r\n{\nOFFSET 0 0 0\nCHANNELS 1 Xrotation\n"
    text += "".join(joint.format(n) for n in range(count)) + "}" * rng.choice((0, count, count + 1))
    return (text + "\nMOTION\nFrames: 1\nFrame Time: 0.03\n0\n").encode(), *motion_configs()


def bvh_numbers(rng: Random) -> Motion:
    """Counts and values that are none, or that no figure could follow."""
    text = sample("bvh").decode()
    bad = ("0", "-1", "nan", "inf", "1e308", "99999999999", "1e-9", "\u0660", "0x10", "")
    old = rng.choice(("Frames: 4", "Frame Time: 0.033333", "OFFSET 0", "CHANNELS 3"))
    key = old.rpartition(" ")[0]
    return text.replace(old, f"{key} {rng.choice(bad)}").encode(), *motion_configs()


def bvh_configs(rng: Random) -> Motion:
    """Configurations that unfold, nest, or are about something else."""
    motion, retarget = motion_configs()
    evil: tuple[bytes, ...] = (
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n",
        b"[" * 3000,
        b"!!python/object/apply:os.system [id]\n",
        b"? " * 500,
        b"up: +y\nstart_frame_idx: -1\n",
        b"up: 1e999\n",
        motion.replace(b"null", b"1" * 5000),
        motion.replace(b"LeftShoulder", b"Nobody"),
        b"\xff\xfe\x00",
        b"",
    )
    first, second = rng.choice(((0, 1), (1, 0), (1, 1)))
    parts = (rng.choice(evil) if first else motion, rng.choice(evil) if second else retarget)
    return sample("bvh"), *parts


CRAFTED: dict[str, tuple[Callable[[Random], bytes], ...]] = {
    "mp4": (mp4_fields, mp4_fields, mp4_boxes, mp4_elsewhere),
    "mov": (mp4_fields, mp4_boxes),
    "mkv": (mkv_fields, mkv_fields, mkv_nested),
    "webm": (mkv_fields, mkv_nested),
    "avi": (avi_fields, avi_fields, avi_index),
    "ts": (ts_packets,),
}
MOTIONS: tuple[Callable[[Random], Motion], ...] = (bvh_skeleton, bvh_numbers, bvh_configs)
