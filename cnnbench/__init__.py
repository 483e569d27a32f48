"""cnnbench: benchmark and compare PyTorch image classifiers.

`cnnbench.compare(["lenet", "resnet18"])` measures and returns a report; everything else is on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cnnbench._version import __version__

if TYPE_CHECKING:
    from cnnbench.api import PrintableReport

__all__ = ["__version__", "compare"]


def compare(models: list[str], **options: Any) -> PrintableReport:
    """Measure `models` side by side and return the report; `cnnbench.api.compare` lists the options."""
    from cnnbench import api  # imported here, so that `cnnbench --help` does not load the analysis

    return api.compare(models, **options)
