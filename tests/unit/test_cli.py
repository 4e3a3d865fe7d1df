"""The command line: what it takes for input, where results go, how it ends."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from page_standin import standin
from PIL import Image

from gateway import cli
from gateway.choices import AUDIO, SCALES, SHAPES, STYLES, SUBTITLES, THRESHOLDS
from gateway.cli import common
from gateway.cli.plan import UsageError, plan
from gateway.cli.show import duration
from gateway.errors import BadOption
from gateway.media.names import with_extension
from gateway.pipelines.options import BlurOptions
from gateway.replacing import replacing

ROOT = Path(cli.__file__).parents[2]


@pytest.fixture
def pod():
    with standin() as state:
        yield state


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """in/: a.jpg, b.PNG, sub/deep/c.mov, and files that are not to be taken."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.jpg", "in/b.PNG", "in/sub/deep/c.mov", "in/notes.txt", "in/.hidden.jpg"):
        make(Path(name))
    make(Path("in/.trash/d.jpg"))
    return tmp_path


def make(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".jpg", ".png"):
        Image.new("RGB", (32, 24), "teal").save(path)
    else:
        path.write_bytes(b"not really a video, but the stand-in does not mind" * 40)


def pairs(*inputs, out=None, **flags):
    items = plan(
        inputs, out, overwrite=flags.get("overwrite", False), skip=flags.get("skip", False)
    )
    return {str(item.source): str(item.target) for item in items}


# ---- planning ----


def test_a_folder_is_mirrored_without_what_is_no_media(tree):
    assert pairs("in", out="out") == {
        "in/a.jpg": "out/a.jpg",
        "in/b.PNG": "out/b.PNG",
        "in/sub/deep/c.mov": "out/sub/deep/c.mp4",
    }


def test_without_out_results_lie_beside_and_are_not_taken_for_input(tree):
    first = pairs("in")
    assert first["in/sub/deep/c.mov"] == "in/sub/deep/c_blurred.mp4"
    for target in first.values():
        make(Path(target))
    assert pairs("in", overwrite=True) == first


def test_globs_are_expanded_and_keep_the_tree_below_their_fixed_part(tree):
    assert pairs("in/**/*.mov", out="out") == {"in/sub/deep/c.mov": "out/sub/deep/c.mp4"}
    assert set(pairs("in/**", out="out")) == {"in/a.jpg", "in/b.PNG", "in/sub/deep/c.mov"}
    assert set(pairs("i*", out="out").values()) == {
        "out/in/a.jpg",
        "out/in/b.PNG",
        "out/in/sub/deep/c.mp4",
    }


def test_a_name_with_brackets_is_a_file_before_it_is_a_glob(tree):
    make(Path("in[1].jpg"))
    assert pairs("in[1].jpg") == {"in[1].jpg": "in[1]_blurred.jpg"}


def test_one_input_and_a_file_name(tree):
    assert pairs("in/a.jpg", out="x.jpeg") == {"in/a.jpg": "x.jpeg"}
    assert pairs("in/a.jpg", out="x.png") == {"in/a.jpg": "x.jpg"}
    assert pairs("in/sub/deep/c.mov", out="x.mov") == {"in/sub/deep/c.mov": "x.mp4"}
    assert pairs("in/a.jpg", out="folder") == {"in/a.jpg": "folder/a.jpg"}
    assert pairs("in/a.jpg", out="v1.2/") == {"in/a.jpg": "v1.2/a.jpg"}


def test_an_explicit_file_of_any_name_is_sent(tree):
    assert pairs("in/notes.txt", out="safe.jpg") == {"in/notes.txt": "safe.jpg"}


def test_the_same_file_twice_is_done_once(tree):
    assert len(pairs("in/a.jpg", "in", "./in/a.jpg", out="out")) == 3


def test_out_inside_the_input_is_not_walked(tree):
    make(Path("in/safe/a.jpg"))
    assert "in/safe/a.jpg" not in pairs("in", out="in/safe", overwrite=True)


def test_two_inputs_with_one_output_are_refused_by_name(tree):
    make(Path("other/a.jpg"))
    with pytest.raises(UsageError, match=r"in/a\.jpg and other/a\.jpg .* out/a\.jpg"):
        pairs("in", "other", out="out")
    make(Path("in/clip.mkv"))
    make(Path("in/clip.avi"))
    with pytest.raises(UsageError, match=r"clip\.avi and in/clip\.mkv"):
        pairs("in")


