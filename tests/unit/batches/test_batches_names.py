"""What the results of a batch are called."""

from __future__ import annotations

from gateway.jobs.rendering import result_names
from tests.batch_standin import content, numbers, photo, video
from tests.servers import keys


def test_two_inputs_never_share_a_result(queue, submit, put, work, storage):
    put({"a.mov": video(1), "a.mp4": video(2), "b.avi": video(3), "b.mkv": video(4)})
    put({"c.mov": video(), "c.jpg": photo(), "c.x.mp4": video()})
    batch = submit()
    work()
    assert numbers(queue, batch)[1]["done"] == 7
    assert [k[4:] for k in keys(storage) if k.startswith("out/")] == [
        *("a.mov.mp4", "a.mp4", "b.avi.mp4", "b.mkv.mp4", "c.jpg", "c.mp4", "c.x.mp4"),
    ]
    put({"a.mov.mp4": video(5)})
    again = submit()
    work()
    assert numbers(queue, again)[1] == {"total": 8, "done": 2, "skipped": 6, "failed": 0}
    assert content(storage, "out/a.mov.mp4.mp4") == b"blurred " + video(1)
    assert content(storage, "out/a.mov.mp4") == b"blurred " + video(5)


class Source:
    asked = 0

    def beside(self, name):
        self.asked += 1
        return [name]


def test_folders_that_differ_in_a_slash():
    assert result_names(Source(), "d//a.mov")("video/mp4") == "d//a.mp4"
    assert result_names(Source(), "d/a.mov")("video/mp4") == "d/a.mp4"


def test_what_lies_beside_an_input_is_asked_once_and_only_if_it_matters():
    source = Source()
    result_of = result_names(source, "d/a.heic")
    assert source.asked == 0
    names = [result_of(kind) for kind in ("image/jpeg", "image/png", "image/jpeg")]
    assert names == ["d/a.jpg", "d/a.png", "d/a.jpg"]
    assert source.asked == 1
