"""What `describe` and `doctor` print, from a hand-made count and a hand-made machine."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cnnbench import machine
from cnnbench.cli.commands import describe, doctor
from cnnbench.cli.main import exit_code
from cnnbench.models import MODELS
from cnnbench.orchestrator.ceilings_cache import Examined, Found, WatchedWorkload
from cnnbench.orchestrator.queries import Largest, largest_batch
from cnnbench.record import Layer, Outcome, Record, RecordedWarning
from cnnbench.spec import Case, Device
from cnnbench.workers.messages import Done, Failure
from tests.factories import MACHINE, counted, once


def table(*lines: str) -> str:
    return "\n".join(lines)


COUNTED = replace(
    counted("mine.py:f", params=400, macs=3000, shape=(3, 4, 4), notes=("torchinfo counts 8 more.",)),
    layers=(
        Layer(name="0", kind="Conv2d", output_shape=(1, 8, 4, 4), params=100, macs=2000),
        Layer(name="1", kind="Linear", output_shape=(1, 10), params=300, macs=1000),
    ),
)
COUNTED = replace(
    COUNTED, measurements=(*COUNTED.measurements, once("macs_torchinfo", 3008), once("weight_bytes", 1600))
)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def answer(model: str, input_size: object) -> Record:
        asked.append(input_size)
        found = replace(COUNTED, case=replace(COUNTED.case, model=model))
        return replace(found, status="failed", error="It fails.", measurements=()) if asked == [(5, 6)] else found

    monkeypatch.setattr("cnnbench.cli.commands.describe.count_model", answer)
    monkeypatch.setattr("cnnbench.cli.commands.describe.check_name", lambda name: None)


@pytest.mark.usefixtures("count")
def test_a_model_from_outside_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f"]) == 0
    assert capsys.readouterr() == (
        table(
            "mine.py:f: input 3x4x4, batch 1",
            "",
            "layer    kind    output      params  share      MACs  share",
            "-------  ------  --------  --------  -------  ------  -------",
            "0        Conv2d  1x8x4x4        100  25.0 %    2,000  66.7 %",
            "1        Linear  1x10           300  75.0 %    1,000  33.3 %",
            "",
            "total",
            "--------------------  --------",
            "parameters                 400",
            "trainable parameters       400",
            "MACs by torch            3,000",
            "MACs by fvcore               -",
            "MACs by torchinfo        3,008",
            "weights               1.56 KiB",
            "activations                  -",
            "",
            "torchinfo counts 8 more.",
            "",
        ),
        "",
    )


@pytest.mark.usefixtures("count")
def test_a_model_from_outside_is_described_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "mine.py:f",
        "source": "mine.py:f",
        "input_shape": [3, 4, 4],
        "params": 400,
        "trainable_params": 400,
        "macs": 3000,
        "classes": 1000,
        "weight_bytes": 1600,
        "activation_bytes": None,
        "counters": {"torch": 3000, "fvcore": None, "torchinfo": 3008},
        "notes": ["torchinfo counts 8 more."],
        "layers": [
            {"name": "0", "kind": "Conv2d", "output_shape": [1, 8, 4, 4], "params": 100, "macs": 2000},
            {"name": "1", "kind": "Linear", "output_shape": [1, 10], "params": 300, "macs": 1000},
        ],
        "recipe": None,
        "deviations": [],
        "printed": [],
        "errata": [],
    }


@pytest.mark.usefixtures("count")
def test_a_model_that_cannot_be_counted_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["describe", "mine.py:f", "--input-size", "5x6"]) == 1
    assert capsys.readouterr() == ("", "Error: mine.py:f cannot be counted: It fails.\n")


def test_a_built_in_tells_its_story() -> None:
    text = "\n".join(describe._story(MODELS["lenet"]))
    assert text.splitlines()[:3] == [
        "Source: mslearn 5.3 (mslearn: Microsoft Learn, 'Introduction to computer vision with PyTorch')",
        "Recipe: cifar10, normalise; cross_entropy, sgd 0.001 momentum 0.9, batch 14, 3 epochs, shuffled",
        "Printed: params 59,386",
    ]
    assert text.splitlines()[-1] == (
        "Erratum (mslearn, train_epoch, train_long and validate): the sum of the batches' mean losses is divided by "
        "the number of samples, too small by about the batch; corrected: mean loss over samples"
    )


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Largest(batch_size=0, failed_at=1, reason="Full."), "not even batch 1 runs: Full."),
        (Largest(batch_size=64, failed_at=None, reason=None), "batch 64 fits; nothing larger was tried"),
        (Largest(batch_size=64, failed_at=65, reason="Full."), "largest batch that fits: 64 (at 65: Full.)"),
        (Largest(batch_size=64, failed_at=128, reason="Full."), "batch 64 fits, 128 does not: Full."),
    ],
)
def test_the_largest_batch_in_words(found: Largest, expected: str) -> None:
    assert doctor._largest_text(found) == expected


CEILINGS = Outcome(
    measurements=(
        once("fp32_flop_per_s", 187e9),
        once("bf16_flop_per_s", 409e9),
        once("conv_flop_per_s", 2.25e12),
        once("copy_bytes_per_s", 24.6e9),
        once("triad_bytes_per_s", 21.5e9),
        once("dispatch_s", 1.05e-6),
    )
)
NOISE = machine.Noise(steal_share=0.015, pressure_share=0.425, load=1.25, clock_cycles_per_s=2.6e9)
CONTROL_WORKLOAD = WatchedWorkload(
    latencies_s=(0.9, 0.9, 0.9975, 1.0, 1.0, 1.0, 1.0025, 2.0, 2.0),
    noise=NOISE,
)
"""Nine samples each: the quartiles are the third and the seventh."""

EXAMINED = Examined(
    environment=replace(MACHINE, cpu_quota=1.5),
    device="cpu",
    threads=2,
    ceilings=Found(reply=Done(outcome=CEILINGS), cached=False),
    control_workload=CONTROL_WORKLOAD,
)
QUICK = replace(EXAMINED, threads=1, ceilings=None, control_workload=None)
BROKEN = Failure(status="oom", error="No memory.")


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Examined]:
    """Return the list whose last entry the doctor gets, on the device that it asks for."""
    given = [EXAMINED]

    def pretend(device: Device, threads: int, *, measure: bool, on_progress: object) -> Examined:
        return replace(given[-1], device=device) if measure else QUICK

    monkeypatch.setattr("cnnbench.cli.commands.doctor.examine", pretend)
    return given


@pytest.mark.usefixtures("examined")
def test_the_doctor_shows_machine_and_variants(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "machine"
    assert "processor         Example CPU @ 2.0 GHz, instructions AVX2" in lines
    assert "CPU quota         1.5 cores" in lines
    assert "memory            8.00 GiB" in lines
    assert "CUDA device       none visible to torch" in lines
    assert "C++ compiler      g++ 13.2.0" in lines
    assert exit_code(["doctor", "--format", "json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert tuple(known) == (
        *("environment", "threads", "free_memory_bytes", "variants", "ceilings", "noise", "largest_batch"),
    )
    assert (known["environment"]["cpu_quota"], known["largest_batch"]) == (1.5, None)
    found = {(row["variant"], row["device"]): row["status"] for row in known["variants"]}
    assert (found["eager", "cpu"], found["amp", "cpu"], found["tf32", "cuda"]) == ("native", "emulated", "unsupported")


def parts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is printed after machine and variants."""
    return capsys.readouterr().out.split("\n\n")[2:]


