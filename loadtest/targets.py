"""Requests to play, as vegeta's JSON targets: an object a line, the body in it as base64.

The format is that of ``vegeta attack -format=json`` (lib/target.schema.json in its source).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import urllib3


class BadTargets(ValueError):
    """A file of targets cannot be played; the text names the line and what is wrong."""


@dataclass(frozen=True)
class Target:
    """One request; a header may have several values."""

    method: str
    url: str
    header: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""

    def line(self) -> str:
        """The target as vegeta reads it, without the line's end."""
        known: dict[str, object] = {"method": self.method, "url": self.url}
        if self.header:
            known["header"] = self.header
        if self.body:
            known["body"] = base64.b64encode(self.body).decode()
        return json.dumps(known)

    @classmethod
    def read(cls, line: str) -> Target:
        """A line of a file.

        Raises:
            BadTargets: it is no target.
        """
        try:
            known = json.loads(line)
            header = {str(name): [str(v) for v in values] for name, values in _header(known)}
            body = base64.b64decode(known.get("body") or "", validate=True)
            method, url = known["method"], known["url"]
            hostname = urlsplit(url).hostname
        except KeyError as missing:
            raise BadTargets(f"{missing} is missing") from None
        except (ValueError, TypeError, AttributeError, binascii.Error):
            raise BadTargets("this is no JSON target of vegeta's") from None
        if not (isinstance(method, str) and method.isascii() and method.isupper() and hostname):
            raise BadTargets("method or URL is wrong")
        return cls(method, url, header, body)


def post(url: str, kind: str, body: bytes) -> Target:
    """A POST of a body of this content type."""
    return Target("POST", url, {"Content-Type": [kind]}, body)


def post_json(url: str, value: object) -> Target:
    """A POST of JSON."""
    return post(url, "application/json", json.dumps(value).encode())


def post_form(url: str, name: str, data: bytes, **options: str) -> Target:
    """A form with options and a file of that name."""
    fields = {**options, "file": (name, data)}
    body, kind = urllib3.encode_multipart_formdata(fields, boundary="masquerade-loadtest")
    return post(url, kind, body)


def _header(known: dict) -> Iterable[tuple[str, list[str]]]:
    return (known.get("header") or {}).items()


def write(path: Path, targets: Iterable[Target]) -> Path:
    """A file of targets, played in this order and then from the start again."""
    with path.open("w") as file:
        for target in targets:
            file.write(target.line() + "\n")
    return path


def read(path: Path) -> list[Target]:
    """All targets of a file.

    Raises:
        BadTargets: a line is no target, or there is none.
    """
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip():
            try:
                found.append(Target.read(line))
            except BadTargets as error:
                raise BadTargets(f"{path}, line {number}: {error}") from None
    if not found:
        raise BadTargets(f"{path} holds no targets")
    return found
