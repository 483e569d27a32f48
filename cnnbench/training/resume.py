"""Keep a training in progress in a file: weights, optimiser, random states and sums, as a whole or not at all."""

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
    """What identifies a training: a training with another identity cannot resume it.

    `torch` and `threads` are part of it because they affect the last bits. `data` describes the images in words.
    `frozen_weights` is a checksum of the weights that compute features.
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
    """Return the file that keeps the training in progress for `checkpoint`."""
    return checkpoint.with_suffix(".state.safetensors")


class FileKeeper:
    """Keeps a training in a file; see `training.loop.Checkpointer`."""

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
        """Keep the training of `identity` over `epochs` in `path`; with `resume`, continue from what is there.

        One process of a team `writes`; all of them read.
        """
        self._writes = writes
        self._path = path
        self._identity = identity
        self._epochs = epochs
        self._resume = resume
        self.stop = stop

    def kept_epoch(self) -> int:
        """Return the epoch in which the training would resume, 1 if it begins anew.

        Raises:
            UsageError: the file is damaged, of another training, or beyond the requested epochs.
        """
        kept = self._load_kept()
        return 1 if kept is None else kept.epoch

    def restore(self, fitting: TrainingState) -> None:
        """Restore `fitting` from the file, if the file exists and a resume is requested.

        Raises:
            UsageError: the file is damaged, of another training, or beyond the requested epochs.
        """
        kept = self._load_kept()
        if kept is None:
            return
        try:
            tensors = load_file(self._path)
        except (OSError, SafetensorError) as error:
            raise self._damage_error(error) from error

        # The phase of the epoch comes first, because it creates the model's optimiser that the tensors go into.
        fitting.go_to(kept.epoch)
        _put_back(fitting, tensors)
        fitting.sums, fitting.seen, fitting.seen_by_step = kept.sums, list(kept.seen), list(kept.by_step)

    def _load_kept(self) -> _Kept | None:
        """Return the metadata of the file after a check, None if there is nothing to resume."""
        if not self._resume or not self._path.is_file():
            return None

        try:
            with safe_open(self._path, framework="pt") as opened:
                held = (opened.metadata() or {}).get(_KEY, "")
            kept = msgspec.json.decode(held, type=_Kept)
        except (OSError, SafetensorError, msgspec.MsgspecError) as error:
            raise self._damage_error(error) from error

        self._check(kept.identity)
        # Before its first step, an epoch has only been prepared, so the one before it is the last that was run.
        if kept.epoch - (0 if kept.sums.steps else 1) > self._epochs:
            raise UsageError(
                f"The training in {self._path} is already in epoch {kept.epoch}, but --epochs is {self._epochs}. "
                "Use at least the original number of epochs, or start without --resume."
            )

        return kept

    def _damage_error(self, error: Exception) -> UsageError:
        return UsageError(f"{self._path} is not a training that can be resumed: {error}. Start without --resume.")

    def _check(self, then: Identity) -> None:
        for field in fields(then):
            was, now = getattr(then, field.name), getattr(self._identity, field.name)
            if was != now:
                name, was, now = _difference(field.name, was, now)
                raise UsageError(
                    f"The training in {self._path} was started with another {name}: {was}, not {now}. "
                    "Use the original value, or start without --resume."
                )

    def save(self, fitting: TrainingState) -> None:
        """Write the state of `fitting`, as a whole or not at all.

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
        # Both parts go into one file, so that they always belong to the same step.
        try:
            write_tensors(self._path, _state_tensors(fitting), {_KEY: msgspec.json.encode(kept).decode()})
        except (OSError, SafetensorError) as error:
            raise CnnbenchError(f"Training in progress cannot be saved in {self._path}: {error}.") from error

    def forget(self) -> None:
        """Delete the file because the training has ended."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _difference(name: str, was: object, now: object) -> tuple[str, object, object]:
    """Return what differs; for two recipes, the first field that differs."""
    if isinstance(was, Recipe) and isinstance(now, Recipe):
        inner = next(field.name for field in fields(was) if getattr(was, field.name) != getattr(now, field.name))
        return f"{inner} in its {name}", getattr(was, inner), getattr(now, inner)
    return name, was, now


def _state_tensors(fitting: TrainingState) -> dict[str, Tensor]:
    """Return all tensors that the rest of the training depends on, by name."""
    trainer = fitting.trainer
    found = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    for at, values in trainer.optimizer.state_dict()["state"].items():
        # Adam and SGD keep in tensors all that changes between steps.
        found |= {f"optimizer.{at}.{name}": value for name, value in values.items() if isinstance(value, Tensor)}
    found |= {"random.torch": torch.get_rng_state(), "random.augment": fitting.augment_rng.get_state()}

    # The state before this epoch's shuffle draws the same order again; torch's own generator drives dropout.
    if fitting.shuffle_state is not None:
        found["random.shuffle"] = fitting.shuffle_state
    if next(trainer.model.parameters()).device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def _put_back(fitting: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    trainer = fitting.trainer
    weights = trainer.model.state_dict()  # for the versions of its modules, which MNASNet insists on
    weights.update({n.removeprefix("model."): v for n, v in tensors.items() if n.startswith("model.")})
    trainer.model.load_state_dict(weights)
    state: dict[int, dict[str, Tensor]] = {}

    # Names are "optimizer.NUMBER.KEY", where NUMBER is that of a parameter.
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            at, key = name.removeprefix("optimizer.").split(".", 1)
            state.setdefault(int(at), {})[key] = value

    # Only the state comes from the file; rates and other settings are those of the recipe.
    trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": state})
    torch.set_rng_state(tensors["random.torch"])
    fitting.augment_rng.set_state(tensors["random.augment"])

    if fitting.shuffle_rng is not None:
        fitting.shuffle_state = tensors["random.shuffle"]
        fitting.shuffle_rng.set_state(fitting.shuffle_state)

    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