def test_no_source_is_ever_replaced(tree):
    for inputs, out in ((["in"], "in"), (["in/a.jpg"], "in/a.jpg"), (["in/a.jpg"], "in")):
        with pytest.raises(UsageError, match="would replace the source"):
            pairs(*inputs, out=out, overwrite=True)


def test_existing_results_are_refused_unless_told(tree):
    make(Path("out/a.jpg"))
    with pytest.raises(UsageError, match=r"out/a\.jpg exists already.*--overwrite"):
        pairs("in", out="out")
    assert (
        len(pairs("in", out="out", overwrite=True)) == len(pairs("in", out="out", skip=True)) == 3
    )


def test_nothing_matched_and_a_file_for_many(tree):
    for inputs in (["in/*.gif"], ["missing.jpg"]):
        with pytest.raises(UsageError, match=r"\.gif|missing"):
            pairs(*inputs)
    with pytest.raises(UsageError, match="name a folder"):
        pairs("in", out="one.mp4")


def test_the_answers_type_decides_the_extension():
    assert with_extension(Path("a.JPEG"), "image/jpeg") == Path("a.JPEG")
    assert with_extension(Path("a.avif"), "image/jpeg") == Path("a.jpg")
    assert with_extension(Path("a.jpg"), "image/avif") == Path("a.avif")
    assert with_extension(Path("a.mov"), "application/x") == Path("a.mov")


def test_replacing_leaves_nothing_behind_when_it_fails(tmp_path):
    target = tmp_path / "deep" / "x.jpg"
    with replacing(target) as file:
        file.write(b"one")
    with contextlib.suppress(KeyboardInterrupt), replacing(target) as file:
        file.write(b"two")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"one"
    assert list(target.parent.iterdir()) == [target]


# ---- arguments ----


def test_choices_and_ranges_are_those_of_the_pipeline():
    cases = {"style": STYLES, "shape": SHAPES, "audio": AUDIO, "subtitles": SUBTITLES}
    cases |= {"scale": SCALES, "threshold": THRESHOLDS}
    for name, values in cases.items():
        for value in values:
            assert getattr(BlurOptions.parse({name: value}), name) == value
    for name in ("style", "shape", "audio", "subtitles"):
        with pytest.raises(BadOption) as caught:
            BlurOptions.parse({name: "?"})
        assert f"must be one of {', '.join(cases[name])}," in str(caught.value)
    for name, (low, high) in (("scale", SCALES), ("threshold", THRESHOLDS)):
        for value in (low - 0.01, high + 0.01):
            with pytest.raises(BadOption):
                BlurOptions.parse({name: value})


@pytest.mark.parametrize(
    "argv",
    [
        ["blur"],
        ["blur", "x", "--style", "none"],
        ["blur", "x", "--scale", "9"],
        ["blur", "x", "--threshold", "nan"],
        ["blur", "x", "--workers", "0"],
        ["blur", "x", "--overwrite", "--skip-existing"],
        [],
    ],
)
def test_wrong_usage_is_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == common.USAGE
    assert "usage:" in capsys.readouterr().err


def test_help_and_version(capsys):
    for argv, words in ((["--version"], "masquerade "), (["blur", "--help"], "exit status")):
        with pytest.raises(SystemExit) as caught:
            cli.main(argv)
        assert caught.value.code == 0
        assert words in capsys.readouterr().out


def test_durations_read_well():
    assert [duration(s) for s in (0.42, 8.2, 65, 7265)] == ["0.42 s", "8 s", "1:05", "2:01:05"]


# ---- the whole command ----


def blur(pod, *argv):
    return cli.main(["blur", *argv, "--url", pod.url])


def test_a_folder_from_end_to_end(pod, tree, capsys):
    assert blur(pod, "in", "-o", "out", "--report", "--style", "pixelate", "--audio", "drop") == 0
    made = sorted(str(p) for p in Path("out").rglob("*") if p.is_file())
    # b.PNG comes back as JPEG from the stand-in: the extension follows the content
    results = ["out/a.jpg", "out/b.jpg", "out/sub/deep/c.mp4"]
    assert made == sorted([*results, *(f"{name}.report.json" for name in results)])
    assert Path("out/sub/deep/c.mp4").read_bytes() == Path("in/sub/deep/c.mov").read_bytes()
    assert json.loads(Path("out/sub/deep/c.mp4.report.json").read_text()) == {"tracks": 2}
    assert {(p["style"], p["audio"]) for p in pod.posts} == {("pixelate", "drop")}
    out, err = capsys.readouterr()
    assert "3 files: 3 done; 4 faces blurred" in out
    assert "in/a.jpg → out/a.jpg (1 face" in err


