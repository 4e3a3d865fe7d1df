"""What happens to a drawing once it is in: rigged, corrected, animated, stored.

Nothing here decodes: pixels are the renderer's business.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO

from gateway import carry, metrics
from gateway.access.owner import own_key
from gateway.errors import NotFound, UnsupportedMedia
from gateway.http import hangups, rig_store
from gateway.http.flows import Services, delete, dropped_on_failure, undo
from gateway.http.intake import Incoming, check_size
from gateway.http.records import append, head_of, record
from gateway.http.rendering import Piece
from gateway.http.rig_store import Rig
from gateway.http.views import instant
from gateway.http.wishes import Wish, is_own, unknown_motion
from gateway.media.sniff import HEAD_BYTES, image_format
from gateway.object_names import MOTIONS, RESULTS, new_token, upload_key
from gateway.pipelines.rig_pictures import PICTURES

_KEPT = ("box", "score", "joints", "place")
_STORING = 4  # objects put into the bucket at once, per drawing


@dataclass
class _Made:
    """What a task has made. animations: name in the answer → its record and its storage key."""

    id: str
    figures: list[dict[str, Any]] = field(default_factory=list)
    animations: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    photo: tuple[int, int] = (0, 0)
    review: dict[str, Any] | None = None
    timings: dict[str, float] = field(default_factory=dict)


def rig(services: Services, incoming: Incoming, figures: int) -> Rig:
    """Find the figures of a drawing that was sent or uploaded, and keep them."""
    with (
        services.gates.drawings.entered(),
        _photo(services, incoming) as photo,
        _undone(services) as written,
    ):
        begun = time.perf_counter()
        with _task(Wish(motions=(), figures=figures), pictures=PICTURES) as task:
            append(task, {"kind": "photo"}, photo)
            rig_id = new_token()
            made = _make(services, task, rig_id, written)
        found = _keep(services, rig_id, made, written)
        _count(made, begun)
    return found


def animate(services: Services, incoming: Incoming, wish: Wish) -> dict[str, Any]:
    """Animate a drawing that was sent or uploaded, or a rig; the answer of the contract."""
    begun = time.perf_counter()
    if incoming.rig_id is not None:
        rig_id = incoming.rig_id
        made = _animate_rig(services, rig_store.load(services.storage, rig_id), wish)
    else:
        rig_id = new_token()
        with (
            services.gates.drawings.entered(),
            _photo(services, incoming) as photo,
            _undone(services) as written,
        ):
            with _task(wish, pictures=PICTURES) as task:
                append(task, {"kind": "photo"}, photo)
                _append_motions(services, task, wish)
                made = _make(services, task, rig_id, written)
            _keep(services, rig_id, made, written)
    return _animated(services, rig_id, made, begun)


def animate_only(services: Services, incoming: Incoming, wish: Wish) -> dict[str, str]:
    """Animate a drawing without keeping its rig: name of each motion → URL."""
    begun = time.perf_counter()
    with (
        services.gates.drawings.entered(),
        _photo(services, incoming) as photo,
        _undone(services) as written,
        _task(wish) as task,
    ):
        append(task, {"kind": "photo"}, photo)
        made = _make(services, task, "", written)
    view = _animated(services, "", made, begun)
    return {name: item["url"] for name, item in view["animations"].items()}


def correct(
    services: Services, rig: Rig, index: int, joints: dict[str, list[float]], mask: bytes | None
) -> Rig:
    """The rig with one figure's joints (all of them) or mask replaced, kept as such."""
    old = rig.figures[index]
    names = ("overlay",) if mask is None else ("mask", "overlay")
    with services.gates.drawings.entered(), _undone(services) as written:
        with _task(Wish(motions=()), pictures=names) as task:
            _append_figure(services, task, {**old, "joints": joints}, mask)
            made = _make(services, task, rig.id, written)
        (new,) = made.figures
        figure = {**old, "joints": joints, "pictures": {**old["pictures"], **new["pictures"]}}
        figures = [*rig.figures[:index], figure, *rig.figures[index + 1 :]]
        corrected = Rig(rig.id, rig.width, rig.height, figures, rig.review)
        rig_store.save(services.storage, corrected)
    delete(services, *(old["pictures"][name] for name in names))
    return corrected


def keep_motion(services: Services, motion: IO[bytes]) -> tuple[str, dict[str, Any]]:
    """Try and store a motion, a file of records; its id, and its frames and seconds."""
    with services.gates.drawings.entered(), services.gates.drawings.at_work():
        length = services.renderer.motion(motion)
    motion_id = new_token()
    with _undone(services) as written:
        written.append(own_key(MOTIONS, motion_id))
        with hangups.giving_up():
            services.storage.put(written[0], motion, "application/octet-stream")  # type: ignore[arg-type]
    return motion_id, length


def _animate_rig(services: Services, rig: Rig, wish: Wish) -> _Made:
    with services.gates.drawings.entered(), _undone(services) as written, _task(wish) as task:
        for figure in rig.figures[: wish.figures]:
            _append_figure(services, task, figure)
        _append_motions(services, task, wish)
        return _make(services, task, rig.id, written)


# a task for the renderer


@contextlib.contextmanager
def _task(wish: Wish, pictures: tuple[str, ...] = ()) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as task:
        asked = {
            "kind": "task",
            "motions": wish.motions,
            "look": wish.look.__dict__,
            "figures": wish.figures,
            "pictures": pictures,
        }
        task.write(record(asked))
        yield task


