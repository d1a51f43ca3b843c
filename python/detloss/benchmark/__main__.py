"""`python -m detloss.benchmark`."""

from __future__ import annotations

import sys

from detloss.benchmark.command import main

if __name__ == "__main__":
    sys.exit(main())
