"""The command ``masquerade``: blur faces in files and folders, animate drawings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gateway.cli import animate, blur, capacity, jobs, keys, models, worker


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(argv)
    return int(args.run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="masquerade", description="Blur the faces in photos and videos; animate drawings."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (blur, animate, jobs, worker, models, keys, capacity):
        command.add_command(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        # Loads much that no other command needs.
        from importlib import metadata

        try:
            print(f"masquerade {metadata.version('masquerade')}")
        except metadata.PackageNotFoundError:
            print("masquerade (not installed)")
        parser.exit()