def test_the_doctor_shows_what_the_machine_can_do_and_its_noise(
    examined: list[Examined], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["doctor"]) == 0
    assert parts(capsys) == [
        table(
            "ceilings, cpu, 2 threads",
            "--------------------------  ------------",
            "matrix product fp32         187 GFLOP/s",
            "matrix product bf16         409 GFLOP/s",
            "3x3 convolution fp32        2.25 TFLOP/s",
            "memory copy                 24.6 GB/s",
            "memory triad                21.5 GB/s",
            "one call                    1.05 us",
        ),
        table(
            "noise now",
            "----------------------  --------------------------------------------------------",
            "spread of fixed work    0.5 %, so the machine counts as quiet (quiet: under 1 %)",
            "stolen by other guests  1.5 %",
            "some process waited     42.5 %: other work competes for the cores",
            "load                    1.25",
            "clock                   2.60 GHz",
            "",
        ),
    ]


def test_doctor_explains_missing_or_untrusted_numbers(
    examined: list[Examined], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(["doctor", "--quick"]) == 0
    assert parts(capsys) == [
        table(
            "ceilings, cpu, 1 thread",
            "-------------------------  -------------------------------------",
            "not measured               run 'cnnbench doctor' without --quick",
            "",
        )
    ]
    examined.append(replace(EXAMINED, ceilings=Found(reply=BROKEN, cached=False), control_workload=BROKEN))
    assert exit_code(["doctor", "--device", "cuda"]) == 0
    assert parts(capsys) == [
        table(
            "ceilings, cuda, 2 threads",
            "---------------------------  ----------",
            "not measured                 No memory.",
        ),
        table("noise now", "------------  ----------", "not measured  No memory.", ""),
    ]
    shaky = Outcome(
        measurements=CEILINGS.measurements[:1], warnings=(RecordedWarning(code="c", fact="busy", advice="Wait."),)
    )
    unknown = replace(
        CONTROL_WORKLOAD, latencies_s=(1.0, 1.0, 1.25, 1.5, 1.5, 1.5, 1.75, 2.0, 2.0), noise=machine.Noise()
    )
    examined.append(replace(EXAMINED, ceilings=Found(reply=Done(outcome=shaky), cached=True), control_workload=unknown))
    assert exit_code(["doctor"]) == 0
    assert parts(capsys) == [
        table(
            "ceilings, cpu, 2 threads",
            "--------------------------  -----------------------------------------",
            "matrix product fp32         187 GFLOP/s",
            "measured                    earlier, on the same machine and versions",
            "Busy.",
            "Wait.",
        ),
        table(
            "noise now",
            "----------------------  ----------------------------------------------------------",
            "spread of fixed work    33.3 %, so the machine counts as shared (quiet: under 1 %)",
            "stolen by other guests  -",
            "some process waited     -",
            "load                    -",
            "clock                   -",
            "",
        ),
    ]


def test_the_doctor_tells_ceilings_and_noise_in_json(
    examined: list[Examined], capsys: pytest.CaptureFixture[str]
) -> None:
    def known(*more: str) -> tuple[object, object]:
        assert exit_code(["doctor", "--format", "json", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["ceilings"], found["noise"]

    about = {"device": "cpu", "threads": 2, "cached": False}
    values = {m.quantity: m.samples[0] for m in CEILINGS.measurements}
    shown, noise = known()
    assert shown == {**about, **values, "warnings": []}
    assert noise == {
        "spread": pytest.approx(0.005),
        "quiet": True,
        "steal_share": 0.015,
        "pressure_share": 0.425,
        "load": 1.25,
        "clock_cycles_per_s": 2.6e9,
    }
    assert known("--quick") == (None, None)
    examined.append(replace(EXAMINED, ceilings=Found(reply=BROKEN, cached=False), control_workload=BROKEN))
    assert known() == ({**about, "error": "No memory."}, {"error": "No memory."})


@pytest.mark.parametrize(("asked", "given"), [((), 3), (("--threads", "2"), 2), (("--threads", "8"), 3)])
def test_doctor_uses_requested_threads_up_to_available(
    asked: tuple[str, ...], given: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[object] = []

    def pretend(device: Device, threads: int, *, measure: bool, on_progress: Callable[[str], None]) -> Examined:
        seen.append((device, threads, measure))
        on_progress("measuring")
        return QUICK

    monkeypatch.setattr(machine, "default_threads", lambda: 3)
    monkeypatch.setattr("cnnbench.cli.commands.doctor.examine", pretend)
    assert exit_code(["doctor", *asked]) == 0
    assert seen == [("cpu", given, True)]
    assert capsys.readouterr().err == "measuring\n"


@pytest.mark.usefixtures("examined")
def test_the_doctor_searches_the_largest_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def search(model: str, device: str, *, limit: int, seconds: float, on_progress: object) -> Largest:
        asked.append((model, device, limit, seconds))
        return Largest(batch_size=64, failed_at=None, reason=None)

    monkeypatch.setattr("cnnbench.cli.commands.doctor.largest_batch", search)
    assert exit_code(["doctor", "--quick", "--model", "lenet", "--largest", "2k", "--within", "5s"]) == 0
    assert asked == [("lenet", "cpu", 2000, 5.0)]
    assert capsys.readouterr().out.endswith("\n\nlenet: batch 64 fits; nothing larger was tried\n")


@pytest.mark.parametrize(
    ("seconds", "fits", "tried", "expected"),
    [
        (0.5, 8, [1], Largest(batch_size=1, failed_at=None, reason=None)),
        (0.5, 0, [1], Largest(batch_size=0, failed_at=1, reason="Full.")),
        (2.5, 8, [1, 2, 4], Largest(batch_size=4, failed_at=None, reason=None)),
        (99.0, 5, [1, 2, 4, 8, 6, 5], Largest(batch_size=5, failed_at=6, reason="Full.")),
    ],
)
def test_search_time_excludes_startup_and_allows_one_trial(
    seconds: float, fits: int, tried: list[int], expected: Largest, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    asked: list[int] = []

    @contextmanager
    def slowly(request: object) -> Iterator[None]:
        now[0] += 100.0
        yield

    def trial(host: object, case: Case, scratch: str) -> Failure | None:
        now[0] += 1.0
        asked.append(case.batch_size)
        return Failure(status="oom", error="Full.") if case.batch_size > fits else None

    monkeypatch.setattr("cnnbench.orchestrator.queries.time.monotonic", lambda: now[0])
    monkeypatch.setattr("cnnbench.orchestrator.queries.open_host", slowly)
    monkeypatch.setattr("cnnbench.orchestrator.queries.ask", lambda host, names: (MACHINE, {}))
    monkeypatch.setattr("cnnbench.orchestrator.queries._try", trial)
    found = largest_batch("lenet", "cpu", limit=1024, seconds=seconds, on_progress=lambda text: None)
    assert (found, asked) == (expected, tried)
