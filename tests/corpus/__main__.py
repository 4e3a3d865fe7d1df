"""``python -m tests.corpus SEED:INDEX [--url URL] [--out FOLDER]``: one case, made again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import requests

from tests.corpus.cases import case
from tests.corpus.samples import sample
from tests.corpus.sending import Sender, fault


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("case", help="as a failed test names it, such as 0:17")
    parser.add_argument("--url", help="send it to the service there")
    parser.add_argument("--out", type=Path, help="write it into this folder")
    asked = parser.parse_args()
    made = case(asked.case)
    print(made.label, f"{sum(map(len, made.parts))} bytes")
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(made.parts):
            (asked.out / f"{number}.{made.kind}").write_bytes(part)
    if not asked.url:
        return 0
    answer = Sender(asked.url, _rig(asked.url) if made.route == "mask" else "").send(made)
    wrong = fault(answer)
    print(answer.status_code, answer.text[:2000])
    print(wrong or "as the contract says")
    return wrong is not None


def _rig(url: str) -> str:
    answer = requests.post(f"{url}/v1/rigs", files={"file": sample("drawing")}, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["rig_id"])


if __name__ == "__main__":
    sys.exit(main())
