"""Read pickles of arrays, lists, strings and numbers, and refuse every other pickle before any of it runs."""

from __future__ import annotations

import io
import pickle

from cnnbench.spec import UsageError

# The only names that a pickle may use: those that make arrays. Lists, dictionaries, strings and numbers need none.
_ADMITTED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)


class _Restricted(pickle.Unpickler):
    """An unpickler that can make arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        """Return the object that an admitted name stands for.

        Raises:
            UsageError: the name is not admitted.
        """
        if (module, name) not in _ADMITTED:
            raise UsageError(
                f"it refers to {module}.{name}, but a dataset's pickle may hold only arrays, lists, strings and "
                "numbers. No code in it was run."
            )
        import numpy as np

        return {"_reconstruct": _empty_array, "ndarray": np.ndarray, "dtype": np.dtype}[name]


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> object:
    """Return an empty array for a pickled one to fill; numpy's own function is private, and admits other classes."""
    import numpy as np

    del shape, code  # always (0,) and b"b": the real ones follow
    if kind is not np.ndarray:
        raise UsageError("it holds something that only looks like an array.")
    return np.ndarray.__new__(np.ndarray, (0,), dtype=np.int8)


def load_pickle(content: bytes, where: str) -> object:
    """Return the content of a pickle, with Python 2's strings as bytes; `where` names the pickle in errors.

    Raises:
        UsageError: the pickle is damaged, or holds something that is not admitted.
    """
    try:
        return _Restricted(io.BytesIO(content), encoding="bytes").load()
    except UsageError as error:
        raise UsageError(f"{where} is refused: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UsageError(f"{where} is damaged: {type(error).__name__}: {error}") from error
