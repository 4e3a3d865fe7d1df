"""Lines of subtitles in which a drone or camera tells where it was, not what was said.

Drones write a track of them beside each video: ``GPS (8.5417, 47.3769, 20)``,
``[latitude: 47.3769]``, ``HOME(8.5417,47.3769)``; others write NMEA 0183 or ISO 6709.
"""

from __future__ import annotations

import re

_PLACE = re.compile(
    r"""
      \bgps \W{0,4} [-+]? \d
    | \b (?: home | (?: lat | lon | long | lng | latitude | longitude | longtitude
           | altitude | abs_alt | rel_alt ) )
      \s* [:=(] \s* [-+]? \d
    | \d \.\d{4,} [^\d.\n]{1,4} \d{1,3} \.\d{4,}      # two numbers as fine as degrees
    | \d \s* ° \s* \d+ [^\n]{0,16} [NSEW] \b          # degrees and minutes
    | \$ G[A-Z] (?: RMC | GGA | GLL ) ,
    """,
    re.IGNORECASE | re.VERBOSE,
)


def tells_place(line: bytes) -> bool:
    """Whether one packet of a text subtitle tells a place; UTF-8 or UTF-16, headers and all."""
    return bool(_PLACE.search(line.replace(b"\0", b"").decode("utf-8", "replace")))
