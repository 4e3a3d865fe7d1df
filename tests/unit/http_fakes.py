"""Stand-ins behind the routes, for tests that need no server: a renderer and models."""

from __future__ import annotations

import gc
import io
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import urllib3

from gateway import renderer_drawings
from gateway.app import create_app
from gateway.http.flows import Services
from gateway.http.records import Records
from gateway.http.rendering import Piece, Probed, Rendered, Shown
from gateway.jobs.queue import JobQueue
from gateway.media.images import ImageLimits
from gateway.models import Classified, FoundFigure
from gateway.pipelines.classify_image import packed, shown
from gateway.settings import Settings
from gateway.storage import Storage
from tests.unit.drawings_figures import JOINTS, PAPER, man

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)
LIMITS = ImageLimits(bytes=2**22, pixels=2**22, frames=10)
FACE = {"box": [1.0, 2.0, 3.0, 4.0], "score": 0.9, "landmarks": [[1.0, 1.0]] * 5}


class FakeRenderer:
    """Answers with what it got; ``fault`` is raised instead when set."""

    def __init__(self):
        self.fault = None
        self.calls = []
        self.rigger = FakeRigger()
        self.review = None
        self.left_bare = 0
        self.during = lambda: None

    def image(self, file, size, options, *, large=False):
        file.seek(0)
        data = file.read()
        assert len(data) == size
        self.calls.append(("image", data, options))
        self.during()
        if self.fault:
            raise self.fault
        body = tempfile.TemporaryFile()  # noqa: SIM115
        body.write(b"blurred " + data)
        return Rendered(
            body,
            {
                **{"content_type": "image/jpeg", "extension": "jpg", "width": 8, "height": 6},
                **{"frames": 1, "faces": [FACE], "timings": {"decode_ms": 1.5, "detect_ms": 2}},
                "left_bare": self.left_bare,
                "report": {"faces": [FACE], "options": options.as_dict()},
            },
            0.01,
        )

    def probe(self, file):
        again = Path(f"/proc/self/fd/{file.fileno()}")
        self.calls.append(("probe", again.read_bytes()))
        self.probed = file
        if self.fault:
            raise self.fault
        return Probed({"width": 8, "height": 6, "frames": 30, "seconds": 1.0}, 0.7)

    def drawing(self, task):
        """The renderer's own work, done here, with a played rigger."""
        task.seek(0)
        body = task.read()
        self.calls.append(("drawing", body))
        self.during()
        if self.fault:
            raise self.fault
        made = renderer_drawings.work(body, self.rigger, LIMITS, lambda: None, self.review)
        for chunk in made:
            stream = Records(io.BytesIO(chunk).read)
            for head in stream:
                file = tempfile.TemporaryFile()  # noqa: SIM115
                file.write(stream.body())
                yield Piece(head, file)

    def motion(self, motion):
        motion.seek(0)
        return renderer_drawings.check_motion(motion.read())

    def shown(self, file, size):
        """The renderer's own work, done here."""
        file.seek(0)
        data = file.read()
        assert len(data) == size
        self.during()
        if self.fault:
            raise self.fault
        picture, frames = shown(data, LIMITS, 64)
        meta = {"width": picture.width, "height": picture.height, "frames": picture.frame_count}
        return Shown(packed(frames), meta, 0.01)

    def ready(self):
        return None


class FakeJudge:
    """Scores an image by its mean colours, as red, green and blue."""

    fault = None
    seen = ()
    model: ClassVar = {"name": "colours", "version": "1"}

    def classify(self, frames):
        self.seen = frames.shape
        if self.fault:
            raise self.fault
        means = frames.mean(axis=(1, 2)) / 255
        names = ("blue", "green", "red")
        return [
            Classified(dict(zip(names, row.tolist(), strict=True)), self.model) for row in means
        ]

    def classify_packed(self, body):
        return self.classify(np.load(io.BytesIO(body)))


class FakeRigger:
    """Finds the men that :func:`page` has drawn, as often as ``count`` says."""

    def __init__(self, count=1):
        self.count = count
        self.seen = []

    def rig(self, picture):
        self.seen.append(picture.shape)
        return [found(picture.shape, place) for place in PLACES[: self.count]]


PLACES = ((40, 30), (260, 60))
PAGE = (320, 480)  # height, width


def page(count=1, side=480):
    """A PNG of paper with drawn men, its longer side so many pixels."""
    paper = np.empty((*PAGE, 3), np.uint8)
    paper[:] = PAPER
    figure = man()
    for x, y in PLACES[:count]:
        paper[y : y + 250, x : x + 200] = figure.texture[..., :3]
    factor = side / max(PAGE)
    paper = cv2.resize(paper, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".png", paper)[1].tobytes()


def found(shape, place):
    """What a rigger answers for the man at a place of the page, in a picture of this shape."""
    scale = shape[1] / PAGE[1]
    figure = man(scale=scale)
    x, y = (round(v * scale) for v in place)
    height, width = figure.mask.shape
    height, width = min(height, shape[0] - y), min(width, shape[1] - x)
    mask = figure.mask[:height, :width].astype(np.uint8) * 255
    joints = {name: (x + jx * scale, y + jy * scale) for name, (jx, jy) in JOINTS.items()}
    box = (x, y, x + width, y + height)
    return FoundFigure(box, 0.9, joints, box, mask)


class FakeModel:
    """Ready, unless ``fault`` says why not."""

    fault = None

    def __init__(self, name):
        self.name = name

    def ready(self):
        return self.fault


def services_of(settings=None):
    settings = settings or Settings(s3_endpoint="http://127.0.0.1:9")
    models = [FakeModel("face_detector"), FakeModel("rigger")]
    return Services(
        settings, Storage(settings), JobQueue(settings), FakeRenderer(), models, FakeJudge()
    )


def app_of(services=None):
    services = services or services_of()
    return create_app(services.settings, services)


def form(data=JPEG, name="holiday.jpg", **fields):
    """The fields of a form that sends a file."""
    return {"file": (io.BytesIO(data), name), **fields}


def fetched(url):
    """The answer to a GET of a presigned link."""
    return urllib3.request("GET", url, retries=False)


def refused(answer, status, code):
    """The detail of a problem that is as expected."""
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json
    assert answer.content_type == "application/problem+json"
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return answer.json["detail"]


@contextmanager
def no_spool_left():
    """Whatever is sent, no spooled file outlives its request."""
    before = _deleted_files()
    yield
    gc.collect()  # Flask's client holds its own copy of a large body in a cycle
    assert _deleted_files() <= before


def _deleted_files():
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except OSError:
            continue
    return {link for link in links if link.startswith("/tmp") and link.endswith("(deleted)")}
