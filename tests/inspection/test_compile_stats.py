"""What torch.compile made: graphs, breaks, recompilations; and samples in which nothing may be compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from cnnbench.inspection.compile_stats import CompileFacts, compile_facts, forbid_recompiles
from cnnbench.spec import InvalidError


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Breaking(nn.Module):
    """Leaves its graph once."""

    def forward(self, images: Tensor) -> Tensor:
        doubled = images * 2
        torch._dynamo.graph_break()
        return doubled + 1


class Counting(nn.Module):
    """Keeps a Python number that its graph depends on, so every call compiles anew."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images * self.calls


def compiled(model: nn.Module) -> Callable[[Tensor], Tensor]:
    made: Callable[[Tensor], Tensor] = torch.compile(model, backend="eager")
    return made


def seen(model: nn.Module, *shapes: tuple[int, ...]) -> CompileFacts:
    before = compile_facts()
    call = compiled(model)
    for shape in shapes:
        call(torch.ones(shape))
    return compile_facts().difference_since(before)


@pytest.mark.parametrize(
    ("model", "shapes", "facts"),
    [
        (nn.ReLU(), [(2, 3)] * 3, CompileFacts(graphs=1, graph_breaks=0, recompiles=0)),
        (Breaking(), [(2, 3)] * 3, CompileFacts(graphs=2, graph_breaks=1, recompiles=0)),
        (nn.ReLU(), [(2, 3), (4, 3)], CompileFacts(graphs=2, graph_breaks=0, recompiles=1)),
        (Counting(), [(2, 3)] * 3, CompileFacts(graphs=3, graph_breaks=0, recompiles=2)),
        (Breaking(), [(2, 3), (4, 3)], CompileFacts(graphs=4, graph_breaks=2, recompiles=2)),
    ],
    ids=["one graph", "a break", "another shape", "a changing number", "a break in another shape"],
)
def test_facts_of_compiling(model: nn.Module, shapes: list[tuple[int, ...]], facts: CompileFacts) -> None:
    assert seen(model, *shapes) == facts


@pytest.mark.parametrize("model", [nn.ReLU(), Breaking()], ids=["one graph", "a break"])
def test_what_is_compiled_already_goes_on_running(model: nn.Module) -> None:
    call, images = compiled(model), torch.ones(2, 3)
    expected = call(images)
    before = compile_facts()
    with forbid_recompiles():
        assert torch.equal(call(images), expected)
    assert compile_facts() == before


def test_a_recompilation_makes_the_cell_invalid() -> None:
    call = compiled(nn.ReLU())
    call(torch.ones(2, 3))
    with pytest.raises(InvalidError) as caught, forbid_recompiles():
        call(torch.ones(4, 3))
    assert str(caught.value) == (
        "the model was compiled again while it was measured: tensor 'args[0]' size mismatch at index 0. "
        "expected 2, actual 4"
    )


def test_after_the_samples_networks_compile_again() -> None:
    call = compiled(nn.ReLU())
    with (
        pytest.raises(InvalidError, match=r"^the model was compiled again while it was measured$"),
        forbid_recompiles(),
    ):
        call(torch.ones(2, 3))
    assert torch.equal(call(torch.ones(4, 3)), torch.ones(4, 3))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^the device was lost$"), forbid_recompiles():
        raise RuntimeError("the device was lost")
