"""Every parser of our own that meets bytes of strangers, as a function of bytes.

A target may raise nothing but what its module's docstring declares; some compare what was
read with a second way to read it. ``seeds`` are inputs to begin with.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
from flask import Request
from werkzeug.test import EnvironBuilder

from gateway import deadline
from gateway.access import keys
from gateway.admission import Admission, Board
from gateway.drawings.bvh import parse_bvh
from gateway.drawings.motion_config import MotionConfig, RetargetConfig, read_yaml
from gateway.errors import MasqueradeError
from gateway.fetch import urls
from gateway.http import first_look
from gateway.http.base64_body import take_all_apart, take_apart
from gateway.http.intake import wait_seconds
from gateway.http.records import BadRecord, Records, record
from gateway.http.wishes import Wish
from gateway.jobs import spec
from gateway.media import icc
from gateway.media.dimensions import pixels
from gateway.media.image_base import ImageLimits, exif_orientation
from gateway.media.image_jpeg_segments import join_profile
from gateway.media.images import open_picture
from gateway.media.sniff import image_format, sniff
from gateway.pipelines.classify_image import ClassifyOptions
from gateway.pipelines.options import AnimateOptions, BlurOptions
from gateway.pipelines.own_motion import measure, read_motion
from gateway.settings import Settings
from gateway.storage import Storage
from tests.corpus.crafted_pictures import png_animation
from tests.corpus.samples import colour_profile, motion_configs, sample

LIMITS = ImageLimits(bytes=1 << 20, pixels=1_000_000, frames=50)
HERE = str(Path(__file__).parent)
SETTINGS = Settings(batch_roots=HERE, batch_buckets="holiday")
GATES = Admission(SETTINGS, Board())
CUT = b"\0--\0"  # between the parts of an input that is several


@dataclass(frozen=True)
class Target:
    """A parser. longest: bytes of an input. allowed: what it may raise."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    longest: int = 4096
    allowed: tuple[type[Exception], ...] = (MasqueradeError,)

    def __call__(self, data: bytes) -> None:
        try:
            self.run(data)
        except self.allowed as error:
            assert getattr(error, "code", "") != "internal"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# motions


def _bvh(data: bytes) -> None:
    motion = parse_bvh(_text(data))
    assert len(motion.values) > 0
    assert np.isfinite(motion.positions(0, 3)).all()


def _motion_config(data: bytes) -> None:
    MotionConfig.parse(read_yaml(_text(data)))


def _retarget_config(data: bytes) -> None:
    RetargetConfig.parse(read_yaml(_text(data)))


def _own_motion(data: bytes) -> None:
    """All three, and then a figure is moved by them."""
    parts = [*data.split(CUT, 2), b"", b""][:3]
    length = measure(read_motion(*parts))
    assert length.frames > 0
    assert length.seconds > 0


# requests


