"""An end to calls that neither fail nor finish: a server that sends a byte a second, say.

Time limits of sockets only see silence. In the gateway, where waiting is gevent's, a whole
call can be given up; elsewhere a job's own deadline kills its process.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise ``TimeoutError`` out of a block that waits for sockets for longer than that.

    0 waits for ever, and so does a process without gevent's sockets.
    """
    monkey = sys.modules.get("gevent.monkey")
    if not seconds or monkey is None or not monkey.is_module_patched("socket"):
        yield
        return
    from gevent import Timeout

    timeout = Timeout(seconds)
    try:
        with timeout:
            yield
    except Timeout as over:
        if over is not timeout:
            raise
        raise TimeoutError(f"not within {seconds:g} s") from None
