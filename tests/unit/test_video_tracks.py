"""Sound and subtitles of videos: copied bit for bit where MP4 holds them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from gateway.media.video.places import tells_place
from tests import clips
from tests.clips import Clip, Sound
from tests.unit.video_runs import run

TEXTS = ((0.1, 0.3, "hello"), (0.5, 0.7, "{\\i1}you{\\i0}"))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mkv", "aac"),
        ("a.mp4", "libmp3lame"),
        ("a.avi", "libmp3lame"),
        ("a.mp4", "ac3"),
        ("a.ts", "ac3"),
        ("a.ts", "eac3"),
        ("a.mp4", "alac"),
        ("a.webm", "libopus"),
        ("a.mkv", "flac"),
    ],
)
def test_sound_is_copied_bit_for_bit(tmp_path: Path, name: str, codec: str) -> None:
    vp9 = {"codec": "libvpx-vp9"} if name.endswith("webm") else {}
    path = clips.make(tmp_path / name, Clip(sounds=[Sound(codec)], **vp9))
    _, written, out = run(path)
    assert (written.audio_tracks, written.audio_converted) == (1, 0)
    assert clips.packets(out) == clips.packets(path)
    assert lengths(out) == pytest.approx(lengths(path), abs=0.03)


def test_adts_sound_is_copied_without_its_framing(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.ts", Clip(sounds=[Sound()]))
    _, written, out = run(path)
    assert written.audio_converted == 0
    assert clips.packets(out) == [packet[7:] for packet in clips.packets(path)]


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("a.mov", Sound("pcm_s16be")),
        ("a.mkv", Sound("vorbis")),
        ("a.ts", Sound("mp2")),
        ("a.mkv", Sound("pcm_s16le", layout="5.1")),
        ("a.avi", Sound("pcm_s16le", rate=11025, layout="mono")),
        ("a.avi", Sound("pcm_s16le", rate=12345, layout="mono")),
    ],
)
def test_other_sound_becomes_aac(tmp_path: Path, name: str, sound: Sound) -> None:
    path = clips.make(tmp_path / name, Clip(sounds=[sound], frames=50))
    _, written, out = run(path)
    assert (written.audio_tracks, written.audio_converted, written.dropped) == (1, 1, ())
    with av.open(str(out)) as file:
        stream = file.streams.audio[0]
        assert stream.codec_context.name == "aac"
        assert stream.layout.name in (sound.layout, "5.1")
        rate = stream.rate
        wave = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(stream)])
    assert len(wave) / rate == pytest.approx(2.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert np.argmax(spectrum) * rate / len(wave) == pytest.approx(sound.hertz, abs=2)


def test_all_sound_tracks_keep_language_and_role(tmp_path: Path) -> None:
    sounds = [Sound(), Sound("ac3", "deu", 880), Sound("pcm_s16le", "jpn", 1320)]
    path = clips.make(tmp_path / "a.mkv", Clip(sounds=sounds))
    _, written, out = run(path)
    assert (written.audio_tracks, written.audio_converted) == (3, 1)
    with av.open(str(out)) as file:
        assert [s.language for s in file.streams.audio] == ["eng", "deu", "jpn"]
        assert file.streams.audio[0].disposition & 1


def test_sound_can_be_dropped(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.mp4", Clip(sounds=[Sound()], subtitles=TEXTS))
    _, written, out = run(path, keep_audio=False)
    assert (written.audio_tracks, written.subtitle_tracks) == (0, 1)
    with av.open(str(out)) as file:
        assert not file.streams.audio


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mov_text"), ("a.mkv", "srt"), ("b.mkv", "ass")]
)
def test_text_subtitles_are_kept(tmp_path: Path, name: str, codec: str) -> None:
    path = clips.make(tmp_path / name, Clip(subtitles=TEXTS, subtitle_codec=codec))
    _, written, out = run(path)
    assert (written.subtitle_tracks, written.dropped) == (1, ())
    lines = {}
    with av.open(str(out)) as file:
        stream = file.streams.subtitles[0]
        assert (stream.codec_context.name, stream.language) == ("mov_text", "fra")
        for packet in file.demux(stream):
            size = int.from_bytes(bytes(packet)[:2], "big") if packet.size else 0
            if size:
                start = float(packet.pts * packet.time_base)
                lines[bytes(packet)[2 : 2 + size].decode()] = (
                    start,
                    start + float(packet.duration * packet.time_base),
                )
    assert lines == {
        "hello": pytest.approx((0.1, 0.3), abs=0.002),
        "you": pytest.approx((0.5, 0.7), abs=0.002),
    }


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mov", "pcm_s16be"), ("a.mkv", "pcm_s16le"), ("a.mp4", "aac")]
)
def test_sound_ends_soon_behind_the_picture(tmp_path: Path, name: str, codec: str) -> None:
    path = clips.make(tmp_path / name, Clip(frames=100, sounds=[Sound(codec)]))
    _, written, out = run(path, picture_end=1.5)
    assert written.audio_tracks == 1
    assert 2.4 < lengths(out) < 2.7


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
@pytest.mark.parametrize("rate", [1, 100, 3999])
def test_sound_of_an_absurd_rate_is_left_out(tmp_path: Path, name: str, rate: int) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as out:
        video = out.add_stream("mjpeg", rate=25, width=64, height=64, pix_fmt="yuvj420p")
        sound = out.add_stream("pcm_u8", rate=rate, layout="mono")
        for number in range(5):
            out.mux(video.encode(clips.draw(number, 64, 64, "yuvj420p")))
        silence = av.AudioFrame.from_ndarray(np.full((1, 2000), 128, np.uint8), "u8", "mono")
        silence.rate, silence.pts = rate, 0
        out.mux([*video.encode(None), *sound.encode(silence), *sound.encode(None)])
    _, written, out_path = run(path)
    assert (written.frames, written.audio_tracks) == (5, 0)
    assert written.dropped == ("audio 1 (pcm_u8)",)
    with av.open(str(out_path)) as file:
        assert not file.streams.audio


PLACES = (
    "GPS (8.5417, 47.3769, 20), D 3.98m, H 12.00m",
    "HOME(8.5417,47.3769) 2026.01.02 15:10:22",
    "[iso: 110] [latitude: 47.3769] [longitude: 8.5417] [rel_alt: 1.300]",
    "+47.3769+008.5417/",
    "47.3769, 8.5417",
    "47° 22' 36.8\" N",
    "$GPRMC,081836,A,4722.61,N,00832.50,E",
)
WORDS = (
    "My GPS is broken. Go home!",
    "Home: sweet home (since 1984)",
    "It is 20° out there, and 3.1416 is pi",
    "The longitude was a riddle until 1761",
)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_lines_of_subtitles_that_tell_a_place_are_left_out(tmp_path: Path, name: str) -> None:
    codec = "mov_text" if name == "a.mp4" else "srt"
    lines = [*PLACES, *WORDS]
    texts = [(n / 20, n / 20 + 0.04, line) for n, line in enumerate(lines)]
    _, written, out = run(clips.make(tmp_path / name, Clip(subtitles=texts, subtitle_codec=codec)))
    assert written.subtitle_tracks == 1
    body = out.read_bytes()
    assert [line for line in lines if line.encode() in body] == list(WORDS)


def test_places_in_utf_16_are_seen() -> None:
    line = "[latitude: 47.3769]"
    assert tells_place(line.encode("utf-16"))
    assert not tells_place("a latitude".encode("utf-16"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_subtitles_can_be_dropped(tmp_path: Path, name: str) -> None:
    codec = "mov_text" if name == "a.mp4" else "srt"
    clip = Clip(sounds=[Sound()], subtitles=TEXTS, subtitle_codec=codec)
    _, written, out = run(clips.make(tmp_path / name, clip), keep_subtitles=False)
    assert (written.audio_tracks, written.subtitle_tracks) == (1, 0)
    assert b"hello" not in out.read_bytes()


def test_captions_in_the_picture_s_stream_stay_out(tmp_path: Path) -> None:
    path = clips.make(tmp_path / "a.ts", Clip(codec="libx264"))
    captioned = tmp_path / "b.ts"
    words = b"".join(b"\xfc" + b"SECRET"[n : n + 2] for n in (0, 2, 4))
    body = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | 3]) + b"\xff" + words + b"\xff"
    message = b"\0\0\1\x06\x04" + bytes([len(body)]) + body + b"\x80"
    with av.open(str(path)) as source, av.open(str(captioned), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            data = bytes(packet)
            slices = [data.find(start) for start in (b"\0\0\1\x65", b"\0\0\1\x41", b"\0\0\1\x01")]
            at = min((n for n in slices if n >= 0), default=None)
            if at is not None:
                changed = av.Packet(data[:at] + message + data[at:])
                changed.pts, changed.dts, changed.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.time_base,
                )
                changed.is_keyframe, changed.stream = packet.is_keyframe, stream
                out.mux(changed)
    with av.open(str(captioned)) as file:
        frame = next(file.decode(video=0))
        assert [data.type.name for data in frame.side_data if data.type.name == "A53_CC"]
    _, _, out_path = run(captioned)
    assert b"GA94" not in out_path.read_bytes()


def lengths(path: Path) -> float:
    """Seconds of decoded sound."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        return sum(frame.samples for frame in file.decode(stream)) / stream.rate
