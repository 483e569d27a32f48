"""Hand-made records for tests of the reporting arm: every number in them is chosen, none is measured."""

from collections.abc import Sequence
from dataclasses import replace

from cnnbench.record import Caution, Environment, Measurement, Record, Run, Status
from cnnbench.spec import Budget, Case, Device, Shape, Task, Variant

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


def case(
    model: str,
    variant: Variant = EAGER,
    *,
    task: Task = "infer",
    device: Device = "cpu",
    batch_size: int = 1,
    shape: Shape = (3, 224, 224),
    dataset: str | None = None,
    seed: int = 0,
) -> Case:
    return Case(
        model=model,
        variant=variant,
        task=task,
        device=device,
        batch_size=batch_size,
        input_shape=shape,
        dataset=dataset,
        seed=seed,
        budget=Budget(total_s=60.0, timeout_s=600.0, launches=1),
    )


def once(quantity: str, value: float) -> Measurement:
    return Measurement(quantity=quantity, samples=(value,))


def timed(latencies: Sequence[float], *, units: int = 10, passes: int = 0) -> tuple[Measurement, ...]:
    """Return the timings of one launch: a sample a block, lasting 1.25 x its iterations, and `passes` single ones."""
    blocks = tuple(range(len(latencies)))
    found = [
        Measurement(quantity="latency_s", samples=tuple(latencies), units=units, blocks=blocks),
        Measurement(
            quantity="sample_s", samples=tuple(1.25 * units * one for one in latencies), units=units, blocks=blocks
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
    launch: int = 0,
    status: Status = "ok",
    error: str | None = None,
    cautions: tuple[Caution, ...] = (),
    notes: tuple[str, ...] = (),
    environment: Environment = MACHINE,
) -> Record:
    return Record(
        case=replace(what, seed=what.seed + launch),
        environment=environment,
        launch=launch,
        started="2026-01-02T03:04:05Z",
        duration_s=4.5,
        status=status,
        measurements=measurements,
        cautions=cautions,
        notes=notes,
        error=error,
    )


def counted(model: str, *, params: int, macs: int, shape: Shape = (3, 224, 224), notes: tuple[str, ...] = ()) -> Record:
    """Return the complexity record of `model`, all parameters trainable, 1000 classes."""
    values = {"params": params, "trainable_params": params, "macs": macs, "classes": 1000}
    found = [once(name, value) for name, value in values.items()]
    return record(case(model, task="complexity", shape=shape), *found, notes=notes)


def judged(model: str, correct: int, tested: int, dataset: str = "fashion_mnist") -> Record:
    found = [once("correct", correct), once("tested", tested), once("top1", correct / tested)]
    return record(case(model, task="accuracy", dataset=dataset), *found)


def run(**options: object) -> Run:
    start = Run(title="Two networks", command="cnnbench compare a b", started="2026-01-02T03:04:00Z")
    return replace(start, **options)  # type: ignore[arg-type]  # the fields of Run, checked by its constructor
