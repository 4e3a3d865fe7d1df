"""``python -m gateway.cli``: the same command where the script is not on the path."""

import sys

from gateway.cli import main

sys.exit(main())