def _append_figure(
    services: Services, task: IO[bytes], figure: dict[str, Any], mask: bytes | None = None
) -> None:
    head = {"kind": "figure", **{name: figure[name] for name in _KEPT}}
    _append_object(services, task, head, figure["pictures"]["texture"])
    if mask is None:
        _append_object(services, task, {"kind": "mask"}, figure["pictures"]["mask"])
    else:
        task.write(record({"kind": "mask"}, mask))


def _append_motions(services: Services, task: IO[bytes], wish: Wish) -> None:
    for name in filter(is_own, wish.motions):
        try:
            _append_object(services, task, {"kind": "motion", "name": name}, own_key(MOTIONS, name))
        except NotFound:
            raise unknown_motion(name) from None


def _append_object(services: Services, task: IO[bytes], head: dict[str, Any], key: str) -> None:
    try:
        with hangups.giving_up():
            task.write(head_of(head, services.storage.size(key)))
            services.storage.fetch(key, task)  # type: ignore[arg-type]
    except NotFound:
        raise NotFound("it was deleted or has expired; send the drawing again") from None


def _make(services: Services, task: IO[bytes], rig_id: str, written: list[str]) -> _Made:
    """Have a task done and store what it makes while more is made."""
    made = _Made(new_token())
    with ThreadPoolExecutor(_STORING) as pool:
        puts: list[Future[None]] = []
        with (
            services.gates.drawings.at_work() as work,
            hangups.giving_up(),
            contextlib.closing(services.renderer.drawing(task)) as pieces,
        ):
            for piece in pieces:
                key = _placed(made, piece.head, rig_id)
                if key is None:
                    piece.body.close()
                else:
                    written.append(key)
                    puts.append(pool.submit(carry.along(_store), services, key, piece))
            work.seconds = made.timings["render_ms"] / 1000
        with hangups.giving_up():
            for put in puts:
                put.result()
    return made


def _placed(made: _Made, head: dict[str, Any], rig_id: str) -> str | None:
    """Enter a record into what is made; the key under which its body goes, if it has one."""
    kind = head["kind"]
    if kind == "figure":
        kept = {name: head[name] for name in _KEPT}
        made.figures.append({**kept, "size": head["extent"], "pictures": {}})
    elif kind == "picture":
        key = rig_store.picture_key(rig_id, f"{head['index'] + 1}-{head['name']}")
        made.figures[head["index"]]["pictures"][head["name"]] = key
        return key
    elif kind == "animation":
        # A user's motion has a secret id, which shall not stand in a link that is passed on.
        plain = f"own-{len(made.animations) + 1}" if is_own(head["motion"]) else head["motion"]
        key = f"{RESULTS}{made.id}/{plain}.{head['extension']}"
        made.animations[head["motion"]] = (head, key)
        return key
    elif kind == "end":
        made.timings = head["timings"]
        made.review = head.get("review")
        made.photo = head["photo"] or made.photo
    return None


def _store(services: Services, key: str, piece: Piece) -> None:
    with piece.body as body:
        kind = piece.head.get("content_type", "image/png")
        services.storage.put(key, body, kind, key.rsplit("/", 1)[1])  # type: ignore[arg-type]


# before and after


@contextlib.contextmanager
def _photo(services: Services, incoming: Incoming) -> Iterator[BinaryIO]:
    """The picture that was sent, or that lies in the bucket and is deleted after use."""
    if incoming.file is not None:
        _check_picture(services, incoming.head(), incoming.size)
        yield incoming.file
        return
    assert incoming.upload_id is not None
    key = upload_key(incoming.upload_id)
    with dropped_on_failure(services, key):
        size = services.storage.size(key)
        check_size(size, None, services.settings)
        _check_picture(services, services.storage.head(key, min(HEAD_BYTES, size)), size)
        with tempfile.TemporaryFile() as file:
            with hangups.giving_up():
                services.storage.fetch(key, file)
            yield file
    delete(services, key)


def _check_picture(services: Services, head: bytes, size: int) -> None:
    if image_format(head) is None:
        raise UnsupportedMedia(
            "this is no picture that we read; JPEG, PNG, WebP, HEIC, AVIF and GIF are"
        )
    check_size(size, "image", services.settings)


@contextlib.contextmanager
def _undone(services: Services) -> Iterator[list[str]]:
    """A list of the keys written, which are deleted again when the block fails."""
    written: list[str] = []
    try:
        yield written
    except BaseException as error:
        undo(services, error, *written)
        raise


def _keep(services: Services, rig_id: str, made: _Made, written: list[str]) -> Rig:
    rig = Rig(rig_id, *made.photo, made.figures, made.review)
    written.append(rig_store.json_key(rig_id))
    rig_store.save(services.storage, rig)
    return rig


def _count(made: _Made, begun: float) -> None:
    made.timings["total_ms"] = round(1000 * (time.perf_counter() - begun), 1)
    metrics.drawing(len(made.animations), made.timings)


def _animated(services: Services, rig_id: str, made: _Made, begun: float) -> dict[str, Any]:
    animations, ends = {}, []
    for name, (head, key) in made.animations.items():
        link = services.storage.link(key)
        ends.append(link.expires_at)
        told = ("frames", "width", "height", "seconds", "content_type")
        animations[name] = {"url": link.url, **{k: head[k] for k in told}}
    _count(made, begun)
    return {
        "id": made.id,
        "rig_id": rig_id,
        "animations": animations,
        "expires_at": instant(min(ends)),
        **({"review": made.review} if made.review else {}),
        "timings": made.timings,
    }
