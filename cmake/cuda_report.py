"""Compiles every .cu as the build does and shows what kernels take; fails where registers spill or a compiler warns.

The argument is a build folder that was configured for nvcc with CMAKE_EXPORT_COMPILE_COMMANDS=ON and
without DETLOSS_CUDA_WERROR.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

from rich.console import Console
from rich.table import Table


@dataclasses.dataclass
class Usage:
    """What ptxas says of a function on an architecture; a function that is not a kernel has no registers of its own."""

    registers: int | None = None
    shared_bytes: int = 0
    stack_bytes: int = 0
    spill_bytes: int = 0


def compile_all(folder: pathlib.Path) -> dict[str, str]:
    """What compiling printed, by source; stops with a message of its own where a compilation fails."""
    commands = json.loads((folder / "compile_commands.json").read_text())
    commands = [command for command in commands if command["file"].endswith(".cu")]
    if not commands:
        sys.exit("cuda_report: this build has no CUDA sources that nvcc compiles")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        return {
            pathlib.Path(command["file"]).stem: messages
            for command, messages in zip(commands, threads.map(compile_one, commands), strict=True)
        }


def compile_one(command: dict[str, str]) -> str:
    """What compiling one source printed."""
    # Architectures side by side would mix their messages.
    arguments = [argument for argument in shlex.split(command["command"]) if not argument.startswith("--threads")]
    directory = pathlib.Path(command["directory"])
    (directory / arguments[arguments.index("-o") + 1]).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*arguments, "-Xptxas=-v"], cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cuda_report: {command['file']} does not compile\n{done.stderr}")
    return done.stdout + done.stderr


def parse(messages: str) -> dict[tuple[str, str], Usage]:
    """Usage by function and architecture."""
    usages: dict[tuple[str, str], Usage] = {}
    kernel = function = architecture = ""
    for line in demangle(messages).splitlines():
        if match := re.search(r"Compiling entry function '(.+)' for 'sm_(\w+)'", line):
            kernel, architecture = match.groups()
        elif match := re.search(r"Function properties for (.+)", line):
            function = match[1]
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            usage = usages.setdefault((function, architecture), Usage())
            usage.stack_bytes, usage.spill_bytes = int(match[1]), int(match[2]) + int(match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            usage = usages.setdefault((kernel, architecture), Usage())
            usage.registers = int(match[1])
            shared = re.search(r"(\d+) bytes smem", line)
            usage.shared_bytes = int(shared[1]) if shared else 0
    return usages


def demangle(text: str) -> str:
    """The text with functions as the sources name them, with template arguments and without parameters."""
    done = subprocess.run(["c++filt", "--no-params"], input=text, capture_output=True, text=True, check=True)
    return re.sub(r"detloss::|\(anonymous namespace\)::", "", done.stdout)


def make_table(usages: dict[tuple[str, str, str], Usage]) -> Table:
    """A row per kernel and architecture; the keys are source, function and architecture."""
    table = Table(title="CUDA kernels (memory in bytes)", title_justify="left")
    table.add_column("kernel", overflow="fold")
    for title in ("sm", "registers", "shared", "stack", "spilled"):
        table.add_column(title, justify="right", no_wrap=True)
    order = sorted(usages, key=lambda key: (*key[:2], int(re.sub(r"\D", "", key[2]))))
    for kernel, of_kernel in itertools.groupby(order, key=lambda key: key[:2]):
        for position, key in enumerate(of_kernel):
            usage = usages[key]
            table.add_row(
                ": ".join(kernel) if position == 0 else "",
                key[2],
                "" if usage.registers is None else str(usage.registers),
                str(usage.shared_bytes),
                str(usage.stack_bytes),
                str(usage.spill_bytes),
                style="red" if usage.spill_bytes else None,
            )
        table.add_section()
    return table


def main() -> None:
    """Prints the table, the warnings, and whether all is well."""
    console = Console()
    messages = compile_all(pathlib.Path(sys.argv[1]))
    usages = {(source, *key): usage for source, text in messages.items() for key, usage in parse(text).items()}
    warnings = [line for line in "".join(messages.values()).splitlines() if re.search(r"\bwarning\b", line)]
    console.print(make_table(usages))
    for warning in warnings:
        console.print(demangle(warning), style="yellow", markup=False, highlight=False, soft_wrap=True)
    kernels, architectures = {key[:2] for key in usages}, {key[2] for key in usages}
    spilling = sum(usage.spill_bytes > 0 for usage in usages.values())
    console.print(
        f"{len(kernels)} kernels, {len(architectures)} architectures: {spilling} times spilled registers, "
        f"{len(warnings)} warnings",
        highlight=False,
    )
    sys.exit(1 if spilling or warnings or not usages else 0)


if __name__ == "__main__":
    main()
