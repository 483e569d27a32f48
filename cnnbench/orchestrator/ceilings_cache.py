"""Find the machine's ceilings, which are kept in a file by environment, and how noisy it is now."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from cnnbench import machine
from cnnbench.atomic_write import replace_file
from cnnbench.jobs import Job
from cnnbench.quantities import QUANTITIES
from cnnbench.record import Environment, Measurement, Outcome
from cnnbench.spec import Budget, Case, Device, Request, Variant
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Built, Done, Failure, Ready, Take, Taken, Warm
from cnnbench.workers.single_worker import ask, do_job, open_host

# Seconds of measuring ceilings if nothing else waits: enough to outlast slow moments.
LONG_S = 6.0

# Longest wait in seconds beyond the time of measuring: setting up takes a second, or several on a busy machine.
ANSWER_S = 60.0

# Most entries of the file; the oldest is dropped first.
MOST_KEPT = 100

# Samples of the control workload that show how noisy the machine is. Each takes 10 ms and idles for as long, so all of
# them take 2 to 3 s: noise changes within a second.
CONTROL_WORKLOAD_SAMPLES = 100


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    environment: Environment
    device: Device
    threads: int
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Result of looking for ceilings; `cached`: they were measured earlier, in an equal environment."""

    reply: Done | Failure
    cached: bool


def cache_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of ceilings: `cnnbench/ceilings.json` in the user's cache folder (XDG base directories)."""
    folder = environ.get("XDG_CACHE_HOME", "")
    return (Path(folder) if folder else Path("~/.cache").expanduser()) / "cnnbench" / "ceilings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchedWorkload:
    """Result of the control workload: seconds of one matrix product by sample, and noise in the counters."""

    latencies_s: tuple[float, ...]
    noise: machine.Noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """The machine, its ceilings and its noise; `control_workload` is None if nothing was measured."""

    environment: Environment
    device: Device
    threads: int
    ceilings: Found | None
    control_workload: WatchedWorkload | Failure | None = None


def ceilings_case(device: Device, threads: int, *, seconds: float, seed: int = 0) -> Case:
    """Return the case whose answer is the ceilings of `device` with `threads` threads, measured for `seconds`."""
    # Ceilings need no model and no images, so those fields only fill the case.
    return Case(
        model="machine",
        variant=Variant(name="eager", threads=threads),
        task="infer",
        device=device,
        batch_size=1,
        input_shape=(),
        role="ceilings",
        seed=seed,
        budget=Budget(total_s=seconds, timeout_s=seconds + ANSWER_S),
    )


def examine(device: Device, threads: int, *, measure: bool, on_progress: Callable[[str], None]) -> Examined:
    """Return what the machine is and can do; `measure` its ceilings and noise anew, or take only what was kept."""
    request = Request(
        title="doctor",
        sections=(),
        device=device,
        threads=threads,
        budget=Budget(total_s=LONG_S, timeout_s=ANSWER_S),
    )

    with open_host(request) as host, tempfile.TemporaryDirectory(prefix="cnnbench-") as scratch:
        environment, _ = ask(host, ())
        seen = Examined(environment=environment, device=device, threads=threads, ceilings=None)

        # A missing device is an answer as well: the environment is shown with it.
        if device == "cuda" and environment.gpu is None:
            missing = Failure(status="unsupported", error="torch sees no CUDA device here")
            return replace(seen, ceilings=Found(reply=missing, cached=False))
        if not measure:
            known = find_ceilings(environment, device, threads, file=cache_file())
            return replace(seen, ceilings=Found(reply=Done(outcome=known), cached=True) if known else None)

        on_progress(f"measuring the machine's ceilings on {device} with {threads} thread{'s' if threads > 1 else ''}")
        case = ceilings_case(device, threads, seconds=LONG_S)
        ceilings = measured_ceilings(host, case, environment, scratch=scratch, anew=True)

        # Not at the same time: measuring ceilings loads all cores, which would look like noise.
        on_progress("measuring the machine's noise")
        control_workload = watch_control_workload(host, replace(case, role="control_workload"), scratch=scratch)

    return replace(seen, ceilings=ceilings, control_workload=control_workload)


