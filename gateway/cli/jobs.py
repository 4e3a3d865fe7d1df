"""The command ``masquerade jobs``: batches and trainings on a pod, submitted and watched."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.cli.common import (
    FAILED,
    OK,
    add_blur_options,
    add_parser,
    add_url,
    api_key,
    blur_options,
    guarded,
)
from gateway.errors import BadOption

if TYPE_CHECKING:
    from gateway.client import Client

_EXAMPLES = """\
examples:
  masquerade jobs submit s3://bucket/holiday/ s3://bucket/safe/ --style solid --watch
  masquerade jobs submit s3://bucket/in/ s3://bucket/out/ --workers 20 --device gpu
  masquerade jobs submit --train rigger --device gpu --gpus 2 --param rate=0.001
  masquerade jobs list
  masquerade jobs retry ID --watch

exit status:
  0 fine, 1 the job or some of its files failed, 2 wrong usage, 3 the pod cannot be
  reached, 130 interrupted (the job goes on; see "cancel")
"""


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    parser = add_parser(
        commands,
        "jobs",
        "blur whole buckets and folders, or train, on many workers",
        "Jobs that the pod's workers do: batches of photos and videos, trainings.",
        _EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    submit = _action(actions, "submit", "hand a new job in", _submit)
    _describe(submit)
    listing = _action(actions, "list", "the newest jobs", _list)
    listing.add_argument("-n", "--limit", type=int, default=20, help="how many (20)")
    _with_id(_action(actions, "show", "how a job is doing", _show))
    _with_id(_action(actions, "watch", "follow a job to its end", _watch))
    _with_id(_action(actions, "cancel", "stop a job; forget one that has ended", _cancel))
    retry = _with_id(_action(actions, "retry", "try what has failed again", _retry))
    for each in (submit, retry):
        each.add_argument("--watch", action="store_true", help="follow it to its end")


def _action(
    actions: Any, name: str, what: str, run: Callable[[Client, argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser = add_parser(actions, name, what, what)
    add_url(parser)
    parser.add_argument("--json", action="store_true", help="print the pod's answer as it is")
    parser.set_defaults(run=lambda args: guarded(lambda: _with_client(run, args)))
    return parser


def _with_id(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("id", metavar="ID", help="a job's id")
    return parser


def _describe(parser: argparse.ArgumentParser) -> None:
    place = "s3://bucket/prefix/, or a folder on the pod's machine that its settings allow"
    parser.add_argument("input", nargs="?", metavar="INPUT", help=place)
    parser.add_argument("output", nargs="?", metavar="OUTPUT", help="the same; mirrors the input")
    parser.add_argument("--train", metavar="MODEL", help="train this model instead of blurring")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the training script; VALUE is JSON, or else text",
    )
    who = parser.add_argument_group("who works on it")
    who.add_argument("--workers", type=int, metavar="N", help="to be launched (Kubernetes)")
    who.add_argument("--device", choices=("cpu", "gpu"), help="of their models (cpu)")
    who.add_argument("--gpus", type=int, metavar="N", help="for each of them (1)")
    add_blur_options(parser)
    parser.add_argument("--report", action="store_true", help="also write NAME.report.json")


def _with_client(run: Callable[[Client, argparse.Namespace], int], args: argparse.Namespace) -> int:
    from gateway.client import Client

    return run(Client(args.url, key=api_key(args)), args)


def _submit(client: Client, args: argparse.Namespace) -> int:
    view = client.submit(_wish(args))
    if not args.watch:
        print(json.dumps(view) if args.json else view["id"])
        return OK
    return _follow(client, view["id"], args)


def _wish(args: argparse.Namespace) -> dict[str, Any]:
    """What the arguments ask for, as the pod wants it."""
    given = {name: getattr(args, name) for name in ("workers", "device", "gpus")}
    wish = {name: value for name, value in given.items() if value is not None}
    if args.train:
        if args.input or args.output:
            raise BadOption("a training takes no INPUT and OUTPUT")
        params = dict(_param(text) for text in args.param)
        return {"pipeline": "train", "model": args.train, "params": params, **wish}
    if not args.input or not args.output:
        raise BadOption("name an INPUT and an OUTPUT")
    place = {"input": args.input, "output": args.output}
    how = {"options": blur_options(args), "report": args.report}
    return {"pipeline": "blur", **place, **wish, **how}


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise BadOption(f"--param takes NAME=VALUE, not {text[:40]!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _list(client: Client, args: argparse.Namespace) -> int:
    from gateway.cli.show_jobs import listing

    found = client.jobs(args.limit)
    print(json.dumps(found) if args.json else listing(found))
    return OK


def _show(client: Client, args: argparse.Namespace) -> int:
    return _print(client.view(args.id), args)


def _watch(client: Client, args: argparse.Namespace) -> int:
    return _follow(client, args.id, args)


def _cancel(client: Client, args: argparse.Namespace) -> int:
    view = client.cancel(args.id)
    print(json.dumps(view) if args.json else f"{view['id']} {view['status']}")
    return OK


def _retry(client: Client, args: argparse.Namespace) -> int:
    view = client.retry(args.id)
    if args.watch:
        return _follow(client, args.id, args)
    print(json.dumps(view) if args.json else f"{view['retried']} to be tried again")
    return OK


def _follow(client: Client, job_id: str, args: argparse.Namespace) -> int:
    from gateway.cli.show_jobs import Monitor

    monitor = Monitor(quiet=args.json)
    try:
        for view in client.follow(job_id):
            monitor.update(view)
    finally:
        monitor.close()
    return _print(client.view(job_id), args)


def _print(view: dict[str, Any], args: argparse.Namespace) -> int:
    from gateway.cli.show_jobs import sheet

    print(json.dumps(view) if args.json else sheet(view))
    failed = view["status"] == "failed" or bool(view.get("items", {}).get("failed"))
    return FAILED if failed else OK
