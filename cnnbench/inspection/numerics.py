"""Measure the numerical error of a variant against fp64 with the same weights, on real images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cnnbench.inspection.compile_stats import CompileFacts, compile_facts
from cnnbench.inspection.sample_images import real_images
from cnnbench.jobs import Assignment
from cnnbench.record import Measurement, Outcome
from cnnbench.spec import Case, InvalidError, Precision, Shape, UnsupportedError
from cnnbench.timing.latency_job import check_first, inference
from cnnbench.training.scoring import main_logits
from cnnbench.variants import Prepared, cast_real, prepare

# Largest error of a variant, as a multiple of the error of eager in the same precision. It is twice what was seen over
# 20 models on a CPU. With channels_last or compiled, whose sums go in another order, fp32 was off 1.4 to 1.8 times as
# far where 3x3 convolutions prevail. 16-bit variants were off up to 1.3 times as far. A wrong model is off by far more.
ALLOWED_TIMES = {"fp32": 4.0, "tf32": 2.0, "amp_bf16": 3.0, "amp_fp16": 3.0, "bf16": 3.0}

# An error of this many machine epsilons of the precision is always allowed, because eager may happen to be exact.
FLOOR_EPSILONS = 4.0

# No error above this is allowed, however far eager itself is off: then the scores depend on something else than the
# images. Eager in fp32 was off by at most 1.1e-5 over the built-in models (CPU); the limits leave much room.
MOST_ALLOWED = {"fp32": 0.01, "tf32": 0.1, "amp_bf16": 0.5, "amp_fp16": 0.3, "bf16": 0.5}

# The comparison ends after 64 images, or when fp64 has taken 1 s. It has at least one image.
MOST_IMAGES = 64
FP64_S = 1.0

# BatchNorm's statistics come from as many images as hold this many pixels (8 of 224 x 224), from 4 to 64 images.
CALIBRATION_PIXELS = 8 * 224 * 224
LEAST_CALIBRATION = 4

_EPSILON = {
    "fp32": torch.finfo(torch.float32).eps,
    "tf32": 2.0**-10,  # TF32 keeps 10 bits of a product's factors
    "amp_bf16": torch.finfo(torch.bfloat16).eps,
    "amp_fp16": torch.finfo(torch.float16).eps,
    "bf16": torch.finfo(torch.bfloat16).eps,
}

_TYPE = {"amp_bf16": torch.bfloat16, "amp_fp16": torch.float16, "bf16": torch.bfloat16}

_WEIGHT_DIMENSIONS = 4


def run(assignment: Assignment) -> Outcome:
    """Return how the case's scores differ from eager fp64 with the same weights.

    `max_relative_error` is the largest ||y - y64|| / ||y64|| (2-norm over an image's scores) of all images compared.
    `numerics_allowed` is `ALLOWED_TIMES` that of plain eager in the variant's precision, at least `FLOOR_EPSILONS`, and
    at most `MOST_ALLOWED`. For autocast, plain eager is the model cast to its 16-bit type. A compiled variant also
    reports its first call, graphs, breaks and recompilations. Without trained weights, BatchNorm's statistics are taken
    from real images first. With its initial statistics, the scores of a deep model are far from those in use.

    Raises:
        InvalidError: scores are not finite, or the variant's weights or input are not laid out as it says.
        UnsupportedError: the model cannot run in fp64, or does not take images. If only the comparison fails, a
            compiled variant still reports what compiling made, with the reason as a note.
    """
    case = assignment.case
    model = assignment.build().to(case.device).eval()
    if case.weights == "none":
        calibrate(model, case.input_shape, case.seed)

    # `prepare` changes the model in place, so fp64 and plain eager start from a copy.
    original = _copy_of(model, assignment)
    prepared = prepare(model, case.variant, case.device)
    check_layout(prepared, case)
    before = compile_facts() if case.variant.compile_mode else None
    with _mode(prepared):
        first_call_s = _first_call_s(assignment, prepared)

    # A model that fails in fp64 has nothing to compare with, but what compiling made is a result.
    try:
        scores_64 = _scores_fp64(original.double(), assignment)
    except UnsupportedError as error:
        if before is None:
            raise
        found = _compile_measurements(first_call_s, compile_facts().difference_since(before))
        return Outcome(measurements=found, notes=(str(error),))

    # Round up to whole batches, as compiled code wants them, and cut off the scores beyond those of fp64.
    batches = tuple(_batches(case, -(-len(scores_64) // case.batch_size)))
    scores = _scores(prepared, batches)[: len(scores_64)]
    found = _compile_measurements(first_call_s, compile_facts().difference_since(before)) if before else ()

    # Free the variant first: eager may need as much memory.
    del prepared, model
    eager = _prepare_eager(original, case)
    own = _scores(eager, batches)[: len(scores_64)]
    _check_repeats(own, _scores(eager, batches[:1]), case)
    if not bool(scores_64.any()):  # the last layer starts at zero; any error would seem infinite or none
        return Outcome(measurements=found, notes=("every score is 0 with these weights, so there is no error to show",))

    return Outcome(measurements=(*found, *_error_measurements(case.variant.precision, scores_64, scores, own)))


def _check_repeats(scores: Tensor, again: Tensor, case: Case) -> None:
    """Check that a second pass of the first images gives the same scores, but for rounding.

    Raises:
        InvalidError: it does not.
    """
    if not bool(scores.isfinite().all()):
        raise InvalidError(f"the scores of eager in {case.variant.precision} hold NaN or infinity on real images")
    count = min(len(scores), len(again))
    off = largest_error("eager", again[:count], scores[:count])
    if off > MOST_ALLOWED[case.variant.precision]:
        raise InvalidError(
            f"the scores of the same images differ by {off:.2g} from pass to pass, as with dropout that is left on in "
            "evaluation"
        )


def _copy_of(model: nn.Module, assignment: Assignment) -> nn.Module:
    """Return another model with the same weights, built anew if the first cannot be copied, as pruned ones."""
    try:
        return deepcopy(model)
    except RuntimeError:  # "Only Tensors created explicitly by the user support the deepcopy protocol"
        other = assignment.build().to(assignment.case.device).eval()
        other.load_state_dict(model.state_dict())
        return other


def calibrate(model: nn.Module, shape: Shape, seed: int) -> None:
    """Set BatchNorm's running statistics to those of real images; other modules stay in evaluation mode."""
    parts = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    if not parts:
        return

    # Small images hold few pixels, so more of them are taken.
    count = min(MOST_IMAGES, max(LEAST_CALIBRATION, CALIBRATION_PIXELS // (shape[-2] * shape[-1])))
    first = next(model.parameters())
    images = real_images(shape, count, seed).to(device=first.device, dtype=first.dtype)
    momenta = [part.momentum for part in parts]

    for part in parts:
        part.reset_running_stats()
        part.momentum = None  # a mean over all images instead of a moving one
        part.train()

    with torch.no_grad():
        model(images)

    # Only the statistics are to change.
    for part, momentum in zip(parts, momenta, strict=True):
        part.momentum = momentum
        part.eval()


def check_layout(prepared: Prepared, case: Case) -> None:
    """Check that weights and input are laid out as the variant says.

    Tensors with one channel and 1x1 weights have both layouts at once.

    Raises:
        InvalidError: a weight or the input is not; the message names it.
    """
    if not case.variant.channels_last:
        return
    images = prepared.place(torch.zeros((case.batch_size, *case.input_shape)))
    looked = {f"weight {name}": weight for name, weight in prepared.model.named_parameters()} | {"input": images}
    for name, tensor in looked.items():
        if tensor.dim() == _WEIGHT_DIMENSIONS and not tensor.is_contiguous(memory_format=torch.channels_last):
            raise InvalidError(
                f"{case.variant.name} asks for channels_last, but the {name} of shape {tuple(tensor.shape)} has the "
                f"strides {tensor.stride()}, so it was measured in another layout"
            )


@contextmanager
def _mode(prepared: Prepared) -> Iterator[None]:
    with torch.no_grad(), prepared.context():  # no_grad as in the timed cell, so that its compiled code is found
        yield


def _first_call_s(assignment: Assignment, prepared: Prepared) -> float:
    """Return the seconds of the first call, made as in the timed cell, with the wait for the device inside."""
    passes = inference(assignment.spec, assignment.case, prepared)
    start = assignment.clock.now_ns()
    first = passes.first()
    assignment.clock.synchronize()
    took_s = (assignment.clock.now_ns() - start) * 1e-9
    check_first(first)
    return took_s


def _batches(case: Case, count: int) -> Iterator[Tensor]:
    """Yield `count` batches of real images (batch, C, H, W), fp32 on the CPU; the compiler needs all of one size."""
    for at in range(count):
        yield real_images(case.input_shape, case.batch_size, case.seed + at)


def _scores_fp64(model: nn.Module, assignment: Assignment) -> Tensor:
    """Return the scores (images, classes) of as many images as time allows, one image at a time."""
    case, clock = assignment.case, assignment.clock
    seen: list[Tensor] = []
    start = clock.now_ns()

    with torch.no_grad():
        for batch in _batches(case, max(1, MOST_IMAGES // case.batch_size)):
            for at in range(len(batch)):
                image = batch[at : at + 1].to(device=case.device, dtype=torch.float64)
                # Look at the clock after each image, so that there is always one.
                seen.append(_logits_fp64(model, image).cpu())
                if len(seen) == MOST_IMAGES or (clock.now_ns() - start) * 1e-9 > FP64_S:
                    return torch.cat(seen)
    return torch.cat(seen)


def _logits_fp64(model: nn.Module, image: Tensor) -> Tensor:
    try:
        return main_logits(model(image))
    except RuntimeError as error:
        if "double" not in str(error).lower():  # such as "expected scalar type Double but found Float"
            raise
        raise UnsupportedError(f"The model does not run in fp64, so its error is unknown: {error}") from error


def _prepare_eager(model: nn.Module, case: Case) -> Prepared:
    """Return `model` as plain eager, in the precision of the case's variant; its fp64 weights convert back exactly."""
    tf32: Precision = "tf32" if case.variant.precision == "tf32" else "fp32"
    plain = replace(case.variant, precision=tf32, channels_last=False, compile_mode=None, cudnn_benchmark=False)
    prepared = prepare(model, plain, case.device)
    # 16-bit: the weights are cast, also for autocast. TF32 is a flag, and its weights stay fp32.
    dtype = _TYPE.get(case.variant.precision, torch.float32)
    model = cast_real(prepared.model, dtype)
    return replace(prepared, call=model, model=model, place=lambda images: images.to(device=case.device, dtype=dtype))


def _scores(prepared: Prepared, batches: tuple[Tensor, ...]) -> Tensor:
    """Return the scores of all images, (images, classes), as fp64 on the CPU."""
    with _mode(prepared):
        # CUDA graphs write every output to the same place, so each one is copied before the next call.
        return torch.cat(
            [main_logits(prepared.call(prepared.place(batch.clone()))).double().cpu() for batch in batches]
        )


def _error_measurements(
    precision: Precision, scores_64: Tensor, scores: Tensor, own: Tensor
) -> tuple[Measurement, ...]:
    # The variant may be off by a multiple of what eager loses in the same precision.
    error = largest_error("the variant", scores, scores_64)
    own_error = largest_error(f"eager in {precision}", own, scores_64)
    allowed = max(ALLOWED_TIMES[precision] * own_error, FLOOR_EPSILONS * _EPSILON[precision])
    allowed = min(allowed, MOST_ALLOWED[precision])
    agreed = int((scores.argmax(dim=1) == scores_64.argmax(dim=1)).sum())
    found = {
        "max_relative_error": error,
        "numerics_allowed": allowed,
        "top1_agreed": float(agreed),
        "top1_compared": float(len(scores_64)),
    }
    return tuple(Measurement(quantity=quantity, samples=(value,)) for quantity, value in found.items())


def largest_error(whose: str, scores: Tensor, scores_64: Tensor) -> float:
    """Return the largest ||y - y64|| / ||y64|| over the images; both are (images, classes) in fp64.

    Raises:
        InvalidError: scores are not finite; the message names `whose`.
    """
    for name, given in (("fp64", scores_64), (whose, scores)):
        if not bool(given.isfinite().all()):
            raise InvalidError(f"the scores of {name} hold NaN or infinity on real images")
    # An image whose scores are all 0 must not divide by 0.
    norms = scores_64.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    return float(((scores - scores_64).norm(dim=1) / norms).max())


def _compile_measurements(first_call_s: float, facts: CompileFacts) -> tuple[Measurement, ...]:
    found = {
        "compile_warm_s": first_call_s,
        "graphs": float(facts.graphs),
        "graph_breaks": float(facts.graph_breaks),
        "recompiles": float(facts.recompiles),
    }
    return tuple(Measurement(quantity=quantity, samples=(value,)) for quantity, value in found.items())
