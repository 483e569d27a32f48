"""Watch one forward pass with hooks, and record what each module contributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from cnnbench.record import Layer

# Name of the row for what the model itself does outside its submodules.
ROOT = "(model)"


@dataclass(kw_only=True, slots=True)
class _Call:
    """One call of a module, from its start to its end."""

    name: str
    module: nn.Module
    macs_before: int
    inner_macs: int = 0
    inner_calls: int = 0
    own_macs: int = 0
    output: tuple[torch.Tensor, ...] = ()

    @property
    def is_leaf(self) -> bool:
        return self.inner_calls == 0

    @property
    def computes(self) -> bool:
        return self.is_leaf or self.own_macs > 0


@dataclass(kw_only=True, slots=True)
class LayerHooks:
    """Watch the modules of a model; `macs_so_far` is read when a module starts and when it ends."""

    macs_so_far: Callable[[], int]
    calls: list[_Call] = field(default_factory=list)  # in the order of their starts
    _open: list[_Call] = field(default_factory=list)

    @contextmanager
    def attach(self, model: nn.Module) -> Iterator[None]:
        """Watch every module of `model` inside the context."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._starter(name or ROOT)))
            handles.append(module.register_forward_hook(self._end))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _starter(self, name: str) -> Callable[[nn.Module, object], None]:
        def start(module: nn.Module, _inputs: object) -> None:
            call = _Call(name=name, module=module, macs_before=self.macs_so_far())
            self.calls.append(call)
            self._open.append(call)

        return start

    def _end(self, _module: nn.Module, _inputs: object, output: object) -> None:
        call = self._open.pop()
        macs = self.macs_so_far() - call.macs_before
        call.own_macs = macs - call.inner_macs
        call.output = tuple(tensors(output))
        # The caller must not count these multiply-adds as its own.
        if self._open:
            self._open[-1].inner_macs += macs
            self._open[-1].inner_calls += 1

    def layers(self) -> tuple[Layer, ...]:
        """Return a row for each leaf call, and for other modules that compute or hold parameters themselves.

        MACs and parameters add up to those of the model, less `unused_params`. A parameter counts in the first row that
        uses it. Submodules that are never called give their parameters to the module that does their work. The
        output projection of nn.MultiheadAttention is one.
        """
        return tuple(layer for _, layer in self.placed_layers())

    def placed_layers(self) -> tuple[tuple[int, Layer], ...]:
        """Return the rows of `layers`, each with the number of its call in the order of their starts."""
        called = {id(call.module) for call in self.calls}
        seen: set[int] = set()
        rows = []

        for at, call in enumerate(self.calls):
            holders = _holders(call.module, called, deep=call.computes)
            # Parameters are told apart by identity, so that a shared one counts once.
            new = {id(p): p.numel() for module in holders for p in module.parameters(recurse=False)}
            params = sum(count for key, count in new.items() if key not in seen)
            seen.update(new)
            # A module that only calls others has a row if it holds parameters of its own.
            if call.computes or params:
                rows.append((at, _row(call, params)))

        return tuple(rows)

    def activation_bytes(self) -> int:
        """Return the bytes of the outputs of all leaf calls."""
        return sum(t.numel() * t.element_size() for call in self.calls if call.is_leaf for t in call.output)

    def unused_params(self, model: nn.Module) -> Mapping[str, int]:
        """Return the outermost modules that no row holds, with their parameter counts."""
        called = {id(call.module) for call in self.calls}
        held = {id(m) for call in self.calls for m in _holders(call.module, called, deep=call.computes)}
        return dict(_unheld_modules(model, "", held))


def tensors(output: object) -> Iterator[torch.Tensor]:
    """Yield the tensors in a module's output, through tuples, lists and mappings."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, Sequence) and not isinstance(output, str | bytes):
        for value in output:
            yield from tensors(value)


def _row(call: _Call, params: int) -> Layer:
    shape = tuple(call.output[0].shape) if call.output else ()
    return Layer(name=call.name, kind=type(call.module).__name__, output_shape=shape, params=params, macs=call.own_macs)


def _holders(module: nn.Module, called: set[int], *, deep: bool) -> Iterator[nn.Module]:
    """Yield the modules whose parameters a call of `module` uses: itself, and uncalled ones if it computes (`deep`)."""
    # Lists and dicts of parameters are never called; they belong to the module around them in any case.
    yield module
    for child in module.children():
        if id(child) not in called and (deep or isinstance(child, nn.ParameterList | nn.ParameterDict)):
            yield from _holders(child, called, deep=deep)


def _unheld_modules(module: nn.Module, path: str, held: set[int]) -> Iterator[tuple[str, int]]:
    for name, child in module.named_children():
        params = sum(p.numel() for p in child.parameters())
        # Look further down if a row holds a part of the child; otherwise the whole child is unused.
        if any(id(inner) in held for inner in child.modules()):
            yield from _unheld_modules(child, f"{path}{name}.", held)
        elif params:
            yield f"{path}{name}", params
