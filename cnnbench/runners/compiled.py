"""What torch.compile made of a network: graphs, breaks, recompilations; and a guard against recompiling in a sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from cnnbench.spec import InvalidError

_STANCE: Literal["fail_on_recompile"] = "fail_on_recompile"


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileFacts:
    """How many graphs were made, where a graph had to be left, and how often a function was compiled once more."""

    graphs: int
    graph_breaks: int
    recompiles: int

    def since(self, before: CompileFacts) -> CompileFacts:
        """Return what came after `before`."""
        return CompileFacts(
            graphs=self.graphs - before.graphs,
            graph_breaks=self.graph_breaks - before.graph_breaks,
            recompiles=self.recompiles - before.recompiles,
        )


def compile_facts() -> CompileFacts:
    """Return what torch.compile did in this process so far.

    Graphs and breaks are torch's own counters, which its guide to troubleshooting names (torch._dynamo.utils.counters);
    recompilations are the compilations of each function after its first. No public interface tells them.
    """
    from torch._dynamo.convert_frame import FRAME_COMPILE_COUNTER
    from torch._dynamo.utils import counters

    return CompileFacts(
        graphs=counters["stats"]["unique_graphs"],
        graph_breaks=sum(counters["graph_break"].values()),
        recompiles=sum(times - 1 for times in FRAME_COMPILE_COUNTER.values()),
    )


@contextmanager
def no_recompiles() -> Iterator[None]:
    """Be where nothing is compiled any more: around the measured passes of a compiled variant.

    It adds nothing to a pass: torch looks at it only where no compiled code fits. Entering it imports the compiler, so
    it is not for other variants.

    Raises:
        InvalidError: a call would have been compiled, so the samples would hold compiling or different code.
    """
    import torch

    with torch.compiler.set_stance(_STANCE):
        try:
            yield
        except RuntimeError as error:
            if _STANCE not in str(error):
                raise
            raise InvalidError(f"the network was recompiled while it was measured{_reason(str(error))}") from error


def _reason(text: str) -> str:
    """Return what torch says of the first guard that failed, such as ": tensor 'x' size mismatch"."""
    failed = next((line.strip() for line in text.splitlines() if line.strip().startswith("- ")), "")
    return f": {failed.removeprefix('- ').partition(': ')[2] or failed}" if failed else ""
