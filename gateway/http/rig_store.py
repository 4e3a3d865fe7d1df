"""Rigs in the bucket: ``rigs/<token>/rig.json`` and the pictures that it names.

A picture is never overwritten: a correction writes new ones and then the JSON that names
them, so whoever reads meanwhile gets one state or the other.
"""

from __future__ import annotations

import io
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from gateway.access.owner import own_key
from gateway.errors import NotFound
from gateway.http.views import instant
from gateway.object_names import RIGS, is_token
from gateway.storage import Storage

_JSON = "rig.json"


@dataclass(frozen=True)
class Rig:
    """A rigged drawing.

    width, height: of the photo, upright, pixels. figures: each ``box`` (pixels of the photo),
    ``score``, ``joints`` (name → [x, y] in pixels of its texture), ``size`` (its texture's
    width and height), ``place`` (of its texture in the drawing, in the texture's pixels) and
    ``pictures`` (texture, mask, overlay → storage key). review: what the gate saw in the photo.
    """

    id: str
    width: int
    height: int
    figures: list[dict[str, Any]]
    review: dict[str, Any] | None = None


def picture_key(rig_id: str, name: str) -> str:
    """A new key for a rig's picture."""
    return f"{_folder(rig_id)}{name}-{secrets.token_hex(4)}.png"


def json_key(rig_id: str) -> str:
    """The key of the JSON that makes a rig one."""
    return _folder(rig_id) + _JSON


def _folder(rig_id: str) -> str:
    return own_key(RIGS, rig_id) + "/"


def save(storage: Storage, rig: Rig) -> None:
    """Store the JSON; the pictures must lie there by now."""
    known = {name: value for name, value in asdict(rig).items() if value is not None}
    text = json.dumps(known, separators=(",", ":")).encode()
    storage.put(json_key(rig.id), io.BytesIO(text), "application/json")


def load(storage: Storage, rig_id: str) -> Rig:
    """The rig of this id.

    Raises:
        NotFound: there is none, or not any more.
    """
    unknown = NotFound("no such rig: it was deleted or has expired; send the drawing again")
    if not is_token(rig_id):
        raise unknown
    text = io.BytesIO()
    try:
        storage.fetch(json_key(rig_id), text)
    except NotFound:
        raise unknown from None
    return Rig(**json.loads(text.getvalue()))


def remove(storage: Storage, rig: Rig) -> None:
    """Delete the rig and everything that ever belonged to it."""
    storage.delete([json_key(rig.id), *(item.key for item in storage.list(_folder(rig.id)))])


def view(storage: Storage, rig: Rig) -> dict[str, Any]:
    """A rig as clients see it, with URLs signed now; the plain URLs are the best figure's."""
    figures, ends = [], []
    for figure in rig.figures:
        links = {f"{name}_url": storage.link(key) for name, key in figure["pictures"].items()}
        ends += [link.expires_at for link in links.values()]
        shown = {name: figure[name] for name in ("box", "score", "joints", "size")}
        figures.append({**shown, **{name: link.url for name, link in links.items()}})
    return {
        "rig_id": rig.id,
        "width": rig.width,
        "height": rig.height,
        "figures": figures,
        **{name: url for name, url in figures[0].items() if name.endswith("_url")},
        "expires_at": instant(min(ends)),
        **({"review": rig.review} if rig.review else {}),
    }
