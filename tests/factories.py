"""Hand-made records for tests of the reporting arm: every number in them is chosen, none is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from cnnbench.expectation_file import Expectation
from cnnbench.record import Environment, Layer, Measurement, Record, RecordedWarning, Run, Status
from cnnbench.spec import Budget, Case, Device, Role, Shape, Task, Variant

MACHINE = Environment(
    cnnbench="0.1.0",
    python="3.12.3",
    torch="2.11.0",
    torchvision="0.26.0",
    system="Linux-6.1-x86_64",
    cpu="Example CPU @ 2.0 GHz",
    cores=2,
    cpu_quota=None,
    memory_bytes=8 * 2**30,
    cpu_capability="AVX2",
    compiler="g++ 13.2.0",
)

EAGER = Variant(name="eager")
LAST = Variant(name="channels_last", channels_last=True)
AMP = Variant(name="amp", precision="amp_bf16")
COMPILE = Variant(name="compile", compile_mode="default")
BF16 = Variant(name="bf16", precision="bf16")


def case(
    model: str,
    variant: Variant = EAGER,
    *,
    task: Task = "infer",
    device: Device = "cpu",
    batch_size: int = 1,
    shape: Shape = (3, 224, 224),
    dataset: str | None = None,
    weights: str = "none",
    seed: int = 0,
    role: Role = "timed",
) -> Case:
    return Case(
        model=model,
        variant=variant,
        task=task,
        device=device,
        batch_size=batch_size,
        input_shape=shape,
        dataset=dataset,
        weights=weights,
        role=role,
        seed=seed,
        budget=Budget(total_s=60.0, timeout_s=600.0),
    )


def once(quantity: str, value: float) -> Measurement:
    return Measurement(quantity=quantity, samples=(float(value),))


def timed(latencies: Sequence[float], *, iterations_per_sample: int = 10, passes: int = 0) -> tuple[Measurement, ...]:
    """Return the timings of one round: a sample a block, lasting 1.25 x its iterations, and `passes` single ones."""
    blocks = tuple(range(len(latencies)))
    found = [
        Measurement(
            quantity="latency_s", samples=tuple(latencies), iterations_per_sample=iterations_per_sample, blocks=blocks
        ),
        Measurement(
            quantity="sample_s",
            samples=tuple(1.25 * iterations_per_sample * one for one in latencies),
            iterations_per_sample=iterations_per_sample,
            blocks=blocks,
        ),
    ]
    if passes:
        picked = tuple(latencies[at % len(latencies)] * (1 + at / 1000) for at in range(passes))
        owners = tuple(at % len(latencies) for at in range(passes))
        found.append(Measurement(quantity="iteration_s", samples=picked, blocks=owners))
    return tuple(found)


def record(
    what: Case,
    *measurements: Measurement,
    number: int = 0,
    status: Status = "ok",
    error: str | None = None,
    warnings: tuple[RecordedWarning, ...] = (),
    notes: tuple[str, ...] = (),
    environment: Environment = MACHINE,
    started: str = "2026-01-02T03:04:05Z",
) -> Record:
    return Record(
        case=what,
        environment=environment,
        round=number,
        started=started,
        duration_s=4.5,
        status=status,
        measurements=measurements,
        warnings=warnings,
        notes=notes,
        error=error,
    )


def counted(
    model: str,
    *,
    params: int,
    macs: int,
    shape: Shape = (3, 224, 224),
    notes: tuple[str, ...] = (),
    cost: Mapping[str, float] = MappingProxyType({}),
) -> Record:
    """Return the complexity record of `model`, all parameters trainable, 1000 classes."""
    values = {"params": params, "trainable_params": params, "macs": macs, "classes": 1000, **cost}
    found = [once(name, value) for name, value in values.items()]
    return record(case(model, task="complexity", shape=shape), *found, notes=notes)


def judged(
    model: str,
    correct: int,
    tested: int,
    *,
    dataset: str = "fashion_mnist",
    shape: Shape = (3, 224, 224),
    weights: str = "none",
) -> Record:
    found = [once("correct", correct), once("tested", tested), once("top1", correct / tested)]
    how = f"Trained on 100 images of {dataset}."
    what = case(model, task="accuracy", dataset=dataset, shape=shape, weights=weights)
    return record(what, *found, notes=(how,))


def run(**options: object) -> Run:
    start = Run(title="Two models", command="cnnbench compare a b", started="2026-01-02T03:04:00Z")
    return replace(start, **options)  # type: ignore[arg-type]  # the fields of Run, checked by its constructor


WAVE = (1.00, 1.02, 0.99, 1.05, 1.01, 0.98, 1.03, 1.00, 0.97, 1.04, 1.01, 0.99)
"""A machine that wanders by some per cent from block to block, seen alike by all cells of a block."""

JITTER = (1.003, 0.987, 0.998, 0.991, 1.012, 1.006, 0.996, 0.982, 1.021, 0.993, 1.014, 1.001)
"""What one cell sees alone."""

EMULATED = RecordedWarning(
    code="emulated",
    fact="this processor computes bf16 by way of fp32",
    advice="Take a processor with native bf16 to learn of its speed.",
)


def leaking(mebibytes: float) -> RecordedWarning:
    """Return a warning that a runner might record, whose fact has a number of its own at its end."""
    fact = f"the process held more memory after the last pass than after the first ({mebibytes} MiB)"
    return RecordedWarning(code="leaking", fact=fact, advice="Look for what keeps the batches.")


def wave(
    latency_s: float, *, jitter: bool = False, passes: int = 0, iterations_per_sample: int = 1
) -> tuple[Measurement, ...]:
    values = [latency_s * w * (j if jitter else 1.0) for w, j in zip(WAVE, JITTER, strict=True)]
    return timed(values, iterations_per_sample=iterations_per_sample, passes=passes)


STEADY = (1.0, 1.004, 0.998, 1.001)
"""What the processes of four rounds take relative to each other: a few thousandths, as on a quiet machine."""


def in_rounds(what: Case, latency_s: float, factors: Sequence[float] = STEADY, *more: Measurement) -> list[Record]:
    """Return a record for each round, in which a pass takes `latency_s` times its factor on a wandering machine."""
    return [record(what, *wave(latency_s * factor), *more, number=at) for at, factor in enumerate(factors)]


def beside(cell: Case, role: Role) -> Case:
    """Return the case of what is measured as `role` for `cell`; numerics are always those of inference."""
    return replace(cell, role=role, task="infer" if role == "numerics" else cell.task)


def control_workload(*, quiet: bool = False) -> tuple[Measurement, ...]:
    """Return what a control workload gives in twelve blocks, and the machine's counters."""
    near = [1 + (w - 1) / 10 for w in WAVE] if quiet else WAVE
    blocks = tuple(range(len(WAVE)))
    return (
        *timed([0.01 * w for w in near], iterations_per_sample=1),
        Measurement(quantity="steal_share", samples=(0.0, 0.03, *[0.0] * 10), blocks=blocks),
        once("pressure_share", 0.125),
        once("load", 1.5),
        once("clock_cycles_per_s", 2.45e9),
    )


