"""The command ``masquerade worker``: one more process that works on the queue's jobs."""

from __future__ import annotations

import argparse
from typing import Any

from gateway.cli.common import add_parser


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    worker = add_parser(
        commands,
        "worker",
        "work on the queue's jobs",
        "Work on jobs until told to stop (SIGTERM hands a job back). Any number of"
        " these, on any machine that reaches Redis, S3 and a TorchServe.",
    )
    worker.add_argument(
        "--burst", action="store_true", help="leave when no job is left in anybody's hands"
    )
    worker.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from gateway.jobs.worker import run

    return run(args.burst)
