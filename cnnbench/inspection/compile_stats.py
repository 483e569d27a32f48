"""What torch.compile made of a model: graphs, breaks, recompilations; and a guard against recompiling in a sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cnnbench.spec import InvalidError


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
    """Be where nothing may be compiled any more: around a measured sample of a compiled variant.

    It looks at torch's counter before and after, so it costs the passes nothing; torch's own guard, the stance
    fail_on_recompile, adds a microsecond to each call, 4 % of a small model. The first use imports the compiler, so
    it is not for other variants.

    Raises:
        InvalidError: something was compiled inside, so the sample holds compiling or other code than the rest.
    """
    before = _compilations()
    yield
    if _compilations() != before:
        raise InvalidError(f"the model was compiled again while it was measured{_last_reason()}")


def _compilations() -> int:
    from torch._dynamo.convert_frame import FRAME_COMPILE_COUNTER

    return sum(FRAME_COMPILE_COUNTER.values())


def _last_reason() -> str:
    """Return why torch compiled last, such as ": tensor 'x' size mismatch"; empty where it compiled something new."""
    from torch._dynamo.utils import get_compilation_metrics

    reason = next((m.recompile_reason for m in reversed(get_compilation_metrics()) if m.is_forward), None)
    return f": {reason.partition(': ')[2]}" if reason else ""
