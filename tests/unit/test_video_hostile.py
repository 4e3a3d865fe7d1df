"""What bad videos get: the right error, in bounded time, and nothing but our errors."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from gateway.errors import (
    BadMedia,
    DiskFull,
    EmptyUpload,
    MasqueradeError,
    TooLarge,
    UnsupportedMedia,
)
from gateway.media.video import VideoLimits, probe, read_frames, source, transcode
from tests import clips
from tests.clips import Clip, Sound

LIMITS = VideoLimits(pixels=4096 * 2176, seconds=3600)


def whole(path: Path, limits: VideoLimits = LIMITS) -> int:
    """Everything that is done to an upload; the count of frames."""
    info = probe(str(path), limits)
    count = sum(frame.planes[0].size > 0 for frame in read_frames(str(path), info))
    written = transcode(str(path), "/dev/null", info, lambda frame: None)
    assert written.frames == count
    return count


def saved(path: Path, body: bytes) -> Path:
    path.write_bytes(body)
    return path


def test_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptyUpload):
        whole(saved(tmp_path / "a.mp4", b""))


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\x00" * 5000,
        b"#EXTM3U\n#EXTINF:9,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
    ],
)
def test_not_a_video(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(UnsupportedMedia):
        whole(saved(tmp_path / "a.mp4", body))


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {url}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_playlists_reach_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, scheme: str
) -> None:
    # Past our own look at the first bytes, libav must refuse them too.
    monkeypatch.setattr(source, "sniff", lambda head: "video")
    secret = clips.make(tmp_path / "secret.ts", Clip(frames=3))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server.settimeout(0.2)
        reached: list[bool] = []

        def listen() -> None:
            try:
                server.accept()[0].close()
                reached.append(True)
            except TimeoutError:
                pass

        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{port}/a.ts" if scheme == "http" else str(secret)
        body = PLAYLISTS[kind].format(url=url, port=port).encode()
        for name in ("a.mp4", "a.m3u8", "a.mpd", "a.sdp"):
            with pytest.raises((BadMedia, UnsupportedMedia)):
                whole(saved(tmp_path / name, body))
        thread.join()
    assert not reached


def test_sound_only(tmp_path: Path) -> None:
    both = clips.make(tmp_path / "both.mp4", Clip(sounds=[Sound()]))
    with av.open(str(both)) as good, av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream_from_template(good.streams.audio[0])
        for packet in good.demux(audio=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(BadMedia, match="no video"):
        whole(tmp_path / "a.mp4")


def test_unknown_codec(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mkv", Clip(codec="ffv1"))
    with pytest.raises(UnsupportedMedia, match="ffv1"):
        whole(path)
    path = clips.make(tmp_path / "a.mp4", Clip())
    renamed = path.read_bytes().replace(b"avc1\x00", b"zzz9\x00")
    with pytest.raises(UnsupportedMedia):
        whole(saved(path, renamed))


def test_truncated_before_its_index(tmp_path: Path) -> None:
    body = clips.make(tmp_path / "a.mp4", Clip()).read_bytes()
    with pytest.raises(BadMedia, match="damaged or incomplete"):
        whole(saved(tmp_path / "a.mp4", body[: len(body) // 2]))


def test_truncated_behind_its_index(tmp_path: Path) -> None:
    fast = Clip(frames=60, container_options={"movflags": "faststart"})
    body = clips.make(tmp_path / "a.mp4", fast).read_bytes()
    with pytest.raises(BadMedia, match="cut short"):
        whole(saved(tmp_path / "a.mp4", body[: len(body) * 2 // 3]))


def test_zero_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(BadMedia):
        whole(tmp_path / "a.mkv")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_over_the_limits(tmp_path: Path, name: str) -> None:
    path = clips.make(tmp_path / name, Clip(frames=50))
    with pytest.raises(TooLarge, match="pixels"):
        whole(path, VideoLimits(96 * 64 - 1, 3600))
    with pytest.raises(TooLarge, match="longer"):
        whole(path, VideoLimits(96 * 64, 1.5))
    assert whole(path, VideoLimits(96 * 64, 2.1)) == 50


def test_a_huge_frame_behind_a_small_first_one_is_not_decoded(tmp_path: Path) -> None:
    small = clips.make(tmp_path / "a.ts", Clip()).read_bytes()
    huge = clips.make(tmp_path / "b.ts", Clip(width=2048, height=2048, frames=2)).read_bytes()
    path = saved(tmp_path / "joined.ts", small + huge)
    info = probe(str(path), VideoLimits(96 * 64, 60))
    shapes = [frame.planes[0].shape for frame in read_frames(str(path), info)]
    assert set(shapes) == {(64, 96)}
    assert len(shapes) <= 20  # the decoder gives up what it still held


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_few_damaged_packets_are_passed_over(tmp_path: Path, name: str) -> None:
    clip = Clip(frames=60, options={"g": "10"}, sounds=[Sound()])
    body = bytearray(clips.make(tmp_path / name, clip).read_bytes())
    middle = len(body) // 2
    body[middle : middle + 300] = random.Random(1).randbytes(300)
    assert 30 < whole(saved(tmp_path / name, bytes(body))) <= 60


def test_mostly_damaged(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip(frames=60, options={"g": "1"}))
    body = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    for pos, size in places[5:]:
        body[pos + 4 : pos + size] = bytes(size - 4)
    with pytest.raises(BadMedia, match="most"):
        whole(saved(path, bytes(body)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda index: None,
        lambda index: 0,
        lambda index: index if index % 4 else max(0, index - 3),
        lambda index: 10**6 if index == 7 else index,
        lambda index: 60 - index,
    ],
    ids=["missing", "same", "backward", "far", "reversed"],
)
def test_broken_timestamps_are_repaired(tmp_path: Path, spoil: Callable[[int], int | None]) -> None:
    plain = clips.make(tmp_path / "plain.mkv", Clip(frames=50, codec="mjpeg", pix_fmt="yuvj420p"))
    path = tmp_path / "a.mkv"
    with av.open(str(plain)) as good, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(good.streams.video[0], opaque=True)
        out.start_encoding()
        for index, packet in enumerate(p for p in good.demux(video=0) if p.size):
            time = spoil(index)
            packet.stream = stream
            packet.time_base = Fraction(1, 25)
            packet.dts, packet.pts, packet.duration = index, time, 1
            try:
                out.mux(packet)
            except av.error.FFmpegError:
                continue
    info = probe(str(path), VideoLimits(10**6, 10**5))
    out_path = tmp_path / "out.mp4"
    written = transcode(str(path), str(out_path), info, lambda frame: None)
    times = clips.times(out_path)
    assert written.frames == len(times) > 0
    assert all(a < b for a, b in pairwise(times))


def test_full_disk(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip(frames=60, sounds=[Sound()]))
    info = probe(str(path), LIMITS)
    with pytest.raises(DiskFull):
        transcode(str(path), "/dev/full", info, lambda frame: None)


def test_metadata_in_no_known_encoding(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mkv", Clip(metadata={"title": "SECRET"}))
    body = path.read_bytes().replace(b"SECRET", b"\xff\xfe\xc3\x28\x80\xff")
    assert whole(saved(path, body)) == 20


TURNED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
TEXT = [(0.1, 0.2, "x")]
QUIET_X265 = {"x265-params": "log-level=none"}
SEEDS = {
    "a.mp4": Clip(frames=6, sounds=[Sound()], subtitles=TEXT),
    "a.mov": Clip(frames=6, sounds=[Sound("pcm_s16be")], matrix=TURNED),
    "a.mkv": Clip(frames=6, sounds=[Sound("flac")], subtitles=TEXT, subtitle_codec="srt"),
    "a.webm": Clip(frames=6, codec="libvpx-vp9", sounds=[Sound("libopus")]),
    "a.avi": Clip(frames=6, codec="mpeg4", sounds=[Sound("libmp3lame")]),
    "b.avi": Clip(frames=6, codec="mjpeg", pix_fmt="yuvj422p"),
    "a.ts": Clip(frames=6, sounds=[Sound()]),
    "b.ts": Clip(frames=6, codec="libx265", options=QUIET_X265, sounds=[Sound("ac3")]),
}


@pytest.mark.parametrize("name", SEEDS)
def test_mutated_files_raise_only_our_errors(tmp_path: Path, name: str) -> None:
    body = clips.make(tmp_path / name, SEEDS[name]).read_bytes()
    rng = random.Random(name)
    outcomes: dict[str, int] = {}
    for _ in range(40):
        spoiled = bytearray(body)
        kind = rng.randrange(4)
        if kind == 0:  # single bytes, mostly in headers
            for _ in range(rng.randrange(1, 12)):
                spoiled[min(int(rng.expovariate(4 / len(body))), len(body) - 1)] = rng.randrange(
                    256
                )
        elif kind == 1:
            for _ in range(rng.randrange(1, 30)):
                spoiled[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del spoiled[rng.randrange(len(body)) :]
        else:
            at = rng.randrange(len(body))
            spoiled[at : at + rng.randrange(200)] = rng.randbytes(rng.randrange(200))
        try:
            whole(saved(tmp_path / name, bytes(spoiled)))
            outcome = "read"
        except MasqueradeError as error:
            outcome = error.code
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"read", "bad-media", "unsupported-media", "too-large", "empty-upload"}
    assert len(outcomes) > 1, outcomes
