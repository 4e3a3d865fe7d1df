"""Draw the picture at the top of the README: ``python -m docs.make_before_after``.

Needs a running pod (``make up``): the photo takes the real way through it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from deploy.local.pod import PORT
from deploy.local.samples import write_photo
from gateway.client import Client, Result


def main() -> int:
    """Write ``docs/before_after.jpg``."""
    client = Client(f"http://127.0.0.1:{sys.argv[1] if len(sys.argv) > 1 else PORT}")
    with tempfile.TemporaryDirectory() as folder:
        photo = write_photo(Path(folder) / "photo.jpg")
        answer = client.blur(photo, {})
        if not isinstance(answer, Result):
            raise TypeError("a photo is answered at once")
        blurred = Path(folder) / "blurred.jpg"
        with blurred.open("wb") as file:
            client.download(answer.url, file)
        pair = [cv2.imread(str(p)) for p in (photo, blurred)]
    gap = np.full((512, 12, 3), 255, np.uint8)
    picture = np.hstack([pair[0], gap, pair[1]])
    cv2.imwrite(str(Path(__file__).parent / "before_after.jpg"), picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
