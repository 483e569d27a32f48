"""Words: texts from records on one line, lists of names, numbers with their noun, and commands to repeat."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def one_line(text: str) -> str:
    """Return `text` as one printable line: white space runs become one space, control characters their escapes."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def listed(names: Iterable[str]) -> str:
    """Return `names` as a sentence holds them: "a", "a and b", "a, b and c"."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def number_of(count: int, word: str) -> str:
    """Return `count` with its noun: "1 row", "2 rows"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def without_output(command: str) -> str:
    """Return `command` without its output folder: repeated with a finished one, it would measure nothing.

    A command without such an option, or that no shell could read, stays as it is to the letter.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return command

    end = words.index("--") if "--" in words else len(words)
    kept, at = [], 0
    while at < end:
        if words[at] in ("-o", "--output"):
            at += 1  # the folder is the next word
        elif not words[at].startswith(("--output=", "-o")):
            kept.append(words[at])
        at += 1

    return command if len(kept) == end else shlex.join([*kept, *words[end:]])
