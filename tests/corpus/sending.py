"""How a case reaches a service, and whether it is answered as the contract says."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import requests

import gateway.app  # noqa: F401 - by then all kinds of errors are known
from gateway.errors import by_code
from tests.corpus.cases import Case
from tests.corpus.samples import VIDEOS

PATIENCE = 150.0  # seconds until a request counts as hanging
WAIT = 100  # seconds that a video's request waits for its job
MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}
FINE = (200, 201, 202)
PARTS = ("bvh", "motion_config", "retarget_config")


class Sender:
    """Sends cases to the service at ``url``; ``rig_id``: a rig there, whose masks are tried."""

    def __init__(self, url: str, rig_id: str) -> None:
        self._url = url
        self._rig_id = rig_id

    def send(self, case: Case) -> requests.Response:
        """The answer, on a fresh connection."""
        routes: dict[str, Callable[[Case], requests.Response]] = {
            "form": lambda c: self._post(_blur(c), files=_file(c)),
            "base64": lambda c: self._post(_blur(c), json={"file": _text(c)}),
            "upload": lambda c: self._post(_blur(c), json={"upload_id": self._upload(c)}),
            "classify": lambda c: self._post("/v1/classify", files=_file(c)),
            "classify-base64": lambda c: self._post("/v1/classify", json={"files": [_text(c)] * 2}),
            "rig": lambda c: self._post("/v1/rigs", files=_file(c)),
            "animate": lambda c: self._post("/v1/animate", files=_file(c), data={"size": "64"}),
            "animate-upload": lambda c: self._post(
                "/v1/animate", json={"upload_id": self._upload(c), "size": 64}
            ),
            "phone": lambda c: self._post("/", json={"file": _text(c)}),
            "mask": lambda c: self._call(
                "PUT", f"/v1/rigs/{self._rig_id}", json={"mask": _text(c)}
            ),
            "motion": lambda c: self._post(
                "/v1/motions",
                files={name: (name, part) for name, part in zip(PARTS, c.parts, strict=True)},
            ),
        }
        return routes[case.route](case)

    def _upload(self, case: Case) -> str:
        ticket = self._post("/v1/uploads", json={"size": len(case.parts[0])}).json()
        put = requests.put(ticket["url"], data=case.parts[0], timeout=PATIENCE)
        assert put.status_code == 200, put.text
        return str(ticket["upload_id"])

    def _post(self, path: str, **more: Any) -> requests.Response:
        return self._call("POST", path, **more)

    def _call(self, method: str, path: str, **more: Any) -> requests.Response:
        return requests.request(method, self._url + path, timeout=PATIENCE, **more)


def fault(answer: requests.Response) -> str | None:
    """What is wrong with an answer to hostile input, None when nothing is."""
    status = answer.status_code
    if status in FINE:
        return None
    shown = f"{status} {answer.text[:300]}"
    if answer.headers.get("Content-Type") != "application/problem+json":
        return f"no problem: {shown}"
    body = answer.json()
    known = by_code().get(body.get("code"))
    if set(body) != MEMBERS or known is None or not body["status"] == known.status == status:
        return f"a problem that is not of the contract: {shown}"
    return f"a server's error: {shown}" if status >= 500 and status != 504 else None


def _blur(case: Case) -> str:
    return f"/v1/blur?wait={WAIT}" if case.kind in VIDEOS else "/v1/blur"


def _file(case: Case) -> dict[str, Any]:
    return {"file": (case.name, case.parts[0], *([case.content_type] * bool(case.content_type)))}


def _text(case: Case) -> str:
    return base64.b64encode(case.parts[0]).decode()
