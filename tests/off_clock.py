"""A program on a machine whose clock is wrong: ``python -m tests.off_clock SECONDS MODULE …``."""

from __future__ import annotations

import runpy
import sys
from datetime import UTC, datetime, timedelta

import time_machine

if __name__ == "__main__":
    wrong = datetime.now(UTC) + timedelta(seconds=float(sys.argv[1]))
    time_machine.travel(wrong, tick=True).start()  # also in the processes forked from this one
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
