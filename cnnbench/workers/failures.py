"""Turn an exception in a worker into a failure: a status, and a text that leads the user to the cause."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from cnnbench.record import Status
from cnnbench.spec import CnnbenchError, InvalidError, UnsupportedError
from cnnbench.workers.messages import Failure

_MEMORY_WORDS = ("can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc", "cannot allocate")


def describe(error: BaseException) -> Failure:
    """Return the failure for an exception: its status, and where the user finds the cause."""
    code = error.exit_code if isinstance(error, CnnbenchError) else CnnbenchError.exit_code
    return Failure(status=_status(error), error=_text(error), exit_code=code)


def _status(error: BaseException) -> Status:
    import torch

    if isinstance(error, UnsupportedError):
        return "unsupported"
    if isinstance(error, InvalidError):
        return "invalid"
    # Many libraries raise a RuntimeError when memory runs out, so the words of the message decide.
    text = str(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(w in text for w in _MEMORY_WORDS):
        return "oom"
    return "failed"


def _text(error: BaseException) -> str:
    if isinstance(error, CnnbenchError):
        return str(error)
    # Our own errors are written for users; others need their type, file and line.
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {said}{where}"


def mention_option(failure: Failure, waited_s: float) -> Failure:
    """Return `failure`; the text of a timeout names the seconds that the worker had, and the option for more."""
    if failure.status != "timeout":
        return failure
    return replace(failure, error=f"no answer within {waited_s:g} s (--timeout)")
