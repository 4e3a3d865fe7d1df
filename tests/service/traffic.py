"""Requests in the background while something breaks, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.service import media
from tests.service.helpers import FINAL, Api, eventually, problem

PAUSE = 0.15  # seconds between a client's requests
QUICK = ("photo", "classification")
FRAMES = 30  # of the clip that is sent over and over


@dataclass(frozen=True)
class Served:
    """One request: its kind, when it began (monotonic), how long it took, how it ended."""

    kind: str
    begun: float
    seconds: float
    status: int = 0
    code: str = ""
    answer: requests.Response | None = field(default=None, repr=False)

    @property
    def good(self) -> bool:
        return self.status in (200, 202)


class Traffic:
    """Photos and classifications, and a video after the other, as long as it is entered."""

    def __init__(self, api: Api, clip: bytes) -> None:
        self._api, self._clip = api, clip
        self._over = threading.Event()
        self.served: list[Served] = []
        self.jobs: list[str] = []
        clients = (self._photos, self._classifications, self._videos)
        self._threads = [threading.Thread(target=client, daemon=True) for client in clients]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def under_way(self) -> None:
        """Return once photos and images were served and a video is being rendered."""
        self._served_since(time.monotonic(), 60)
        eventually(lambda: self.jobs and self._at_work(self.jobs[-1]), "a video at work")

    def back(self, since: float, within: float, kinds: Collection[str] = QUICK) -> float:
        """Seconds from ``since`` (monotonic) until every kind was served again; fails later
        than ``within``."""
        return self._served_since(since, within, kinds) - since

    def judge(self, told: Collection[str], deadline: float) -> set[str]:
        """Every request was served, or told one of these codes, in time; every video was made.

        Answers the codes that were told.
        """
        bad = [one for one in self.served if not one.good]
        for one in bad:
            assert one.answer is not None, f"no answer: {one}"
            assert one.code in told, f"{one} {one.answer.text[:300]}"
            problem(one.answer, one.status, one.code)
        slow = [one for one in self.served if one.seconds > deadline]
        assert not slow, slow
        for job_id in self.jobs:
            view = self._api.ended(job_id)
            assert view["status"] == "done", view
            body = requests.get(view["result"]["url"], timeout=30).content
            assert len(media.frames(body)) == FRAMES
        return {one.code for one in bad}

    def owned(self) -> set[str]:
        """The tokens of the results that clients were given; all others are nobody's."""
        photos = {str(one.answer.json()["id"]) for one in self.served if _is_photo(one)}
        videos = (self._api.job(job_id)["result"]["url"] for job_id in self.jobs)
        return photos | {urlsplit(url).path.split("/")[-2] for url in videos}

    def _served_since(self, since: float, within: float, kinds: Collection[str] = QUICK) -> float:
        """The moment when the slowest kind had its first request served that began later."""

        def ends() -> list[float]:
            good = [one for one in self.served if one.good and one.begun >= since]
            firsts = ([one.begun + one.seconds for one in good if one.kind == k] for k in kinds)
            return [min(first) for first in firsts if first]

        found = eventually(lambda: len(ends()) == len(kinds) and ends(), "served again", within)
        return float(max(found))

    def _at_work(self, job_id: str) -> bool:
        view = self._api.job(job_id)
        return view["status"] == "running" and view["progress"]["stage"] in ("analyse", "render")

    def _photos(self) -> None:
        self._over_and_over("photo", lambda: self._api.blur(media.photo()))

    def _classifications(self) -> None:
        files = {"file": ("a.jpg", media.photo())}
        ask = lambda: self._api.call("POST", "/v1/classify", files=files)  # noqa: E731
        self._over_and_over("classification", ask)

    def _videos(self) -> None:
        while not self._over.is_set():
            one = self._ask("video", lambda: self._api.blur(self._clip))
            if one.status != 202 or one.answer is None:
                self._over.wait(PAUSE)
                continue
            self.jobs.append(str(one.answer.json()["id"]))
            while not self._over.wait(PAUSE):
                view = self._ask("look", lambda: self._api.get(f"/v1/jobs/{self.jobs[-1]}"))
                if view.good and view.answer and view.answer.json()["status"] in FINAL:
                    break

    def _over_and_over(self, kind: str, ask: Callable[[], requests.Response]) -> None:
        while not self._over.wait(PAUSE):
            self._ask(kind, ask)

    def _ask(self, kind: str, ask: Callable[[], requests.Response]) -> Served:
        begun = time.monotonic()
        try:
            answer = ask()
        except requests.RequestException as error:
            one = Served(kind, begun, time.monotonic() - begun, code=type(error).__name__)
        else:
            code = "" if answer.ok else str(_code(answer))
            one = Served(kind, begun, time.monotonic() - begun, answer.status_code, code, answer)
        self.served.append(one)
        return one


def _is_photo(one: Served) -> bool:
    return one.kind == "photo" and one.good


def _code(answer: requests.Response) -> Any:
    try:
        return answer.json()["code"]
    except (ValueError, LookupError, TypeError):
        return "no problem"
