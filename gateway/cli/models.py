"""The command ``masquerade models``: what is served, and putting a new checkpoint in its place."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from gateway.cli.common import FAILED, OK, add_parser, add_url, api_key, guarded, say
from gateway.errors import NotFound

_EXAMPLES = """\
examples:
  masquerade models list
  masquerade models promote runs/rigger/last.pt      a checkpoint in a file
  masquerade models promote TRAINING_JOB_ID          that of a finished training job

Promoting changes model_store/ of this checkout (weights, versions, pinned hashes) and builds
the archives anew. TorchServe reads them when it starts: restart the pod (make down, make up);
in a cluster build the model image and roll it out. Only the model server restarts; the
gateway, its workers and the jobs they have stay. Measure before you commit: make bench-rig.
"""


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    models = add_parser(
        commands,
        "models",
        "list the models served here, promote a newly trained one",
        "The models of this checkout.",
        _EXAMPLES,
    )
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    what = "name, version, hash of the weights, archive"
    listing = add_parser(actions, "list", what, what)
    listing.set_defaults(run=_list)
    what = "serve a checkpoint from the next start on"
    promote = add_parser(actions, "promote", what, what, _EXAMPLES)
    promote.add_argument("source", metavar="JOB|CHECKPOINT", help="a training job's id, or a file")
    promote.add_argument("--model", default="rigger", help="of a file: whose it is (rigger)")
    promote.add_argument(
        "--python",
        default=os.environ.get("MASQUERADE_TRAIN_PYTHON", ""),
        help="a Python that has torch (variable MASQUERADE_TRAIN_PYTHON, else .venv-train's)",
    )
    add_url(promote)
    promote.set_defaults(run=lambda args: guarded(lambda: _promote(args)))


def _list(_: argparse.Namespace) -> int:
    import tomllib

    from gateway.training.arguments import ROOT, models

    trainable = models()
    for file in sorted((ROOT / "model_store").glob("*/model.toml")):
        recipe = tomllib.loads(file.read_text())
        name = recipe["name"]
        archive = "archive built" if (file.parents[1] / f"{name}.mar").exists() else "no archive"
        can = "can be trained" if name in trainable else ""
        digest = recipe["weights_sha256"][:12]
        print(f"{name:32}{recipe['version']:8}{digest}  {archive:15}{can}".rstrip())
    return OK


def _promote(args: argparse.Namespace) -> int:
    from gateway.settings import Settings
    from gateway.training.process import python_with_torch
    from gateway.training.promote import PromotionError, promote

    try:
        with tempfile.TemporaryDirectory() as folder:
            model, checkpoint = _source(args, Path(folder))
            python = python_with_torch(Settings(train_python=args.python))
            done = promote(model, checkpoint, python)
    except PromotionError as error:
        say(str(error))
        return FAILED
    for name, (before, now) in done.versions.items():
        print(f"{name}: version {before} → {now}")
    print(f"weights: {done.weights}, SHA-256 {done.sha256}")
    print("TorchServe serves them from its next start on: make down, make up")
    print("in a cluster: build the model image and roll it out; nothing else restarts")
    return OK


def _source(args: argparse.Namespace, folder: Path) -> tuple[str, Path]:
    """The model and a file with its checkpoint: as given, or a job's, fetched from the pod."""
    from gateway.client import Client

    given = Path(args.source)
    if given.is_file():
        return args.model, given
    if {".", "/"} & set(args.source):  # which no job's id has
        raise NotFound(f"there is no file {args.source}")
    client = Client(args.url, key=api_key(args))
    training = client.training(args.source)
    checkpoint = folder / "last.pt"
    with checkpoint.open("wb") as file:
        client.download(training["checkpoint_url"], file)
    return training["model"], checkpoint
