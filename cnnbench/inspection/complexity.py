"""Count what a model costs on paper: parameters, multiply-adds, bytes, and its table of layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cnnbench.inspection.flop_counters import TorchCount, TorchinfoCount, count_fvcore, count_torch, count_torchinfo
from cnnbench.inspection.flop_formulas import packed_tensors
from cnnbench.inspection.layer_hooks import tensors
from cnnbench.jobs import Assignment
from cnnbench.models.lazy_layers import initialise_lazy
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import CnnbenchError, Shape, UnsupportedError
from cnnbench.training.scoring import main_logits

# Most multiply-adds for fvcore, which does the arithmetic: some seconds on one core. More would take longer than
# anyone waits.
FVCORE_MAX_MACS = 10**11

_RANDOM_FILLS = frozenset(
    {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.exponential_, torch.Tensor.log_normal_}
)


class _ZeroFill(TorchFunctionMode):
    """Fill with zeros in place of random numbers: no count depends on the values of weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace a random fill, and pass on every other call."""
        return args[0].zero_() if func in _RANDOM_FILLS else func(*args, **(kwargs or {}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """A counted model, on the device where it was counted, with the image that it was given and the count."""

    model: nn.Module
    images: torch.Tensor
    count: TorchCount


def measure_complexity(build: Callable[[], nn.Module], input_shape: Shape) -> Outcome:
    """Return counts and layer table of a fresh eager fp32 model for one image (channels, height, width).

    Nothing is timed. `build` is called two or three times: first on the meta device, which needs shapes alone and does
    no arithmetic. It is called on the CPU if that fails, and for fvcore, which traces values. Random state, the
    attention fast path, warning filters and logging are left as they were.

    Raises:
        CnnbenchError: the model does not take such an image, or returns no tensor.
    """
    counted = count_pass(build, input_shape)
    model, count = counted.model, counted.count
    output = next(tensors(count.output), None)
    if output is None:
        raise CnnbenchError(f"The model returned a {type(count.output).__name__} that holds no tensor.")

    # The output of anything but a classifier has no number of classes.
    try:
        classes, about_classes = main_logits(count.output).shape[1], ""
    except UnsupportedError as error:
        classes, about_classes = None, str(error)

    layers = count.watch.layers()
    # Two other counters check torch's numbers. If one fails, the count is missing and a note says why.
    by_fvcore, about_fvcore = _count_fvcore(build, input_shape, count.macs)
    by_torchinfo, about_torchinfo = _attempt("torchinfo", lambda: count_torchinfo(model, counted.images, layers))
    # Buffers, such as the statistics of BatchNorm, are stored with the weights and count among their bytes.
    packed = tuple(packed_tensors(model))
    stored = (*model.parameters(), *model.buffers(), *packed)
    quantities = {
        "params": sum(p.numel() for p in (*model.parameters(), *packed)),
        "trainable_params": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "macs": count.macs,
        "macs_fvcore": by_fvcore,
        **_torchinfo_quantities(by_torchinfo),
        "classes": classes,
        "weight_bytes": sum(t.numel() * t.element_size() for t in stored),
        "activation_bytes": count.watch.activation_bytes(),
        "operator_calls": count.operator_calls,
    }

    return Outcome(
        measurements=tuple(
            Measurement(quantity=name, samples=(float(value),))
            for name, value in quantities.items()
            if value is not None
        ),
        layers=layers,
        notes=(
            *_torch_notes(count),
            *_unused_notes(count.watch.unused_params(model)),
            about_fvcore,
            about_torchinfo,
            *filter(None, (about_classes,)),
        ),
    )


def count_pass(build: Callable[[], nn.Module], input_shape: Shape) -> Counted:
    """Return what torch counts in a pass of one image, on the meta device if the model allows it.

    Some models compute with tensors while they are built. These are built on the CPU and then moved to the meta device.
    Some fail there too, because they look at values. These run on the CPU. Errors are those of `measure_complexity`.
    """
    for built_on in ("meta", "cpu"):
        try:
            return _count(build, input_shape, built_on=built_on, run_on="meta")
        except Exception:  # noqa: S112 - the last attempt, on the CPU, says what is wrong
            continue
    return _count(build, input_shape, built_on="cpu", run_on="cpu")


def _count(build: Callable[[], nn.Module], input_shape: Shape, *, built_on: str, run_on: str) -> Counted:
    with _enter_fresh_state(built_on):
        model = build().float().eval().to(run_on)

    # An image of zeros will do: no count depends on its values.
    with _enter_fresh_state(run_on):
        images = torch.zeros(1, *input_shape)
        try:
            initialise_lazy(model, input_shape)
            return Counted(model=model, images=images, count=count_torch(model, images))
        except Exception as error:
            shape = "x".join(map(str, input_shape))
            first = str(error).strip().partition("\n")[0]
            raise CnnbenchError(f"The model fails on one image of {shape}: {type(error).__name__}: {first}") from error


def _count_fvcore(build: Callable[[], nn.Module], input_shape: Shape, macs: int) -> tuple[int | None, str]:
    if macs > FVCORE_MAX_MACS:
        return None, f"fvcore is left out above {FVCORE_MAX_MACS / 1e9:.0f} G multiply-adds, because it runs the model."

    # fvcore traces values, so it gets a model of its own on the CPU.
    def count() -> tuple[int, str]:
        with _enter_fresh_state("cpu"):
            model = build().float().eval()
            initialise_lazy(model, input_shape)
            return count_fvcore(model, torch.zeros(1, *input_shape), macs)

    return _attempt("fvcore", count)


_Count = TypeVar("_Count")


def _attempt(counter: str, count: Callable[[], tuple[_Count, str]]) -> tuple[_Count | None, str]:
    """Return the result of a second counter, or None and a note if it cannot follow the model."""
    try:
        return count()
    except Exception as error:
        # torchinfo wraps the error of the model, which says more, in one of its own.
        cause = error.__cause__ or error
        first = str(cause).strip().partition("\n")[0]
        return None, f"{counter} cannot count this model ({type(cause).__name__}: {first})."


@contextmanager
def _enter_fresh_state(device: str) -> Iterator[None]:
    """Build and run on `device` with zeros for weights; restore the random state and the warning filters after."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.device(device), _ZeroFill():
        warnings.simplefilter("ignore")
        yield


