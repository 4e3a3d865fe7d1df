"""What handlers share: reading hostile bodies, and networks that agree with each other."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from faces_fakes import astronaut, network, network_file
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers import runtime
from handlers.runtime import (
    MAX_FRAMES,
    BadInput,
    OnnxNetwork,
    OpenVinoNetwork,
    load_network,
    read_images,
)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=(1, 0))
    return out.getvalue()


def with_header(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(kind: str, picture: np.ndarray, **settings: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **settings)
    return out.getvalue()


# Bodies


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_an_encoded_picture_is_read_to_bgr(kind: str) -> None:
    rgb = noise(20, 30, 3)
    (image,) = read_images(encoded(kind, rgb, lossless=True))
    assert image.dtype == np.uint8
    assert np.array_equal(image, rgb[..., ::-1])


def test_grey_alpha_and_sixteen_bit_pictures_become_bgr() -> None:
    for picture in (noise(8, 9), noise(8, 9, 4), noise(8, 9).astype(np.uint16) * 257):
        (image,) = read_images(encoded("PNG", picture))
        assert image.shape == (8, 9, 3)
        assert image.dtype == np.uint8


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, 3), (3, 2), (8, 1)])
def test_exif_orientation_is_applied(orientation: int, turns: int) -> None:
    rgb = cv2.resize(noise(4, 6, 3), (96, 64), interpolation=cv2.INTER_CUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (image,) = read_images(encoded("JPEG", rgb, quality=98, subsampling=0, exif=exif))
    assert np.abs(image[..., ::-1].astype(int) - np.rot90(rgb, turns)).mean() < 3


def test_packed_frames_are_read_as_they_are() -> None:
    frames = noise(3, 10, 12, 3)
    for body in (npy(frames), bytearray(npy(frames)), memoryview(npy(frames))):
        assert np.array_equal(list(read_images(body)), frames)


def test_planar_frames_become_bgr() -> None:
    picture = cv2.resize(noise(4, 5, 3), (40, 24), interpolation=cv2.INTER_LINEAR)
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    images = list(read_images(npy(np.stack([planar, planar[::1]]))))
    assert [i.shape for i in images] == [(24, 40, 3)] * 2
    assert np.abs(images[0].astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 4, 4, 3), np.int8),
        np.zeros((1, 4, 4, 4), np.uint8),
        np.zeros((4, 4, 3, 1), np.uint8),
        np.zeros((1, 4, 4), np.uint8),
        np.zeros((1, 6, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((1, 0, 4, 3), np.uint8),
        np.zeros((1, 4, 0, 3), np.uint8),
        np.zeros((MAX_FRAMES + 1, 2, 2, 3), np.uint8),
        np.asfortranarray(np.zeros((2, 4, 5, 3), np.uint8)),
        np.zeros((1, 4, 4, 3), [("a", "u1")]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}{'F' * a.flags.fnc}",
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray) -> None:
    with pytest.raises(BadInput):
        list(read_images(npy(array)))


GOOD = "{'descr':'|u1','fortran_order':False,'shape':%s}"


@pytest.mark.parametrize(
    "body",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\xff\xff{",
        with_header(""),
        with_header("{("),
        with_header("(" * 200),
        with_header("-" * 200 + "1"),
        with_header("'" * 3),
        with_header("{[]: 1}"),
        with_header("{}"),
        with_header("{'descr':(),'fortran_order':False,'shape':(1,2,2,3)}", bytes(12)),
        with_header("{'descr':[('a',)],'fortran_order':False,'shape':(1,2,2,3)}", bytes(12)),
        with_header("{'descr':'|O','fortran_order':False,'shape':(1,2,2,3)}", bytes(96)),
        with_header("{'descr':'|u1','fortran_order':7,'shape':(1,2,2,3)}", bytes(12)),
        with_header(GOOD % "(1,2,2,3)", bytes(11)),
        with_header(GOOD % "(1,2,2,3)", bytes(13)),
        with_header(GOOD % "(1.0,2,2,3)", bytes(12)),
        with_header(GOOD % "'1223'", bytes(12)),
        with_header(GOOD % "(-1,-2,2,3)", bytes(12)),
        with_header(GOOD % "(-1,2,2,3)", bytes(12)),
        with_header(GOOD % f"(1,{10**30},2,3)", bytes(12)),
        # Its product is 0 in 64 bits: numpy's own arithmetic would be fooled.
        with_header(GOOD % f"(64,{2**62},4,3)"),
        with_header(GOOD % "(1,2,2,3)", bytes(12), version=b"\x02\x00"),
        with_header(GOOD % "(1,2,2,3)", bytes(12), version=b"\x09\x09"),
    ],
)
def test_a_malformed_header_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        list(read_images(body))


@pytest.mark.parametrize("body", [b"", b"\0", b"hello", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        list(read_images(body))


def test_a_picture_too_large_to_decode_is_refused() -> None:
    png = bytearray(encoded("PNG", noise(4, 4, 3)))
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(BadInput):
        list(read_images(png))


JPEG = encoded("JPEG", noise(16, 16, 3))
NPY = npy(noise(2, 6, 4, 3))


@settings(max_examples=300, deadline=None)
@given(
    # No damaged PNG: OpenCV believes the lengths of its chunks, which costs gigabytes. The
    # gateway never sends one.
    st.sampled_from([JPEG, NPY, NPY[:10]]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    st.integers(0, 900),
    st.binary(max_size=40),
)
@example(NPY, [], 900, b"")
def test_damaged_bodies_give_images_or_bad_input(
    body: bytes, changes: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(body[:cut] + tail)
    for place, value in changes:
        if place < len(data):
            data[place] = value
    try:
        images = list(read_images(data))
    except BadInput as error:
        assert str(error)
    else:
        assert images
        assert all(i.ndim == 3 and i.shape[2] == 3 and i.dtype == np.uint8 for i in images)


# Networks


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    return [
        np.ascontiguousarray(astronaut()[:224, 96:352]),
        np.ascontiguousarray(astronaut()[32:192, 160:288]),
        np.ascontiguousarray(astronaut()[256:352, :96]),
    ]


def test_openvino_and_onnxruntime_agree(crops: list[np.ndarray]) -> None:
    """The CPU's and the GPU's way give the same faces (colour order included)."""
    theirs = OnnxNetwork(network_file(), ["CPUExecutionProvider"], "cpu").run(crops)
    ours = network().run(crops)
    for crop, a, b in zip(crops, ours, theirs, strict=True):
        assert [head.shape for head in a] == [head.shape for head in b]
        assert a[0].shape == (1, crop.shape[0] // 4, crop.shape[1] // 4)
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype == np.float32
            # bfloat16 where the CPU has it.
            assert np.abs(x - y).max() < 0.02 * max(1, np.abs(y).max())


def test_results_come_in_the_order_of_the_images(crops: list[np.ndarray]) -> None:
    several = OpenVinoNetwork(network_file(), streams=3)
    assert several.streams == 3
    alone = [network().run([crop])[0] for crop in crops]
    for repeat in range(3):
        order = np.random.default_rng(repeat).permutation([0, 1, 2] * 4)
        for index, heads in zip(order, several.run([crops[i] for i in order]), strict=True):
            assert np.allclose(heads[0], alone[index][0], atol=1e-4)


def test_results_outlive_the_next_run(crops: list[np.ndarray]) -> None:
    (first,) = network().run(crops[:1])
    before = [head.copy() for head in first]
    network().run([255 - crops[0]] * 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, before, strict=True))


def test_no_images_are_no_results() -> None:
    assert network().run([]) == []


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error_and_no_fallback() -> None:
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider"):
        OnnxNetwork(network_file(), [("CUDAExecutionProvider", {"device_id": 0})], "gpu")


def test_the_device_wanted_is_the_device_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(runtime, "OnnxNetwork", lambda *a: made.append(a) or "gpu")
    monkeypatch.setattr(runtime, "OpenVinoNetwork", lambda *a: "cpu")
    assert load_network("x.onnx", None) == "cpu"
    assert load_network("x.onnx", 0, "cpu") == "cpu"
    assert load_network("x.onnx", 1) == "gpu"
    assert made[0][1] == [("CUDAExecutionProvider", {"device_id": 1})]
    with pytest.raises(RuntimeError, match="driver"):
        load_network("x.onnx", None, "gpu")
    with pytest.raises(RuntimeError, match="MODEL_DEVICE"):
        load_network("x.onnx", None, "tpu")


@pytest.mark.parametrize(("quota", "most"), [("150000 100000", 2), ("max 100000", 99), ("", 99)])
def test_a_containers_limit_bounds_the_streams(tmp_path, monkeypatch, quota, most):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(99)))
    monkeypatch.setattr(runtime, "QUOTA", tmp_path / "cpu.max")
    runtime.QUOTA.write_text(quota)
    assert runtime.cores() == most
