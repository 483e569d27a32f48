"""`cnnbench doctor`: show what this machine is and can do, natively and at most, how noisy it is, and what it lacks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Literal

import click

from cnnbench import machine
from cnnbench.app.option_types import COUNT, DURATION
from cnnbench.models import check_name
from cnnbench.orchestrator.ceilings_cache import Examined, Found, WatchedWorkload, examine
from cnnbench.orchestrator.queries import Largest, largest_batch
from cnnbench.quantities import QUANTITIES, show
from cnnbench.record import Environment
from cnnbench.report.text.listing import render
from cnnbench.spec import Device, UsageError
from cnnbench.stats import QUIET_SPREAD, is_quiet, spread_of
from cnnbench.variants import VARIANTS, parse_variant, support
from cnnbench.workers.messages import Failure

LIBRARIES = ("torch", "torchvision", "torchinfo", "fvcore", "numpy", "scipy", "pandas", "scikit-learn", "timm")


# Titles of the ceilings and their quantities. Formats that the machine does not support natively have no ceiling.
CEILINGS = (
    ("matrix product fp32", "fp32_flop_per_s"),
    ("matrix product tf32", "tf32_flop_per_s"),
    ("matrix product fp16", "fp16_flop_per_s"),
    ("matrix product bf16", "bf16_flop_per_s"),
    ("3x3 convolution fp32", "conv_flop_per_s"),
    ("memory copy", "copy_bytes_per_s"),
    ("memory triad", "triad_bytes_per_s"),
    ("one call", "dispatch_s"),
)


# Share of the time in which some process waited for a core. Above it, the doctor says that other work competes for the
# cores. An idle machine stays below a few per cent, and one program too many raises it to 40 %.
BUSY_PRESSURE = 0.1


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Measure nothing: show ceilings of an earlier run if any, and no noise.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Device to measure, also for --model.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads to measure with.  [default: usable cores]")
@click.option("--model", help="Also find the largest inference batch of this model that fits.")
@click.option("--largest", "limit", type=COUNT, default=1024, show_default=True, help="Largest batch size to try.")
@click.option("--within", type=DURATION, default=30.0, help="Start no new trial after this time.  [default: 30s]")
@click.option("--format", "output_format", type=click.Choice(("table", "json")), default="table", help="Output format.")
def command(
    quick: bool,  # noqa: FBT001  # click passes a flag by name
    device: Literal["cpu", "cuda"],
    threads: int | None,
    model: str | None,
    limit: int,
    within: float,
    output_format: str,
) -> int:
    """Show the machine: threads and limits, versions, which variants are native, emulated or missing, and why.

    Then measure for some 10 s what the machine can do at most and how noisy it is now.

    The ceilings are those of a matrix product, a convolution, memory and one call. Reports compare each cell with them:
    its share of the roofline, and what binds it. The ceilings are kept for later runs on the same machine, and of two
    measurements the better one counts.

    The noise is the spread of a fixed piece of work. Under 1 %, the machine is quiet and small differences can be told
    apart. Otherwise close other programs, or give a run a larger --budget.

    \b
    Examples:
      cnnbench doctor
      cnnbench doctor --quick --format json
      cnnbench doctor --threads 1
      cnnbench doctor --model resnet18 --largest 256
    """  # noqa: D301  # click's mark for a paragraph that keeps its lines
    if model is not None:
        check_name(model)

    if limit < 1:
        raise UsageError("--largest 0 leaves no batch to try. Give 1 or more.")

    # --threads is cut to the usable cores, as it is for a run.
    usable = machine.default_threads()
    examined = examine(device, min(threads or usable, usable), measure=not quick, on_progress=_on_progress)

    # The search starts a worker for each trial, and may take all of --within.
    found = None
    if model is not None:
        found = largest_batch(model, device, limit=limit, seconds=within, on_progress=_on_progress)

    if output_format == "json":
        click.echo(json.dumps(_known(examined, model, found), indent=2))
    else:
        click.echo("\n\n".join(_sections(examined, model, found)))

    return 0


def _on_progress(text: str) -> None:
    click.echo(text, err=True)


def _machine(environment: Environment) -> list[tuple[str, object]]:
    # The quota of a container may be a fraction of a core, such as 1.5.
    quota = "none" if environment.cpu_quota is None else f"{environment.cpu_quota:g} cores"

    return [
        ("processor", f"{environment.cpu}, instructions {environment.cpu_capability}"),
        ("usable cores", str(environment.cores)),
        ("CPU quota", quota),
        ("threads per cell", str(machine.default_threads())),
        ("memory", show(float(environment.memory_bytes), "bytes")),
        ("free memory", show(float(machine.free_memory_bytes()), "bytes")),
        ("CUDA device", environment.gpu or "none visible to torch"),
        ("CUDA, driver", f"{environment.cuda or '-'}, {environment.driver or '-'}"),
        ("C++ compiler", environment.compiler or "none"),
        ("system", environment.system),
        ("Python", environment.python),
        *((name, machine.version_of(name)) for name in LIBRARIES),
    ]


def _variants(environment: Environment) -> Iterator[tuple[str, str, str, str]]:
    devices: tuple[Device, ...] = ("cpu", "cuda")
    for device in devices:
        for name in VARIANTS:
            found = support(parse_variant(name, device=device, threads=1), device=device, environment=environment)
            if device in VARIANTS[name].devices:
                yield name, device, found.status, found.reason


def _sections(examined: Examined, model: str | None, found: Largest | None) -> Iterator[str]:
    environment = examined.environment
    yield render(("machine", ""), _machine(environment), "table")
    yield render(("variant", "device", "status", "why"), list(_variants(environment)), "table")
    threads = f"{examined.threads} thread{'s' if examined.threads > 1 else ''}"

    # With --quick, the ceilings are those of an earlier time, if any, and the noise is missing.
    most = render((f"ceilings, {examined.device}, {threads}", ""), _ceilings(examined.ceilings), "table")
    yield "\n".join((most, *_warnings(examined.ceilings)))
    if examined.control_workload is not None:
        yield render(("noise now", ""), _noise(examined.control_workload), "table")
    if found is not None:
        yield f"{model}: {_largest_text(found)}"


def _ceilings(found: Found | None) -> list[tuple[str, object]]:
    if found is None:
        return [("not measured", "run 'cnnbench doctor' without --quick")]
    # A failure is one row, so that the rest of the report is still shown.
    if isinstance(found.reply, Failure):
        return [("not measured", found.reply.error)]

    values = _values(found)
    rows: list[tuple[str, object]] = [
        (words, _ceiling(name, values[name])) for words, name in CEILINGS if name in values
    ]
    return [*rows, ("measured", "earlier, on the same machine and versions")] if found.cached else rows


def _warnings(found: Found | None) -> Iterator[str]:
    if found is not None and not isinstance(found.reply, Failure):
        for warning in found.reply.outcome.warnings:
            yield f"{warning.fact[0].upper()}{warning.fact[1:]}.\n{warning.advice}"


def _ceiling(name: str, value: float) -> str:
    """Return a ceiling with its unit for people; a number of operations per second gets the unit FLOP/s."""
    text = show(value, QUANTITIES[name].shown)
    return text.replace("/s", "FLOP/s") if name.endswith("flop_per_s") else text


def _values(found: Found) -> dict[str, float]:
    assert not isinstance(found.reply, Failure)
    return {m.quantity: m.samples[0] for m in found.reply.outcome.measurements}


def _noise(control_workload: WatchedWorkload | Failure) -> list[tuple[str, object]]:
    if isinstance(control_workload, Failure):
        return [("not measured", control_workload.error)]

    # The spread is that of the control workload; the other rows are the system's counters over the same time.
    spread, noise = spread_of(control_workload.latencies_s), control_workload.noise
    kind = "quiet" if is_quiet(spread) else "shared"
    rows: list[tuple[str, object]] = [
        (
            "spread of fixed work",
            f"{show(spread, 'share')}, so the machine counts as {kind} (quiet: under {100 * QUIET_SPREAD:g} %)",
        ),
        ("stolen by other guests", show(noise.steal_share, "share")),
        ("some process waited", _pressure(noise.pressure_share)),
        ("load", show(noise.load, "number")),
        ("clock", "-" if noise.clock_cycles_per_s is None else f"{noise.clock_cycles_per_s / 1e9:.2f} GHz"),
    ]
    return rows


def _pressure(share: float | None) -> str:
    """Return the share in words, and say if other work competes for the cores.

    Such work can make the control workload slow but steady, which the spread does not show.
    """
    text = show(share, "share")
    return f"{text}: other work competes for the cores" if share is not None and share > BUSY_PRESSURE else text


def _largest_text(found: Largest) -> str:
    if found.batch_size == 0:
        return f"not even batch 1 runs: {found.reason}"
    if found.failed_at is None:
        return f"batch {found.batch_size} fits; nothing larger was tried"
    # Without a size between the two, the search is complete; otherwise its time ran out.
    if found.failed_at == found.batch_size + 1:
        return f"largest batch that fits: {found.batch_size} (at {found.failed_at}: {found.reason})"
    return f"batch {found.batch_size} fits, {found.failed_at} does not: {found.reason}"


def _known(examined: Examined, model: str | None, found: Largest | None) -> dict[str, object]:
    names = ("variant", "device", "status", "why")
    return {
        "environment": dataclasses.asdict(examined.environment),
        "threads": machine.default_threads(),
        "free_memory_bytes": machine.free_memory_bytes(),
        "variants": [dict(zip(names, row, strict=True)) for row in _variants(examined.environment)],
        "ceilings": _known_ceilings(examined),
        "noise": _known_noise(examined.control_workload),
        "largest_batch": None if found is None else {"model": model, **dataclasses.asdict(found)},
    }


def _known_ceilings(examined: Examined) -> dict[str, object] | None:
    found = examined.ceilings
    if found is None:
        return None
    about = {"device": examined.device, "threads": examined.threads, "cached": found.cached}
    if isinstance(found.reply, Failure):
        return {**about, "error": found.reply.error}
    warnings = [dataclasses.asdict(warning) for warning in found.reply.outcome.warnings]
    return {**about, **_values(found), "warnings": warnings}


def _known_noise(control_workload: WatchedWorkload | Failure | None) -> dict[str, object] | None:
    if control_workload is None:
        return None
    if isinstance(control_workload, Failure):
        return {"error": control_workload.error}
    spread = spread_of(control_workload.latencies_s)
    own = {"spread": spread, "quiet": is_quiet(spread)}
    return {**own, **dataclasses.asdict(control_workload.noise)}
