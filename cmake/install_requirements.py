"""Installs the requirements that pyproject.toml names for the package and the given extras, not the package itself."""

from __future__ import annotations

import pathlib
import subprocess
import sys

from pip_command import pip

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def main() -> None:
    """Reads pyproject.toml in the current folder; the arguments are names of extras."""
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = list(project["dependencies"])
    for extra in sys.argv[1:]:
        requirements += project["optional-dependencies"][extra]
    subprocess.run(pip("install", "--quiet", *requirements), check=True)


if __name__ == "__main__":
    main()
