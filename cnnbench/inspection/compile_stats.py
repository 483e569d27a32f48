"""Read what torch.compile made (graphs, breaks, recompilations), and guard samples against recompiling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cnnbench.spec import InvalidError


@dataclass(frozen=True, kw_only=True, slots=True)
class CompileFacts:
    """How many graphs torch.compile made, how often it had to leave one, and how often it compiled a function again."""

    graphs: int
    graph_breaks: int
    recompiles: int

    def difference_since(self, before: CompileFacts) -> CompileFacts:
        """Return what was added after `before`."""
        return CompileFacts(
            graphs=self.graphs - before.graphs,
            graph_breaks=self.graph_breaks - before.graph_breaks,
            recompiles=self.recompiles - before.recompiles,
        )


def compile_facts() -> CompileFacts:
    """Return what torch.compile has done in this process so far.

    Graphs and breaks come from torch's own counters (torch._dynamo.utils.counters), which its troubleshooting guide
    names. Recompilations are the compilations of each function after its first. No public interface reports them.
    """
    from torch._dynamo.convert_frame import FRAME_COMPILE_COUNTER
    from torch._dynamo.utils import counters

    return CompileFacts(
        graphs=counters["stats"]["unique_graphs"],
        graph_breaks=sum(counters["graph_break"].values()),
        recompiles=sum(times - 1 for times in FRAME_COMPILE_COUNTER.values()),
    )


@contextmanager
def forbid_recompiles() -> Iterator[None]:
    """Guard a measured sample of a compiled variant: nothing may be compiled inside.

    It reads torch's counter before and after, so it costs the passes nothing. Its first use imports the compiler, so it
    is for compiled variants alone. torch's own guard, the stance fail_on_recompile, adds a microsecond to each call,
    4 % of a small model.

    Raises:
        InvalidError: something was compiled inside, so the sample holds compile time, or runs other code than the rest.
    """
    before = _compilations()
    yield
    if _compilations() != before:
        raise InvalidError(f"the model was compiled again while it was measured{_last_reason()}")


def _compilations() -> int:
    from torch._dynamo.convert_frame import FRAME_COMPILE_COUNTER

    return sum(FRAME_COMPILE_COUNTER.values())


def _last_reason() -> str:
    """Return why torch compiled last, such as ": tensor 'x' size mismatch"; empty if it compiled something new."""
    from torch._dynamo.utils import get_compilation_metrics

    reason = next((m.recompile_reason for m in reversed(get_compilation_metrics()) if m.is_forward), None)
    return f": {reason.partition(': ')[2]}" if reason else ""
