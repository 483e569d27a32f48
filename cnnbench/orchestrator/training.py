"""Train one model with several seeds, and test checkpoints under several variants; every result is a record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cnnbench import data
from cnnbench.jobs import Job
from cnnbench.orchestrator.events import Progress
from cnnbench.orchestrator.plan import make_plan
from cnnbench.record import Environment, Record
from cnnbench.spec import AS_THE_RECIPE, Case, Request, Training, Variant
from cnnbench.variants import extend_variant, parse_variant, support
from cnnbench.workers.messages import Failure, News
from cnnbench.workers.single_worker import ask, limit_of, make_record, open_host, train_case

OnProgress = Callable[[Progress], None]


def train_seeds(
    request: Request,
    *,
    training: Training = AS_THE_RECIPE,
    seeds: int,
    checkpoint: Callable[[int], Path],
    resume: bool,
    on_progress: OnProgress,
) -> Iterator[Record]:
    """Train the one model of `request` once per seed, from `request.seed` on, and yield each record at once.

    It is trained under the one variant of `request`; an unsupported variant gives a record that says why. With `resume`
    a training continues whose state an interruption left beside its checkpoint.
    """
    model = request.sections[0].models[0]
    begin = time.monotonic()
    with open_host(request) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        environment, shapes = ask(host, (model,))
        case = make_plan(request, environment, shapes).accuracy[0]
        case = replace(case, variant=_variant(case, request, training, environment))
        # What the machine supports does not depend on the seed, but every seed gets its record.
        possible = support(case.variant, device=case.device, environment=environment)

        for at in range(seeds):
            seeded = replace(case, seed=request.seed + at)
            if possible.status == "unsupported":
                refused = Failure(status="unsupported", error=possible.reason)
                yield make_record(seeded, environment, refused, started=time.monotonic())
                continue

            job = Job(
                case=seeded,
                scratch=scratch,
                memory_limit_bytes=limit_of(seeded),
                training=training,
                checkpoint=str(checkpoint(seeded.seed)),
                data_dir=request.data_dir,
                resume=resume,
                deterministic=request.deterministic,
            )

            started = time.monotonic()
            got = train_case(
                host, job, _progress_of(on_progress, f"{model} seed {seeded.seed}", at=at, of=seeds, begin=begin)
            )
            yield make_record(seeded, environment, got, started=started)


def _variant(case: Case, request: Request, training: Training, environment: Environment) -> Variant:
    """Return the variant that was asked for, with the additions of a fast recipe."""
    asked = parse_variant(request.sections[0].variants[0], device=case.device, threads=case.variant.threads)
    fast = data.fast_recipe_of(data.find(case.dataset or "")) if case.recipe == "fast" else None
    # Cached features are computed once, in fp32, so nothing may be added to the variant.
    if fast is None or fast.cache_features or training.cache_features:
        return asked
    return extend_variant(
        asked, channels_last=fast.channels_last, amp=fast.amp, device=case.device, environment=environment
    )


def _progress_of(on_progress: OnProgress, what: str, *, at: int, of: int, begin: float) -> Callable[[News], None]:
    """Return a callback that reports the news of training `at` of `of`, with the time left by the share done so far."""

    def on_message(news: News) -> None:
        # All trainings count as equally long, the finished ones included.
        share = (at + news.done) / of
        elapsed = time.monotonic() - begin
        remaining_s = elapsed / share - elapsed if share else 0.0
        text = f"{what}: {news.text}"
        on_progress(Progress(text=text, elapsed_s=elapsed, remaining_s=remaining_s, lasting=news.lasting))

    return on_message


def test_weights(
    request: Request,
    variants: Sequence[Variant],
    part: Literal["train", "val", "test"],
    *,
    shift: int,
    on_progress: OnProgress,
) -> Iterator[Record]:
    """Test the weights of `request` on a part of its dataset under each of `variants`, and yield the records.

    With `shift`, the first variant is also tested on images that are moved by up to this many pixels.
    """
    model = request.sections[0].models[0]
    with open_host(request) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        environment, shapes = ask(host, (model,))
        case = make_plan(request, environment, shapes).accuracy[0]
        begin = time.monotonic()

        for at, variant in enumerate(variants):
            tested = replace(case, variant=variant)
            started = time.monotonic()

            # A variant that the machine lacks gets a record too, and the others are still tested.
            found = support(variant, device=case.device, environment=environment)
            if found.status == "unsupported":
                refused = Failure(status="unsupported", error=found.reason)
                yield make_record(tested, environment, refused, started=started)
                continue

            # Moved images take many passes, so only the first variant is tested on them.
            job = Job(
                case=tested,
                scratch=scratch,
                memory_limit_bytes=limit_of(tested),
                part=part,
                data_dir=request.data_dir,
                shift=0 if at else shift,
            )
            got = train_case(
                host, job, _progress_of(on_progress, f"{model} {variant.name}", at=at, of=len(variants), begin=begin)
            )
            yield make_record(tested, environment, got, started=started)
