"""`python -m detloss.benchmark.gpu`."""

from __future__ import annotations

import sys

from detloss.benchmark.gpu.command import main

if __name__ == "__main__":
    sys.exit(main())