def numerics(error: float, allowed: float, agreed: int = 31) -> tuple[Measurement, ...]:
    values = {"max_relative_error": error, "numerics_allowed": allowed, "top1_agreed": agreed, "top1_compared": 32}
    return tuple(once(name, value) for name, value in values.items())


def ceilings(flop_per_s: float = 1.5e11) -> Record:
    """Return the record of a machine with that peak and 10 GB/s."""
    found = {"fp32_flop_per_s": flop_per_s, "copy_bytes_per_s": 1e10, "dispatch_s": 1e-6}
    return record(case("machine", role="ceilings"), *[once(name, value) for name, value in found.items()])


COST = {"weight_bytes": 46_758_048.0, "activation_bytes": 40_000_000.0, "operator_calls": 70.0}
"""What the roofline needs to know of a model beside its multiply-adds."""


def step(latency_s: float, *, jitter: bool = False) -> tuple[Measurement, ...]:
    parts = {"forward_s": 0.3, "backward_s": 0.6, "optimizer_s": 0.1}
    split = [Measurement(quantity=q, samples=tuple(latency_s * share * w for w in WAVE)) for q, share in parts.items()]
    return (*wave(latency_s, jitter=jitter), *split)


def whole_run() -> list[Record | Run]:
    """Return a run of every kind of cell: good, shaky, failed, unsupported, trained, judged, only counted, hostile.

    Two of its groups have an A/A control, one of them a control workload; one variant computes something else.
    """
    grey = (1, 28, 28)
    hostile = "<script>alert(1)</script>|`a`"
    lenet, last = case("lenet", shape=grey), case("resnet18", LAST)
    items: list[Record | Run] = [
        run(budget_s=240.0),
        counted("resnet18", params=11_689_512, macs=1_814_073_344, notes=("not counted: aten::max_pool2d",), cost=COST),
        counted("lenet", params=61_706, macs=416_520, shape=grey),
        counted("=only_counted", params=1_000, macs=20_000),
    ]
    for number, (one, two, three) in enumerate(
        ((1.0, 1.002, 0.98), (1.004, 0.999, 1.01), (0.998, 1.001, 1.03), (1.001, 1.004, 0.97))
    ):
        eager = wave(0.0432 * one, passes=300, iterations_per_sample=1)
        watched = Measurement(quantity="steal_share", samples=(0.001, 0.05, *[0.0] * 10), blocks=tuple(range(12)))
        items += [
            record(case("resnet18"), replace(eager[0], rejected=(1,)), *eager[1:], watched, number=number),
            record(beside(case("resnet18"), "aa_control"), *wave(0.0431 * two, jitter=True), number=number),
            record(beside(case("resnet18"), "control_workload"), *control_workload(), number=number),
            record(last, *wave(0.0360 * two, jitter=True, passes=300), number=number, warnings=(leaking(2.5),)),
            record(
                case("resnet18", COMPILE),
                *wave(0.0430 * three, jitter=True),
                once("compile_s", 20.0 + number),
                once("graphs", 1),
                once("graph_breaks", 0),
                number=number,
            ),
            record(lenet, *wave(0.000231 * one, iterations_per_sample=50), number=number),
            record(
                beside(lenet, "aa_control"), *wave(0.000235 * two, jitter=True, iterations_per_sample=50), number=number
            ),
            record(
                case("lenet", BF16, shape=grey),
                *wave(0.00012 * two, jitter=True, iterations_per_sample=50),
                number=number,
            ),
            record(beside(lenet, "lineup"), *wave(0.000229 * two, iterations_per_sample=50), number=number),
            record(beside(case("resnet18"), "lineup"), *wave(0.0431 * one, jitter=True), number=number),
        ]
    items += [
        record(beside(case("lenet", BF16, shape=grey), "numerics"), *numerics(0.5, 0.024, agreed=20)),
        record(beside(last, "numerics"), *numerics(1.5e-6, 2.4e-6)),
        record(beside(case("resnet18"), "memory"), once("peak_memory_bytes", 120 * 2**20)),
        record(beside(last, "memory"), status="timeout", error="No answer within 600 s."),
        ceilings(),
    ]
    items += in_rounds(case("lenet", LAST, shape=grey), 0.00025, (1.0, 1.003, 0.999))
    items += [
        record(case("lenet", LAST, shape=grey), number=3, status="timeout", error="No answer within 600 s."),
        record(case("resnet18", AMP), status="unsupported", error="bf16 is emulated here:\n  500 times slower"),
        record(case("lenet", task="train", batch_size=64, shape=grey), *step(0.0051), warnings=(leaking(2.1),)),
        record(case("lenet", LAST, task="train", batch_size=64, shape=grey), *step(0.0049, jitter=True)),
        record(
            case(hostile, batch_size=64),
            status="oom",
            error="Out of memory: 2 GiB | <b>*all*</b>",
            warnings=(leaking(30.3), replace(EMULATED, fact="<b>|*was*|</b>")),
        ),
        judged("lenet", 9_123, 10_000, shape=grey),
        record(
            case("resnet18", task="accuracy", dataset="fashion_mnist"),
            status="unsupported",
            error="It takes 3 channels, fashion_mnist has 1.",
        ),
        record(
            case(hostile, task="accuracy", dataset="fashion_mnist"),
            status="unsupported",
            error="It takes 3 channels, fashion_mnist has 1.",
        ),
        run(budget_s=240.0, wall_s=245.0, passes_s=161.0, compile_s=21.0),
    ]
    return items


def a_layer(name: str, kind: str, shape: Shape, *, params: int = 0, macs: int = 0) -> Layer:
    return Layer(name=name, kind=kind, output_shape=shape, params=params, macs=macs)


LAYERS = (
    a_layer("0", "Conv2d", (1, 8, 4, 4), params=100, macs=2000),
    a_layer("1", "Linear", (1, 10), params=300, macs=1000),
)


def an_expectation(*, params: int = 400) -> Expectation:
    """Return what is expected of a model of two layers: its counts."""
    return Expectation(
        input_shape=(3, 4, 4),
        params=params,
        trainable_params=300,
        macs=3000,
        operator_calls=7,
        weight_bytes=1600,
        layers=LAYERS,
    )
