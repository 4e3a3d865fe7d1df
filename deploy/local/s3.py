"""The local stand-in for AWS S3: nanio on loopback, with the CORS rule of a real bucket.

``python -m deploy.local.s3 --port 9000 --data-dir FOLDER``; keys come from
``NANIO_ACCESS_KEY`` and ``NANIO_SECRET_KEY``. nanio has no bucket CORS of its own,
and a page may only PUT to a presigned URL where the store allows its origin.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import uvicorn
from nanio.app import build_app
from starlette.middleware.cors import CORSMiddleware


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    args = parser.parse_args()
    args.data_dir.mkdir(parents=True, exist_ok=True)
    os.environ["NANIO_DATA_DIR"] = str(args.data_dir)
    app = CORSMiddleware(
        build_app(),
        allow_origin_regex=r"http://(127\.0\.0\.1|localhost)(:\d+)?",
        allow_methods=["GET", "PUT", "HEAD"],
        allow_headers=["*"],
    )
    # One process: uvicorn would take WEB_CONCURRENCY, which is meant for gunicorn, for its own.
    uvicorn.run(
        app, host="127.0.0.1", port=args.port, workers=1, access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
