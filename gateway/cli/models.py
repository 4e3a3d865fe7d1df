"""The command ``masquerade models``: what is served, and putting a new checkpoint in its place."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateway.errors import MasqueradeError, NotFound

DEFAULT_URL = "http://127.0.0.1:8000"
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

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
    models: argparse.ArgumentParser = commands.add_parser(
        "models",
        help="list the models served here, promote a newly trained one",
        description="The models of this checkout.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name, version, hash of the weights, archive")
    listing.set_defaults(run=_list)
    promote = actions.add_parser(
        "promote",
        help="serve a checkpoint from the next start on",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    promote.add_argument("source", metavar="JOB|CHECKPOINT", help="a training job's id, or a file")
    promote.add_argument("--model", default="rigger", help="of a file: whose it is (rigger)")
    promote.add_argument(
        "--python",
        default=os.environ.get("MASQUERADE_TRAIN_PYTHON", ""),
        help="a Python that has torch (variable MASQUERADE_TRAIN_PYTHON, else .venv-train's)",
    )
    promote.add_argument(
        "--url",
        default=os.environ.get("POD_URL") or DEFAULT_URL,
        help=f"address of the pod that knows the job (variable POD_URL, else {DEFAULT_URL})",
    )
    promote.set_defaults(run=_promote)


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
    from gateway.client import PodUnreachable
    from gateway.settings import Settings
    from gateway.training.process import python_with_torch
    from gateway.training.promote import PromotionError, promote

    try:
        with tempfile.TemporaryDirectory() as folder:
            model, checkpoint = _source(args, Path(folder))
            python = python_with_torch(Settings(train_python=args.python))
            done = promote(model, checkpoint, python)
    except PodUnreachable as error:
        print(f"masquerade: {error}; start the pod, or name another by --url", file=sys.stderr)
        return UNREACHABLE
    except (PromotionError, MasqueradeError) as error:
        print(f"masquerade: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
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
    client = Client(args.url)
    training = client.training(args.source)
    checkpoint = folder / "last.pt"
    with checkpoint.open("wb") as file:
        client.download(training["checkpoint_url"], file)
    return training["model"], checkpoint
