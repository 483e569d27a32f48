"""Types that all parts share: models, recipes, variants, budgets, cases, requests, and the errors that a user sees."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from cnnbench.image_types import ImageTransform

Task = Literal["complexity", "infer", "train", "accuracy"]
Role = Literal[
    "timed", "aa_control", "control_workload", "lineup", "memory", "numerics", "ceilings", "predict", "look", "layers"
]
Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "tf32", "amp_bf16", "amp_fp16", "bf16"]
RecipeName = Literal["tutorial", "as-published", "fast"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Shape = tuple[int, ...]

_IMAGE_CHANNELS = (1, 3)
_IMAGE_DIMENSIONS = 3


def is_image(shape: Shape) -> bool:
    """Return whether `shape` is (channels, height, width) with the one or three channels of an image."""
    return len(shape) == _IMAGE_DIMENSIONS and shape[0] in _IMAGE_CHANNELS


# Exit codes of a command that ran to its end but failed, and of one that was interrupted. Errors have their own codes.
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class CnnbenchError(Exception):
    """An error whose message is written for the user: what was given, what is allowed, what to do next."""

    exit_code = 1


class UsageError(CnnbenchError):
    """The command line or an input is wrong (exit code 2)."""

    exit_code = 2


class MissingError(CnnbenchError):
    """Something needed is missing; the message says how to get it (exit code 3)."""

    exit_code = 3


class UnsupportedError(CnnbenchError):
    """This machine or this model cannot do what was asked; recorded as `unsupported` with the message."""


class InvalidError(CnnbenchError):
    """A result that must not be used, such as an output that holds NaN; recorded as `invalid`."""


def unknown_name(kind: str, given: str, known: Iterable[str], more: str = "") -> UsageError:
    """Return the error for a name that is not in a registry, with the closest known names."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    hint = f"Did you mean {', '.join(close)}?" if close else f"Known: {', '.join(names[:40])}."
    return UsageError(f"Unknown {kind} '{given}'. {hint}{' ' + more if more else ''}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a model is trained; `transform` describes what is done to an image, starting from pixels in [0, 1].

    `flip` and `crop_padding`: training images of its dataset are mirrored at random, and cropped at random after they
    were padded with this many black pixels. `halves`: the first half of the test images validates, the second half
    tests. `amp`: autocast, if the device supports it natively. `one_cycle`: the rate rises from 0 to `learning_rate`
    and falls to 0 again. `cache_features`: the output of the frozen part is computed once for each image, and the head
    is trained on it. After `epochs`, all layers are trained for `unfrozen_epochs` more at `unfrozen_rate`.

    The other fields are mistakes of tutorial pages. They train on the test images (`trains_on_test`), validate on the
    training images (`validates_on_train`), change validation and test images at random too (`augments_all`), let the
    batch statistics of frozen layers move (`frozen_statistics_move`), or divide losses by the batch size once more
    (`divides_losses`).
    """

    dataset: str
    transform: str
    mean: tuple[float, ...] = ()  # per channel, empty: not normalised
    std: tuple[float, ...] = ()
    loss: Literal["nll", "cross_entropy"]
    optimizer: Literal["adam", "sgd"]
    learning_rate: float
    momentum: float = 0.0
    batch_size: int
    epochs: int
    shuffled: bool
    flip: bool = False
    crop_padding: int = 0
    halves: bool = False
    one_cycle: bool = False
    channels_last: bool = False
    amp: bool = False
    cache_features: bool = False
    unfrozen_epochs: int = 0
    unfrozen_rate: float | None = None
    trains_on_test: bool = False
    validates_on_train: bool = False
    augments_all: bool = False
    frozen_statistics_move: bool = False
    divides_losses: bool = False


# Recipe for models that no tutorial trains (torchvision's, a user's own). It is plain, the same for all of them, and
# tuned for none. Accuracies show how a model responds to this recipe, not the best that it can reach.
DEFAULT_RECIPE = Recipe(
    dataset="any",
    transform="pixels in [0, 1]",
    loss="cross_entropy",
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.9,
    batch_size=64,
    epochs=10,
    shuffled=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Changes that a training makes to its recipe (None: no change), and what it records in addition.

    `log_every`: steps between two records of loss and accuracy within an epoch; 0 means no such records.
    """

    epochs: int | None = None
    unfrozen_epochs: int | None = None
    unfrozen_rate: float | None = None
    cache_features: bool = False
    log_every: int = 0


# A training that changes nothing in its recipe.
AS_THE_RECIPE = Training()

# Message of the error if cached features are asked for together with a variant or torchrun.
FEATURES_ALONE = "--cache-features works only in one process and under eager. Leave out --variant and torchrun."


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A figure as a tutorial prints it: `values` (by epoch if there are several), and what the page says of them."""

    quantity: str
    values: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Erratum:
    """A mistake in a tutorial (`where`, `mistake`) and the reading that cnnbench takes (`corrected`)."""

    where: str
    mistake: str
    corrected: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """One architecture: where it comes from, how to build it, and what is known about it in advance.

    `input_shape` is (channels, height, width) of one image; `macs` are multiply-adds of convolutions and linear
    layers at batch 1 (1 MAC = one multiply-add); `mult_adds` is torchinfo's count, which the tutorials print. `build`
    returns a freshly initialised model with gradients set as the tutorial trains it. None means not known before
    building. `pretrained` is the name in torchvision's registry whose weights fit, if any. `transform` is how
    published weights expect images. `features_of` names the
    model whose features this one is trained on, if it takes features and no images. If a page has mistakes,
    `printed_recipe` and `printed_build` reproduce them.
    """

    name: str
    family: str
    source: str
    input_shape: Shape
    classes: int | None = None
    build: Callable[[], nn.Module]
    params: int | None = None
    trainable_params: int | None = None
    macs: int | None = None
    mult_adds: int | None = None
    recipe: Recipe | None = None
    printed: tuple[Published, ...] = ()
    deviations: tuple[str, ...] = ()
    errata: tuple[Erratum, ...] = ()
    pretrained: str | None = None
    transform: ImageTransform | None = None
    features_of: str | None = None
    printed_recipe: Recipe | None = None
    printed_build: Callable[[], nn.Module] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """The conditions a model runs under; equal variants mean equal conditions."""

    name: str
    precision: Precision = "fp32"
    channels_last: bool = False
    compile_mode: CompileMode | None = None
    cudnn_benchmark: bool = False
    default_malloc: bool = False
    threads: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Time limits of a run: seconds in total, and seconds for one answer of a cell."""

    total_s: float
    timeout_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of a request: these models under these variants, at these batch sizes, for these tasks."""

    models: tuple[str, ...]
    variants: tuple[str, ...] = ("eager", "channels_last")
    batch_sizes: tuple[int, ...] = (1,)
    tasks: tuple[Task, ...] = ("infer",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Everything that a run is asked for.

    `device` is `cpu`, `cuda`, or `all` that are present. `threads` None means all usable ones. `accuracy` is a dataset
    or None. `input_shape` (channels, height, width) overrides the models' own. `lenient`: an unsupported cell is not a
    failure, because the plan chose the variants and not the user. `data_dir` is searched for datasets first.
    `deterministic`: train with algorithms that give the same bits every time. `recipe` says by which of its recipes a
    model is trained.
    """

    title: str
    sections: tuple[Section, ...]
    device: Literal["cpu", "cuda", "all"] = "cpu"
    accuracy: str | None = None
    recipe: RecipeName = "tutorial"
    deterministic: bool = False
    data_dir: str | None = None
    weights: str = "none"
    input_shape: Shape | None = None
    reference: str | None = None
    threads: int | None = None
    seed: int = 0
    budget: Budget
    lenient: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One thing to measure, stored in full in its record; `input_shape` is (channels, height, width).

    `role` distinguishes what several workers measure under the same conditions. `timed` is the cell itself,
    `aa_control` the reference once more (the A/A control), `control_workload` fixed work that shows the machine's
    noise, and `lineup` the cell once more in turns with other models. `memory` and `numerics` are the cell's peak
    memory and numerical error, `layers` the time of each of its layers, `predict` its classes of images, and `look`
    images of its inside. `ceilings` is what the machine can do at most.
    """

    model: str
    variant: Variant
    task: Task
    device: Device
    batch_size: int
    input_shape: Shape
    dataset: str | None = None
    recipe: RecipeName = "tutorial"
    weights: str = "none"
    role: Role = "timed"
    seed: int
    budget: Budget

    def key(self) -> Case:
        """Return the case without seed and budget; all records of a cell share this key."""
        return replace(self, seed=0, budget=Budget(total_s=0.0, timeout_s=0.0))

    def identity(self) -> Case:
        """Return the case without its budget; a resumed run finds its records by it."""
        return replace(self.key(), seed=self.seed)

    def label(self) -> str:
        """Return a short text for the case, as used in progress lines and messages."""
        what = f"{self.model} {self.variant.name} {self.device} {self.task} batch {self.batch_size}"
        return what if self.role == "timed" else f"{what} ({self.role})"
