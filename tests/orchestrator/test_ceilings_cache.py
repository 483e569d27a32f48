"""Ceilings that are kept, found, measured again or not to be had; and the control workload, without a process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from cnnbench import machine
from cnnbench.jobs import Job
from cnnbench.orchestrator import ceilings_cache as ceilings
from cnnbench.orchestrator.ceilings_cache import (
    Examined,
    Found,
    WatchedWorkload,
    cache_file,
    ceilings_case,
    examine,
    find_ceilings,
    keep_ceilings,
    measured_ceilings,
    watch_control_workload,
)
from cnnbench.record import Outcome, RecordedWarning
from cnnbench.spec import Budget, Case, Variant
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Built, Done, Failure, Reply, Request, Take, Taken, Warm
from tests.factories import MACHINE, once
from tests.orchestrator.fakes import BOOM, READY, sample

CASE = ceilings_case("cpu", 2, seconds=2.0)
BUSY = RecordedWarning(code="ceilings_disturbed", fact="Other work ran.", advice="Close it.")


def outcome(fp32: float, dispatch_s: float = 1e-6) -> Outcome:
    return Outcome(measurements=(once("fp32_flop_per_s", fp32), once("dispatch_s", dispatch_s)))


class Pretended:
    """A host of workers that answer as told, one list of replies each."""

    def __init__(self, *replies: Sequence[Reply]) -> None:
        self.left = list(replies)
        self.heard: list[Request] = []
        self.waits: list[float] = []
        self.closed = 0

    def start(self) -> SimpleNamespace:
        mine = list(self.left.pop(0))

        def receive(timeout_s: float) -> Reply:
            self.waits.append(timeout_s)
            return mine.pop(0)

        def close() -> None:
            self.closed += 1

        return SimpleNamespace(send=self.heard.append, receive=receive, close=close)

    def measure(self, file: Path, *, anew: bool = False) -> Found:
        return measured_ceilings(cast("Host", self), CASE, MACHINE, scratch="/scratch", anew=anew, file=file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "ceilings.json"


def test_the_case_of_ceilings() -> None:
    assert (
        Case(
            model="machine",
            variant=Variant(name="eager", threads=2),
            task="infer",
            device="cpu",
            batch_size=1,
            input_shape=(),
            role="ceilings",
            seed=0,
            budget=Budget(total_s=2.0, timeout_s=62.0),
        )
        == CASE
    )


def test_the_file_is_in_the_users_cache() -> None:
    assert cache_file({"XDG_CACHE_HOME": "/c"}) == Path("/c/cnnbench/ceilings.json")
    usual = Path("~/.cache/cnnbench/ceilings.json").expanduser()
    assert (cache_file({}), cache_file({"XDG_CACHE_HOME": ""})) == (usual, usual)


def test_kept_ceilings_need_same_machine_device_and_threads(file: Path) -> None:
    other = replace(MACHINE, torch="9.0")
    keep_ceilings(MACHINE, "cpu", 2, outcome(5.0), file=file)
    keep_ceilings(MACHINE, "cpu", 1, outcome(3.0), file=file)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) == outcome(5.0)
    assert find_ceilings(MACHINE, "cpu", 1, file=file) == outcome(3.0)
    assert find_ceilings(MACHINE, "cuda", 2, file=file) is None
    assert find_ceilings(other, "cpu", 2, file=file) is None
    assert [path.name for path in file.parent.iterdir()] == ["ceilings.json"]


def test_the_better_of_two_measurements_stands(file: Path) -> None:
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(5.0, 3e-6), file=file) == outcome(5.0, 3e-6)
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(4.0, 2e-6), file=file) == outcome(5.0, 2e-6)
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(6.0, 4e-6), file=file) == outcome(6.0, 2e-6)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) == outcome(6.0, 2e-6)
    assert len(json.loads(file.read_bytes())) == 1


def test_a_ceiling_that_is_new_is_kept_beside_the_old_ones(file: Path) -> None:
    keep_ceilings(MACHINE, "cpu", 2, Outcome(measurements=outcome(5.0).measurements[:1]), file=file)
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(4.0), file=file) == outcome(5.0)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'[{"environment": 5}]', b"\xff\xfe", b'{"a": []}'])
def test_a_damaged_file_is_as_good_as_none_and_written_anew(content: bytes, file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) is None
    keep_ceilings(MACHINE, "cpu", 2, outcome(5.0), file=file)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) == outcome(5.0)


def test_unwritable_file_keeps_old_limits_and_no_leftovers(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_ceilings(MACHINE, "cpu", 2, outcome(5.0), file=file)

    def fail(self: Path, target: Path) -> Path:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "replace", fail)
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(6.0), file=file) == outcome(6.0)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) == outcome(5.0)
    assert [path.name for path in file.parent.iterdir()] == ["ceilings.json"]


def test_a_folder_that_cannot_be_made_or_read_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    file = tmp_path / "taken" / "ceilings.json"
    assert keep_ceilings(MACHINE, "cpu", 2, outcome(5.0), file=file) == outcome(5.0)
    assert find_ceilings(MACHINE, "cpu", 2, file=file) is None


def test_the_oldest_machine_is_forgotten_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MOST_KEPT", 2)
    for threads in (1, 2, 1, 3):  # 1 was kept again, so 2 is the oldest
        keep_ceilings(MACHINE, "cpu", threads, outcome(float(threads)), file=file)
    kept = [find_ceilings(MACHINE, "cpu", threads, file=file) for threads in (1, 2, 3)]
    assert kept == [outcome(1.0), None, outcome(3.0)]


def test_ceilings_are_measured_once(file: Path) -> None:
    host = Pretended([Done(outcome=outcome(5.0))])
    assert host.measure(file) == Found(reply=Done(outcome=outcome(5.0)), cached=False)
    assert host.measure(file) == Found(reply=Done(outcome=outcome(5.0)), cached=True)
    assert (host.heard, host.waits, host.closed) == ([Job(case=CASE, scratch="/scratch")], [62.0], 1)


def test_measuring_anew_can_only_raise_what_is_known(file: Path) -> None:
    host = Pretended([Done(outcome=outcome(5.0))], [Done(outcome=outcome(4.0, 5e-7))], [Done(outcome=outcome(6.0))])
    host.measure(file)
    assert host.measure(file, anew=True) == Found(reply=Done(outcome=outcome(5.0, 5e-7)), cached=False)
    assert host.measure(file, anew=True) == Found(reply=Done(outcome=outcome(6.0, 5e-7)), cached=False)


def test_limits_measured_beside_other_work_are_not_kept(file: Path) -> None:
    busy = replace(outcome(2.0), warnings=(BUSY,))
    host = Pretended([Done(outcome=busy)], [Done(outcome=outcome(5.0))], [Done(outcome=busy)])
    assert host.measure(file) == Found(reply=Done(outcome=busy), cached=False)
    assert not file.exists()
    assert host.measure(file) == Found(reply=Done(outcome=outcome(5.0)), cached=False)
    assert host.measure(file, anew=True) == Found(reply=Done(outcome=outcome(5.0)), cached=False)


def test_a_worker_that_fails_leaves_nothing(file: Path) -> None:
    host = Pretended([BOOM])
    assert host.measure(file) == Found(reply=BOOM, cached=False)
    assert (file.exists(), host.closed) == (False, 1)


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([machine.Counters(at_s=1.0, pressure_us=0), machine.Counters(at_s=3.0, pressure_us=500_000, load=0.5)])
    monkeypatch.setattr(machine, "read_counters", lambda now_s: next(seen))


NOISE = machine.Noise(pressure_share=0.25, load=0.5)


@pytest.mark.usefixtures("counters")
def test_the_canary_is_sampled_and_the_machine_watched_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "CONTROL_WORKLOAD_SAMPLES", 2)
    host = Pretended([Built(), READY, Taken(sample=sample(0.5, 0.25)), Taken(sample=sample(0.75, 0.125))])
    control_workload = replace(CASE, role="control_workload")
    found = watch_control_workload(cast("Host", host), control_workload, scratch="/scratch")
    assert found == WatchedWorkload(latencies_s=(0.5, 0.75), noise=NOISE)
    assert host.heard == [Job(case=control_workload, scratch="/scratch"), Warm(), Take(), Take()]
    assert host.closed == 1


@pytest.mark.usefixtures("counters")
@pytest.mark.parametrize("before", [[], [Built()], [Built(), READY], [Built(), READY, Taken(sample=sample(0.5, 0.25))]])
def test_a_canary_that_dies_is_a_failure(before: list[Reply]) -> None:
    host = Pretended([*before, BOOM])
    assert (
        watch_control_workload(cast("Host", host), replace(CASE, role="control_workload"), scratch="/scratch") == BOOM
    )
    assert host.closed == 1


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretended:
    host = Pretended([Done(outcome=outcome(5.0))], [BOOM])

    @contextmanager
    def pretend(request: object) -> Iterator[Pretended]:
        yield host

    monkeypatch.setattr(ceilings, "open_host", pretend)
    monkeypatch.setattr(ceilings, "ask", lambda host, names: (MACHINE, {}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return host


def test_a_machine_is_examined_and_what_was_found_is_shown_later(hosted: Pretended) -> None:
    told: list[str] = []
    seen = Examined(environment=MACHINE, device="cpu", threads=2, ceilings=None)
    assert examine("cpu", 2, measure=False, on_progress=told.append) == seen
    known = Done(outcome=outcome(5.0))
    assert examine("cpu", 2, measure=True, on_progress=told.append) == replace(
        seen, ceilings=Found(reply=known, cached=False), control_workload=BOOM
    )
    assert [one.case.role for one in hosted.heard if isinstance(one, Job)] == ["ceilings", "control_workload"]
    assert told == [
        "measuring the machine's ceilings on cpu with 2 threads",
        "measuring the machine's noise",
    ]
    again = examine("cpu", 2, measure=False, on_progress=told.append)
    assert again == replace(seen, ceilings=Found(reply=known, cached=True))


def test_a_device_that_is_not_there_is_not_measured(hosted: Pretended) -> None:
    found = examine("cuda", 1, measure=True, on_progress=lambda text: None)
    assert found.ceilings == Found(
        reply=Failure(status="unsupported", error="torch sees no CUDA device here"), cached=False
    )
    assert hosted.heard == []


def test_the_file_is_plain_json(file: Path) -> None:
    keep_ceilings(MACHINE, "cpu", 2, outcome(5.0), file=file)
    (entry,) = msgspec.json.decode(file.read_bytes())
    assert (entry["device"], entry["threads"], entry["environment"]["cpu"]) == ("cpu", 2, MACHINE.cpu)
    assert [(m["quantity"], m["samples"]) for m in entry["measurements"]] == [
        ("fp32_flop_per_s", [5.0]),
        ("dispatch_s", [1e-6]),
    ]
