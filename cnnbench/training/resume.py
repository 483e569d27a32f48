"""A training in progress in a file: weights, optimiser, random states and sums, whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from cnnbench.checkpoint import write_tensors
from cnnbench.spec import CnnbenchError, Recipe, UsageError
from cnnbench.training.state import EpochSeen, EpochTotals, StepSeen, TrainingState

_KEY = "cnnbench-training"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a training is of: another one cannot go on with it. `torch` and `threads` decide about the last bits.

    `data` says in words which images they are; `frozen_weights` is a checksum of what features are computed with.
    """

    model: str
    dataset: str
    data: tuple[str, ...]
    recipe: Recipe
    variant: str
    log_every: int = 0
    device: str
    processes: int
    deterministic: bool
    seed: int
    threads: int
    torch: str
    frozen_weights: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    identity: Identity
    epoch: int
    sums: EpochTotals
    seen: tuple[EpochSeen, ...]
    by_step: tuple[StepSeen, ...] = ()


def state_path(checkpoint: Path) -> Path:
    """Return the file of the training in progress that ends in `checkpoint`."""
    return checkpoint.with_suffix(".state.safetensors")


class FileKeeper:
    """Keeps a training in a file; see `fit.Checkpointer`."""

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        epochs: int,
        resume: bool,
        stop: Callable[[], bool],
        writes: bool = True,
    ) -> None:
        """Keep the training of `identity` over `epochs` in `path`, and go on with what is there if `resume`.

        One process of a team `writes`; all of them read.
        """
        self._writes = writes
        self._path = path
        self._identity = identity
        self._epochs = epochs
        self._resume = resume
        self.stop = stop

    def epoch_kept(self) -> int:
        """Return the epoch that a training would go on in, 1 for one that begins.

        Raises:
            UsageError: the file is damaged, of another training, or further than it is to go.
        """
        kept = self._kept()
        return 1 if kept is None else kept.epoch

    def restore(self, fitting: TrainingState) -> None:
        """Put `fitting` where the file left off, if it is there and going on is asked for.

        Raises:
            UsageError: the file is damaged, of another training, or further than it is to go.
        """
        kept = self._kept()
        if kept is None:
            return
        try:
            tensors = load_file(self._path)
        except (OSError, SafetensorError) as error:
            raise self._damaged(error) from error
        fitting.go_to(kept.epoch)
        _put_back(fitting, tensors)
        fitting.sums, fitting.seen, fitting.seen_by_step = kept.sums, list(kept.seen), list(kept.by_step)

    def _kept(self) -> _Kept | None:
        """Return what the file says beside its tensors, checked; None where nothing is to be gone on with."""
        if not self._resume or not self._path.is_file():
            return None

        try:
            with safe_open(self._path, framework="pt") as opened:
                held = (opened.metadata() or {}).get(_KEY, "")
            kept = msgspec.json.decode(held, type=_Kept)
        except (OSError, SafetensorError, msgspec.MsgspecError) as error:
            raise self._damaged(error) from error

        self._check(kept.identity)
        if kept.epoch - (0 if kept.sums.steps else 1) > self._epochs:
            raise UsageError(
                f"The training in {self._path} is in epoch {kept.epoch} already, and {self._epochs} are asked for. "
                "Give at least as many epochs as it was begun with, or start without --resume."
            )

        return kept

    def _damaged(self, error: Exception) -> UsageError:
        return UsageError(f"{self._path} is no training to go on with: {error}. Start without --resume.")

    def _check(self, then: Identity) -> None:
        for field in fields(then):
            was, now = getattr(then, field.name), getattr(self._identity, field.name)
            if was != now:
                name, was, now = _difference(field.name, was, now)
                raise UsageError(
                    f"The training in {self._path} was begun with another {name}: {was} and not {now}. "
                    "Give what it was begun with, or start without --resume."
                )

    def save(self, fitting: TrainingState) -> None:
        """Write where `fitting` is, whole or not at all.

        Raises:
            CnnbenchError: the file cannot be written.
        """
        if not self._writes:
            return

        kept = _Kept(
            identity=self._identity,
            epoch=fitting.epoch,
            sums=fitting.sums,
            seen=tuple(fitting.seen),
            by_step=tuple(fitting.seen_by_step),
        )
        try:
            write_tensors(self._path, _taken(fitting), {_KEY: msgspec.json.encode(kept).decode()})
        except (OSError, SafetensorError) as error:
            raise CnnbenchError(f"Training in progress cannot be kept in {self._path}: {error}.") from error

    def forget(self) -> None:
        """Delete the file: the training has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _difference(name: str, was: object, now: object) -> tuple[str, object, object]:
    """Return what differs: of two recipes the first field that does."""
    if isinstance(was, Recipe) and isinstance(now, Recipe):
        inner = next(field.name for field in fields(was) if getattr(was, field.name) != getattr(now, field.name))
        return f"{inner} in its {name}", getattr(was, inner), getattr(now, inner)
    return name, was, now


def _taken(fitting: TrainingState) -> dict[str, Tensor]:
    """Return all tensors that the rest of the training depends on, by name."""
    trainer = fitting.trainer
    found = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    for at, values in trainer.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{at}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    found |= {"random.torch": torch.get_rng_state(), "random.augment": fitting.augment_rng.get_state()}
    if fitting.shuffle_state is not None:
        found["random.shuffle"] = fitting.shuffle_state
    if next(trainer.model.parameters()).device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def _put_back(fitting: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    trainer = fitting.trainer
    trainer.model.load_state_dict({n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}

    for name, value in tensors.items():
        if name.startswith("optimizer."):
            at, key = name.removeprefix("optimizer.").split(".", 1)
            state.setdefault(int(at), {})[key] = value

    trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["random.torch"])
    fitting.augment_rng.set_state(tensors["random.augment"])

    if fitting.shuffle_rng is not None:
        fitting.shuffle_state = tensors["random.shuffle"]
        fitting.shuffle_rng.set_state(fitting.shuffle_state)

    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