def test_only_given_options_are_sent_so_that_the_pods_defaults_hold(pod, tree):
    assert blur(pod, "in/a.jpg") == 0
    assert set(pod.posts[0]) == {"name", "bytes"}


def test_one_bad_file_fails_alone(pod, tree, capsys):
    make(Path("in/broken.jpg"))
    assert blur(pod, "in", "-o", "out", "-q") == common.FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert "in/broken.jpg: the JPEG breaks off" in err
    assert len(list(Path("out").rglob("*.*"))) == 3


def test_a_failed_job_leaves_no_file(pod, tree, capsys):
    make(Path("lost.mp4"))
    assert blur(pod, "lost.mp4", "-o", "out/") == common.FAILED
    assert "lost.mp4: the video breaks off after frame 20" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_download_that_breaks_off_leaves_no_file(pod, tree, monkeypatch):
    monkeypatch.setattr("gateway.cli.run.Runner._pause", lambda self, seconds: None)
    pod.cut_downloads = 3
    assert blur(pod, "in/a.jpg", "-o", "out/") == common.FAILED
    assert list(Path("out").iterdir()) == []


def test_skip_existing_sends_nothing(pod, tree, capsys):
    assert blur(pod, "in", "-o", "out", "-q") == 0
    Path("out/b.PNG").touch()
    pod.posts.clear()
    assert blur(pod, "in", "-o", "out", "--skip-existing") == 0
    assert pod.posts == []
    assert "3 skipped" in capsys.readouterr().out


def test_forget_deletes_the_job_and_is_honest_about_photos(pod, tree, capsys):
    assert blur(pod, "in", "-o", "out", "--forget") == 0
    assert len(pod.deleted) == 1
    assert pod.jobs == {}
    assert capsys.readouterr().err.count("keeps photos until their links expire") == 1


def test_the_pod_may_be_named_by_the_environment(pod, tree, monkeypatch):
    monkeypatch.setenv("POD_URL", pod.url)
    assert cli.main(["blur", "in/a.jpg"]) == 0


def test_no_pod_is_3_and_says_what_to_do(tree, capsys):
    assert cli.main(["blur", "in", "--url", "127.0.0.1:9"]) == common.UNREACHABLE
    err = capsys.readouterr().err
    assert "nobody answers at http://127.0.0.1:9" in err
    assert "--url" in err
    assert not list(Path("in").glob("*_blurred*"))


@pytest.mark.parametrize(
    "command",
    [["blur", "in"], ["animate", "in/a.jpg"], ["jobs", "list"], ["models", "promote", "a" * 32]],
    ids=" ".join,
)
def test_every_command_takes_an_address_without_a_scheme(tree, capsys, command):
    assert cli.main([*command, "--url", "127.0.0.1:9"]) == common.UNREACHABLE
    err = capsys.readouterr().err
    assert "nobody answers at http://127.0.0.1:9" in err
    assert "--url" in err and "POD_URL" in err


def test_nothing_to_do_is_2_before_any_contact(tree, capsys):
    assert cli.main(["blur", "in/*.gif", "--url", "127.0.0.1:9"]) == common.USAGE
    assert "no photo or video matches in/*.gif" in capsys.readouterr().err


def start(pod, *argv, **streams):
    command = [sys.executable, "-m", "gateway.cli", "blur", *argv, "--url", pod.url]
    # A parent that ignores SIGINT, as a shell's background job does, hands that down.
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **streams,
    )


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_the_running_jobs(pod, tree, number):
    for n in range(3):
        make(Path(f"in/slow{n}.mp4"))
    process = start(pod, "in/slow*.mp4", "-o", "out", stderr=subprocess.PIPE, text=True)
    until(lambda: sum(job["status"] == "running" for job in pod.jobs.values()) == 2)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=15)
    assert process.returncode == common.INTERRUPTED
    assert "cancelling 2 running" in err
    assert "Traceback" not in err
    assert [job["status"] for job in pod.jobs.values()] == ["cancelled", "cancelled"]
    assert not Path("out").exists()


def test_a_terminal_gets_a_bar_with_rate_and_time_left(pod, tree):
    pod.frames, pod.frame_seconds = 60, 0.03
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    process = start(pod, "in/sub/deep/c.mov", stderr=follower, stdout=subprocess.DEVNULL)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal says that the other end is gone
        while piece := os.read(leader, 65536):
            shown += piece
    os.close(leader)
    assert process.wait(15) == 0
    text = shown.decode()
    assert "frames/s" in text
    assert " left" in text
    assert "0/1 files" in text
