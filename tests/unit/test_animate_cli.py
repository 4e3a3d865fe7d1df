"""``masquerade animate``: character folders here, drawings through a pod."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import yaml
from drawings_figures import MOTION_CONFIG, bvh, man, retarget_config
from PIL import Image

from gateway.cli import common, main
from gateway.client import Client
from gateway.errors import BadDrawing
from gateway.pipelines.character_folder import read_character


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A character as AnimatedDrawings stores one."""
    figure, out = man(), tmp_path / "bob"
    out.mkdir()
    cv2.imwrite(str(out / "texture.png"), figure.texture)
    cv2.imwrite(str(out / "mask.png"), figure.mask.astype("uint8") * 255)
    skeleton = [
        {"name": name, "loc": [int(v) for v in place], "parent": figure.parents[name]}
        for name, place in figure.joints.items()
    ]
    config = {"height": 250, "width": 200, "skeleton": skeleton}
    (out / "char_cfg.yaml").write_text(yaml.dump(config))
    return out


def test_a_character_folder_is_animated_without_a_pod(folder: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    command = ["animate", str(folder), "--motions", "jumping, jumping_jacks", "-o", str(out)]
    assert main([*command, "--size", "96", "--url", "http://127.0.0.1:9"]) == 0
    made = sorted(out.iterdir())
    assert [file.name for file in made] == ["bob_jumping.gif", "bob_jumping_jacks.gif"]
    assert capsys.readouterr().out.split() == [str(file) for file in made]
    with Image.open(made[0]) as image:
        assert image.n_frames == 60 and max(image.size) == 96


def test_a_motion_of_ones_own(folder: Path, tmp_path: Path):
    (tmp_path / "twirl.bvh").write_text(bvh(8))
    (tmp_path / "motion.yaml").write_text(yaml.dump(MOTION_CONFIG))
    (tmp_path / "retarget.yaml").write_text(yaml.dump(retarget_config()))
    command = ["animate", str(folder), "-o", str(tmp_path), "--bvh", str(tmp_path / "twirl.bvh")]
    assert main([*command, "--size", "96"]) == common.USAGE
    command += ["--motion-config", str(tmp_path / "motion.yaml")]
    command += ["--retarget-config", str(tmp_path / "retarget.yaml"), "--size", "96"]
    assert main(command) == 0
    with Image.open(tmp_path / "bob_twirl.gif") as image:
        assert image.n_frames == 8


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--motions", "moonwalk"], common.USAGE, "known are"),
        (["--background", "blue"], common.USAGE, "#rrggbb"),
        (["--size", "9999"], common.USAGE, "64 to 1024"),
    ],
)
def test_mistakes_are_explained(folder: Path, tmp_path: Path, capsys, arguments, status, says):
    assert main(["animate", str(folder), "-o", str(tmp_path / "o"), *arguments]) == status
    assert says in capsys.readouterr().err
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mask.png", None, "no mask.png"),
        ("texture.png", b"not a picture", "not a readable picture"),
        ("char_cfg.yaml", b"[1, 2", "valid YAML"),
        ("char_cfg.yaml", b"\xff\xfe\xfa", "char_cfg.yaml"),
        ("char_cfg.yaml", b"height: 3", "skeleton"),
    ],
)
def test_a_damaged_character_is_explained(
    folder: Path, name: str, content: bytes | None, says: str
):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(BadDrawing, match=says):
        read_character(folder)


def test_a_drawing_goes_to_the_pod(tmp_path: Path, monkeypatch, capsys):
    sent = {}

    def post(self, path, options):
        sent.update(options, path=path)
        return {"dab": "http://pod/1", "walk": "http://pod/2"}

    def download(self, url, out, *, got=None):
        out.write(url.encode())

    monkeypatch.setattr(Client, "animate", post)
    monkeypatch.setattr(Client, "download", download)
    drawing = tmp_path / "monster.jpg"
    drawing.write_bytes(b"x")
    out = tmp_path / "out"
    assert main(["animate", str(drawing), "--motions", "dab,walk", "-o", str(out)]) == 0
    assert sent["motions"] == "dab,walk" and sent["path"] == drawing
    assert (sent["format"], sent["background"], sent["size"]) == ("gif", "paper", "500")
    assert (out / "monster_walk.gif").read_bytes() == b"http://pod/2"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_missing_pod_and_a_missing_file_are_told_apart(tmp_path: Path, capsys):
    drawing = tmp_path / "monster.jpg"
    assert main(["animate", str(drawing), "-o", str(tmp_path)]) == common.FAILED
    drawing.write_bytes(b"x")
    command = ["animate", str(drawing), "-o", str(tmp_path), "--url", "http://127.0.0.1:9"]
    assert main(command) == common.UNREACHABLE
    assert "start the pod" in capsys.readouterr().err
