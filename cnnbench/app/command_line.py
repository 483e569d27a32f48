"""Find out how the program was called, for the records and for commands that a user can type again."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "cnnbench"


def recorded_command() -> str:
    """Return the command for the records; it is the same on every machine, however the program was started."""
    return shlex.join([NAME, *sys.argv[1:]])


def typed_command(arguments: Sequence[str] | None = None) -> str:
    """Return the command that starts this program here again, with `arguments` or, if None, with the current ones."""
    return shlex.join([*program(sys.argv, sys.orig_argv), *(sys.argv[1:] if arguments is None else arguments)])


def program(argv: Sequence[str], orig_argv: Sequence[str]) -> tuple[str, ...]:
    """Return the words before the arguments: `.venv/bin/python -m cnnbench`, a script's path, or its name if found.

    `argv` and `orig_argv` are those of `sys`. A script on the search path is started by its name alone, because the
    shell passes the whole path whether or not the user typed it.
    """
    started = Path(argv[0])
    # After `python -m`, `argv` holds the path of `__main__.py`; the words that started it are in `orig_argv` alone.
    if started.parts[-2:] == (NAME, "__main__.py"):
        return tuple(orig_argv[: len(orig_argv) - len(argv) + 1])
    if started.stem == NAME and shutil.which(NAME) != argv[0]:
        return (argv[0],)
    return (NAME,)
