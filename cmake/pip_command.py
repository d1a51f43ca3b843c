"""How the build's scripts run pip."""

from __future__ import annotations

import sys

# As `python -m pip`, but nothing is imported from the working folder, where a `pip.py` may lie. Python before 3.11 has
# no option for that which leaves PYTHONPATH alone, and pip's isolated builds live by PYTHONPATH.
_RUN = (
    "import sys; sys.path[:] = sys.path[not getattr(sys.flags, 'safe_path', False):]; "
    "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)


def pip(*arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-c", _RUN, *arguments]