def _torchinfo_quantities(count: TorchinfoCount | None) -> dict[str, int]:
    if count is None:
        return {}
    return {
        "macs_torchinfo": count.macs,
        "torchinfo_input_bytes": count.input_bytes,
        "torchinfo_output_bytes": count.output_bytes,
        "torchinfo_param_bytes": count.param_bytes,
    }


def _torch_notes(count: TorchCount) -> tuple[str, ...]:
    notes = []
    if count.foreign:
        calls = ", ".join(f"{name} {n}" for name, n in sorted(count.foreign.items()))
        notes.append(f"The MACs are a lower bound: the cost of these operators is unknown, with their calls: {calls}.")
    if count.uncounted:
        calls = ", ".join(f"{name} {n}" for name, n in sorted(count.uncounted.items()))
        notes.append(f"Operators that torch's counter does not count, with their calls: {calls}.")
    return tuple(notes)


def _unused_notes(unused_params: Mapping[str, int]) -> tuple[str, ...]:
    if not unused_params:
        return ()
    modules = ", ".join(f"{name} ({params:,})" for name, params in unused_params.items())
    return (f"The layer table leaves out modules that evaluation does not call, with their parameters: {modules}.",)


def run(assignment: Assignment) -> Outcome:
    """Count the assignment's model; see `measure_complexity`."""
    return measure_complexity(assignment.spec.build, assignment.spec.input_shape)
