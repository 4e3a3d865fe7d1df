"""Stand-ins behind the routes, for tests that need no server: a renderer and a detector."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gateway.app import create_app
from gateway.http.flows import Services
from gateway.http.rendering import Rendered
from gateway.jobs.queue import JobQueue
from gateway.settings import Settings
from gateway.storage import Storage

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)
FACE = {"box": [1.0, 2.0, 3.0, 4.0], "score": 0.9, "landmarks": [[1.0, 1.0]] * 5}


class FakeRenderer:
    """Answers with what it got; ``fault`` is raised instead when set."""

    def __init__(self):
        self.fault = None
        self.calls = []
        self.during = lambda: None

    def image(self, file, size, options):
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
                "report": {"faces": [FACE], "options": options.as_dict()},
            },
        )

    def probe(self, file):
        again = Path(f"/proc/self/fd/{file.fileno()}")
        self.calls.append(("probe", again.read_bytes()))
        if self.fault:
            raise self.fault
        return {"width": 8, "height": 6, "frames": 30, "seconds": 1.0}

    def ready(self):
        return None


class FakeDetector:
    """Ready, unless ``fault`` says why not."""

    fault = None

    def ready(self):
        return self.fault


def services_of(settings=None):
    settings = settings or Settings(s3_endpoint="http://127.0.0.1:9")
    return Services(settings, Storage(settings), JobQueue(settings), FakeRenderer(), FakeDetector())


def app_of(services=None):
    services = services or services_of()
    return create_app(services.settings, services)
