"""What results are called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.media.names import PHOTOS, VIDEOS, result_name

TYPES = ("image/jpeg", "image/png", "image/apng", "image/webp", "image/gif", "image/avif")
PIECES = ["a", "b.", "c d", *(f".{end}" for end in ("mp4", "mov", "avi", "jpg", "heic", "avif"))]
NAMES = st.builds(
    lambda pieces, ending: "x" + "".join(pieces) + ending,
    st.lists(st.sampled_from(PIECES), max_size=3),
    st.sampled_from([*sorted(PHOTOS | VIDEOS), ".MP4", ".Mov", ".JPG"]),
)


@pytest.mark.parametrize(
    ("name", "content_type", "others", "result"),
    [
        ("a.jpg", "image/jpeg", ["a.png"], "a.jpg"),
        ("a.JPG", "image/jpeg", [], "a.JPG"),
        ("a.png", "image/apng", [], "a.png"),
        ("a.mov", "video/mp4", ["a.jpg", "b.mp4", "a.txt"], "a.mp4"),
        ("a.mov", "video/mp4", ["a.mp4"], "a.mov.mp4"),
        ("a.mov", "video/mp4", ["a.avi"], "a.mov.mp4"),
        ("a.mov", "video/mp4", ["a.mp4", "a.mov.mp4"], "a.mov.mp4.mp4"),
        ("a.mov", "video/mp4", ["a.mp4", "a.mov.avi"], "a.mov.mp4.mp4"),
        ("a.heic", "image/png", [], "a.png"),
        ("a.heic", "image/png", ["a.png"], "a.heic.png"),
        ("a.jpg", "video/mp4", [], "a.mp4"),
        ("a.jpg", "video/mp4", ["a.png"], "a.jpg.mp4"),
    ],
)
def test_results(name, content_type, others, result):
    assert result_name(name, content_type, lambda: [name, *others]) == result


@settings(max_examples=2000, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from((*TYPES, "video/mp4")), min_size=2, max_size=8))
def test_no_two_files_share_a_result(files):
    """Whatever their names and contents are, and however little their names say of those."""
    results = [result_name(name, kind, lambda: files) for name, kind in files.items()]
    assert len(set(results)) == len(files)