def _members(data: bytes) -> dict[str, Any]:
    """Options out of JSON, or out of a query."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        query = EnvironBuilder(query_string=data.decode("latin-1")).get_environ()
        return dict(Request(query).args.to_dict())
    return value if isinstance(value, dict) else {}


def _options(data: bytes) -> None:
    members = _members(data)
    parsers = (BlurOptions.parse, AnimateOptions.parse, ClassifyOptions.parse, Wish.parse)
    for parse in cast(tuple[Callable[[Mapping[str, Any]], object], ...], parsers):
        for raw in (members, *({name: value} for name, value in members.items())):
            try:
                parse(raw)
            except MasqueradeError as error:
                assert error.status == 422


def _wait(data: bytes) -> None:
    environ = EnvironBuilder(query_string="wait=" + data.decode("latin-1")).get_environ()
    assert 0 <= wait_seconds(Request(environ), SETTINGS) <= SETTINGS.max_wait


def _deadline(data: bytes) -> None:
    """Both headers, as they reach us: latin-1."""
    ours, _, envoys = data.decode("latin-1").partition("\n")
    seconds = deadline.asked({deadline.REQUEST_TIMEOUT: ours, deadline.ENVOY_TIMEOUT: envoys})
    assert seconds > 0


def _first_look(data: bytes) -> None:
    """What is seen of a file before it is read stands in the body."""
    seen = first_look._file_in(data)
    assert seen in data or len(seen) <= len(data) * 3 // 4
    if b"\r\n\r\n" not in data and b'"' not in data:
        assert not seen
    GATES.of_photo(seen, len(data))


def _keys(data: bytes) -> None:
    """Entries that were taken have one spelling, and that is taken as the same."""
    found = keys.parse(_text(data))
    assert keys.parse("\n".join(map(str, found))) == found


def _base64_body(data: bytes) -> None:
    """What is taken must be what a JSON parser and a base64 decoder make of it."""
    out = io.BytesIO()
    rest = take_apart(data, out)
    whole = json.loads(data, strict=False)  # breaks in the base64 are tolerated
    assert "file" not in rest
    if "file" in whole:
        assert out.getvalue() == _decoded(whole.pop("file"))
    assert repr(rest) == repr(whole)


def _base64_list(data: bytes) -> None:
    files, _ = take_all_apart(data, io.BytesIO, 4)
    assert len(files) <= 4
    whole = json.loads(data, strict=False)  # breaks in the base64 are tolerated
    texts = whole["files"] if "files" in whole else [whole.get("file")] * len(files)
    assert [cast(io.BytesIO, file).getvalue() for file in files] == list(map(_decoded, texts))


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(";base64,")[2]
    kept = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    return base64.b64decode(kept + "=" * (-len(kept) % 4), validate=True)


def _spec(data: bytes) -> None:
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return
    spec.parse(raw, SETTINGS, cast(Storage, _NoStorage()))


class _NoStorage:
    """A store with nothing in it."""

    def at(self, bucket: str) -> _NoStorage:
        return self

    def list(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())


# pictures


def _picture(data: bytes, kind: str) -> None:
    """The header is read, no pixels are."""
    assert image_format(data) in (kind, None)
    picture = open_picture(data, LIMITS)
    assert picture.width * picture.height <= LIMITS.pixels
    assert 1 <= picture.frame_count <= LIMITS.frames


def _only(kind: str, marks: dict[int, bytes]) -> Callable[[bytes], None]:
    """Of pictures of one kind: its first bytes are put back, or little else would be tried."""

    def run(data: bytes) -> None:
        whole = bytearray(data.ljust(16, b"\0"))
        for at, mark in marks.items():
            whole[at : at + len(mark)] = mark
        _picture(bytes(whole), kind)

    return run


def _profile(data: bytes) -> None:
    for space in ("RGB ", "GRAY", "CMYK"):
        rebuilt = icc.rebuild(data, cast(icc.Space, space))
        assert rebuilt is None or rebuilt[36:40] == b"acsp"
    join_profile(data.split(CUT))


def _pixels(data: bytes) -> None:
    """As many as the whole tells, or fewer bytes tell nothing."""
    found = pixels(data)
    assert found is None or 0 <= found < 1 << 64
    for cut in (9, len(data) // 2):
        assert pixels(data[:cut]) in (None, found) or image_format(data) in ("heif", "avif")


def _sniff(data: bytes) -> None:
    assert (sniff(data) == "image") == (image_format(data) is not None)
    assert 1 <= exif_orientation(data) <= 8


# links and records


def _json_string(data: bytes) -> str:
    """Text as JSON can hold it: also halves of characters."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return _text(data)


def _url(data: bytes) -> None:
    """A URL that was taken has one spelling, and that is taken as the same."""
    text, _, location = _json_string(data).partition("\n")
    target = urls.parse(text)
    assert urls.parse(target.url) == target
    urls.Policy().check(target)
    urls.redirected(target, location)


def _hosts(data: bytes) -> None:
    hosts = urls.Hosts.parse(data.decode("utf-8", "replace"))
    assert bool(hosts) == bool(hosts.entries)


def _records(data: bytes) -> None:
    stream = Records(io.BytesIO(data).read)
    for number, head in enumerate(stream):
        assert isinstance(head, dict)
        if number % 2:
            assert len(stream.body()) == head["size"]


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode("utf-8", "surrogatepass") for text in texts]


def _of(kind: str) -> Callable[[], list[bytes]]:
    return lambda: [sample(kind)]


_GIF = (
    b"GIF89a\2\0\2\0\x80\0\0\0\0\0\xff\xff\xff\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    + b"\x21\xf9\4\x08\5\0\0\0\x2c\0\0\0\0\2\0\2\0\0\2\2\x4c\1\0" * 2
    + b";"
)