def watch_control_workload(host: Host, case: Case, *, scratch: str) -> WatchedWorkload | Failure:
    """Take `CONTROL_WORKLOAD_SAMPLES` samples of the control workload, and read the machine's counters."""
    worker, timeout_s = host.start(), case.budget.timeout_s
    samples = []
    try:
        # Set up the worker: build the work, then warm it up.
        for request, expected in ((Job(case=case, scratch=scratch), Built), (Warm(), Ready)):
            worker.send(request)
            reply = worker.receive(timeout_s)
            if isinstance(reply, Failure):
                return reply
            assert isinstance(reply, expected)

        # The counters span the samples alone: setting up makes noise of its own.
        before = machine.read_counters(time.monotonic())
        for _ in range(CONTROL_WORKLOAD_SAMPLES):
            worker.send(Take())
            reply = worker.receive(timeout_s)
            if isinstance(reply, Failure):
                return reply
            assert isinstance(reply, Taken)
            samples.append(reply.sample)
        noise = machine.noise_between(before, machine.read_counters(time.monotonic()))
    finally:
        worker.close()

    return WatchedWorkload(latencies_s=tuple(s.latency_s for s in samples), noise=noise)


def measured_ceilings(
    host: Host, case: Case, environment: Environment, *, scratch: str, anew: bool = False, file: Path | None = None
) -> Found:
    """Return the ceilings that `case` asks for, from the file, or from a worker if the file has none or with `anew`.

    What a worker measures is kept, by default in `cache_file()`. If a value is measured again, the better one stands:
    either may be of a slow moment. What was measured beside other work, so with a warning, is kept only if the file
    already holds values to compare it with.
    """
    file = file or cache_file()
    known = find_ceilings(environment, case.device, case.variant.threads, file=file)
    if known is not None and not anew:
        return Found(reply=Done(outcome=known), cached=True)

    # Values with a warning may be too low, but among known ones the better of each is kept.
    reply = do_job(host, Job(case=case, scratch=scratch), case.budget.timeout_s)
    if isinstance(reply, Done) and (known is not None or not reply.outcome.warnings):
        kept = keep_ceilings(environment, case.device, case.variant.threads, reply.outcome, file=file)
        reply = Done(outcome=kept)
    return Found(reply=reply, cached=False)


def find_ceilings(environment: Environment, device: Device, threads: int, *, file: Path) -> Outcome | None:
    """Return the ceilings in `file` for an equal environment, device and number of threads, or None."""
    entry = next((e for e in _load(file) if _key(e) == (environment, device, threads)), None)
    return Outcome(measurements=entry.measurements) if entry else None


def keep_ceilings(environment: Environment, device: Device, threads: int, outcome: Outcome, *, file: Path) -> Outcome:
    """Keep the ceilings in `outcome`, and return the better of each old and new value.

    A file that cannot be read is replaced, and one that cannot be written is left: what is kept only saves seconds.
    """
    key = (environment, device, threads)
    entries = _load(file)
    old = {m.quantity: m for e in entries if _key(e) == key for m in e.measurements}
    merged = tuple(_pick_better(old.get(m.quantity, m), m) for m in outcome.measurements)

    # The entry moves to the end, so that the list drops what was measured longest ago.
    entry = _Entry(environment=environment, device=device, threads=threads, measurements=merged)
    others = [e for e in entries if _key(e) != key]
    with suppress(OSError):
        replace_file(file, msgspec.json.encode([*others, entry][-MOST_KEPT:]))
    return Outcome(measurements=merged)


def _pick_better(old: Measurement, new: Measurement) -> Measurement:
    pick = min if QUANTITIES[new.quantity].better == "lower" else max
    return pick(old, new, key=lambda m: m.samples[0])


def _key(entry: _Entry) -> tuple[Environment, Device, int]:
    return entry.environment, entry.device, entry.threads


def _load(file: Path) -> list[_Entry]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=list[_Entry])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
