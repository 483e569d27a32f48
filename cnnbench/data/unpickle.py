"""Read pickles that hold arrays, lists, strings and numbers, and refuse every other one before anything of it runs."""

from __future__ import annotations

import io
import pickle

from cnnbench.spec import UsageError

# All that a pickle may name: what arrays are made of. Lists, dictionaries, strings and numbers need no name.
_ADMITTED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)


class _Restricted(pickle.Unpickler):
    """Knows how arrays are made, and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        """Return what an admitted name stands for.

        Raises:
            UsageError: it is another name.
        """
        if (module, name) not in _ADMITTED:
            raise UsageError(
                f"it names {module}.{name}, and a dataset's pickle holds arrays, lists, strings and numbers only. "
                "Nothing of it was run."
            )
        import numpy as np

        return {"_reconstruct": _empty_array, "ndarray": np.ndarray, "dtype": np.dtype}[name]


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> object:
    """Return what a pickled array is filled into: numpy's own function is private, and takes other classes too."""
    import numpy as np

    del shape, code  # always (0,) and b"b": the real ones follow
    if kind is not np.ndarray:
        raise UsageError("it holds something that only looks like an array.")
    return np.ndarray.__new__(np.ndarray, (0,), dtype=np.int8)


def load_pickle(content: bytes, where: str) -> object:
    """Return what a pickle holds; strings of Python 2 become bytes. `where` names it in errors.

    Raises:
        UsageError: it is damaged, or holds something that is not admitted.
    """
    try:
        return _Restricted(io.BytesIO(content), encoding="bytes").load()
    except UsageError as error:
        raise UsageError(f"{where} is refused: {error}") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UsageError(f"{where} is damaged: {type(error).__name__}: {error}") from error
