"""What an exception in a worker stands for: a status, and a text that leads a user to its cause."""

from __future__ import annotations

import traceback
from dataclasses import replace
from pathlib import Path

from cnnbench.record import Status
from cnnbench.spec import CnnbenchError, InvalidError, UnsupportedError
from cnnbench.workers.messages import Failure

_MEMORY_WORDS = ("can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc", "cannot allocate")


def describe(error: BaseException) -> Failure:
    """Return the failure that an exception stands for: its status, and where a user finds its cause."""
    code = error.exit_code if isinstance(error, CnnbenchError) else CnnbenchError.exit_code
    return Failure(status=_status(error), error=_text(error), exit_code=code)


def _status(error: BaseException) -> Status:
    import torch

    if isinstance(error, UnsupportedError):
        return "unsupported"
    if isinstance(error, InvalidError):
        return "invalid"
    text = str(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(w in text for w in _MEMORY_WORDS):
        return "oom"
    return "failed"


def _text(error: BaseException) -> str:
    if isinstance(error, CnnbenchError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {said}{where}"


def with_option(failure: Failure, waited_s: float) -> Failure:
    """Return `failure` with the seconds that a worker had, and the option that gives it more, where it had too few."""
    if failure.status != "timeout":
        return failure
    return replace(failure, error=f"no answer within {waited_s:g} s (--timeout)")