TARGETS: dict[str, Target] = {
    "bvh": Target(_bvh, _of("bvh"), 8192),
    "motion_config": Target(_motion_config, lambda: [motion_configs()[0]]),
    "retarget_config": Target(_retarget_config, lambda: [motion_configs()[1]]),
    "own_motion": Target(
        _own_motion, lambda: [CUT.join([sample("bvh"), *motion_configs()])], 12_288
    ),
    "options": Target(
        _options,
        _texts(
            '{"style": "solid", "shape": "box", "scale": 1.5, "threshold": "0.3", "audio": "drop"}',
            '{"format": "webp", "background": "#ff00aa", "size": "500x400", "figures": "all"}',
            "motions=dab,walk&size=64&top_k=2&threshold=1e-3&background=Paper",
        ),
    ),
    "wait": Target(_wait, _texts("60", "1e3", "-0", "%31", "nan&wait=1"), 64),
    "deadline": Target(_deadline, _texts("2.5\n1500", "1e-3\n0x10", "inf\n1_000"), 64),
    "first_look": Target(
        _first_look,
        lambda: [
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + _GIF,
            b'{"style": "solid", "file": "data:image/gif;base64,' + base64.b64encode(_GIF) + b'"}',
        ],
        8192,
        allowed=(),
    ),
    "keys": Target(
        _keys,
        _texts(
            f"ann:{'0a' * 32} rate=20/second;600/minute size=5 day=0, bob:{'0b' * 32}",
            f"# phones\nann:{'0a' * 32}\r\n ann:{'0c' * 32} day=10737418240 # new",
        ),
        512,
        (ValueError,),
    ),
    "base64_body": Target(
        _base64_body,
        _texts(
            '{"file": "aGVsbG8gd29ybGQ=", "style": "solid"}',
            '{"a": {"file": "x"}, "file" : "data:image/png;base64,aGVs\\nbG8\\/", "b": [1]}',
        ),
        512,
    ),
    "base64_list": Target(
        _base64_list, _texts('{"top_k": 1, "files": ["aGVsbG8=", "data:a/b;base64,-_8"]}'), 512
    ),
    "spec": Target(
        _spec,
        _texts(
            '{"pipeline": "blur", "input": "s3://holiday/a/", "output": "s3://holiday/b/",'
            ' "options": {"style": "solid"}, "report": true, "workers": 2, "device": "gpu"}',
            '{"pipeline": "train", "model": "rigger", "params": {"rate": 0.001, "steps": 5}}',
            f'{{"pipeline": "blur", "input": "{HERE}/", "output": "{HERE}/b/", "gpus": 2}}',
            f'{{"pipeline": "blur", "input": "{HERE}/{"a" * 300}", "output": "{HERE}/b/"}}',
        ),
    ),
    "jpeg": Target(_only("jpeg", {0: b"\xff\xd8\xff"}), _of("jpeg"), 8192),
    "png": Target(
        _only("png", {0: b"\x89PNG\r\n\x1a\n"}), lambda: [sample("mask"), png_animation(Random(2))]
    ),
    "webp": Target(_only("webp", {0: b"RIFF", 8: b"WEBP"}), _of("webp"), 8192),
    "gif": Target(_only("gif", {0: b"GIF89a"}), lambda: [_GIF]),
    "heif": Target(_only("heif", {4: b"ftypheic"}), _of("heif"), 8192),
    "avif": Target(_only("avif", {4: b"ftypavif"}), _of("avif"), 8192),
    "icc": Target(_profile, lambda: [colour_profile()], allowed=()),
    "pixels": Target(
        _pixels,
        lambda: [_GIF, *(sample(kind)[:2000] for kind in ("jpeg", "webp", "heif", "avif"))],
        4096,
        allowed=(),
    ),
    "sniff": Target(
        _sniff, lambda: [sample(kind)[:300] for kind in ("heif", "mp4", "ts", "avi")], allowed=()
    ),
    "url": Target(
        _url,
        _texts(
            "https://example.org:8443/a%20b?c=d#e\n../f",
            "http://[::1]:80/\n//xn--bcher-kva.example/",
            "http://127.0.0.1/\ud800?\udfff\nhttp://B\u00fccher.example\u3002/",
        ),
        512,
    ),
    "hosts": Target(
        _hosts, _texts("example.org, *.a.b:80,[::1]:9000,127.0.0.1"), 256, (ValueError,)
    ),
    "records": Target(
        _records,
        lambda: [record({"kind": "figure"}, b"abc") + record({"kind": "end"})],
        512,
        (BadRecord,),
    ),
}
