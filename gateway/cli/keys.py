"""The command ``masquerade keys``: API keys for the users of a service."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gateway.cli.common import OK, add_parser, guarded
from gateway.errors import BadOption

_EXAMPLES = """\
examples:
  masquerade keys new phone-app
  masquerade keys new phone-app --rate '20/second;600/minute' --day 10737418240
  masquerade keys new phone-app --file keys >phone-app.key     adds the line to the file

The service keeps the line, which holds a hash and no key: in MASQUERADE_API_KEYS, or in the
file that MASQUERADE_API_KEYS_FILE names, which it reads again when it changes. To change a key,
make another of the same name, give it to the client, then take the old line out.
"""


def add_command(commands: Any) -> None:
    """Add the command to an argparse subparsers object; its namespace has ``run``."""
    what = "make API keys"
    parser = add_parser(commands, "keys", what, "Keys by which the service knows its users.")
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    new = add_parser(actions, "new", "make a key", "Make a key. It is shown only once.", _EXAMPLES)
    new.add_argument(
        "name", metavar="NAME", help="whose it is; what they make belongs to this name"
    )
    limits = new.add_argument_group("limits (unset: the service's defaults)")
    limits.add_argument("--rate", help="requests, such as 600/minute or 20/second;600/minute")
    limits.add_argument("--size", type=int, metavar="BYTES", help="largest request")
    limits.add_argument("--day", type=int, metavar="BYTES", help="sent in a day; 0 for no limit")
    new.add_argument("--file", type=Path, help="add the line to this file, print the key alone")
    new.set_defaults(run=lambda args: guarded(lambda: _new(args)))


def _new(args: argparse.Namespace) -> int:
    from gateway.access.keys import Key, digest_of, new_key, parse

    secret = new_key()
    line = str(Key(args.name, digest_of(secret), args.rate, args.size, args.day))
    try:
        parse(line)
    except ValueError:
        raise BadOption(
            "a name is letters, digits and . _ -; a rate such as 600/minute; sizes are bytes"
        ) from None
    if args.file is None:
        print(f"key, for the client, shown only now:\n  {secret}\nline, for the service:\n  {line}")
        return OK
    with args.file.open("a+") as file:
        file.seek(0)
        ended = file.read()[-1:] in ("", "\n")
        file.write(f"{'' if ended else chr(10)}{line}\n")
    print(secret)
    return OK
