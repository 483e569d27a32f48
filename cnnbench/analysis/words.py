"""Words: texts from records on one line, lists of names, and numbers with their noun."""

from __future__ import annotations

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
