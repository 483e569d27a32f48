"""Helpers for texts: one printable line, lists of names, numbers with their noun, and commands to repeat."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

# How Python holds the bytes of a name that are not UTF-8; such characters cannot be written as UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


def one_line(text: str) -> str:
    """Return `text` as one printable line: runs of white space become one space, control characters are escaped."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def valid_text(text: str) -> str:
    """Return `text` with the bytes that are not UTF-8, as file names may hold, in hexadecimal: backslash, x, e9."""
    return _SURROGATE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", text)


def name_list(names: Iterable[str]) -> str:
    """Return `names` joined for a sentence: "a", "a and b", "a, b and c"."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def number_of(count: int, word: str) -> str:
    """Return `count` with its noun: "1 row", "2 rows"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def strip_output(command: str) -> str:
    """Return `command` without its output folder, because a repetition in a finished folder would measure nothing.

    The command is returned unchanged if it has no such option, or if no shell could read it.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command

    # Words after "--" are never options. The option may be written -o X, -oX, --output X or --output=X.
    end = words.index("--") if "--" in words else len(words)
    kept, at = [], 0
    while at < end:
        if words[at] in ("-o", "--output"):
            at += 1  # the folder is the next word
        elif not words[at].startswith(("--output=", "-o")):
            kept.append(words[at])
        at += 1

    # `shlex.join` may quote in another way, so an unchanged command is returned as it was written.
    return command if len(kept) == end else shlex.join([*kept, *words[end:]])
