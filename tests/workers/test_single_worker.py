"""Records of what single workers gave: everything that they say, and nothing where it cannot be believed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from cnnbench.jobs import Job
from cnnbench.record import Layer, Measurement, Outcome, Record, RecordedWarning
from cnnbench.spec import CnnbenchError
from cnnbench.workers import single_worker as single
from cnnbench.workers.client import Host
from cnnbench.workers.messages import Done, Failure, News, Reply, Request, Stop
from cnnbench.workers.single_worker import STOP_S, make_record, train_case
from tests.factories import MACHINE, case

CASE = case("net", role="numerics", seed=7)
OUTCOME = Outcome(
    measurements=(Measurement(quantity="latency_s", samples=(1.0, 2.0), blocks=(0, 1), rejected=(1,)),),
    warnings=(RecordedWarning(code="emulated", fact="bf16 is emulated", advice="Look."),),
    layers=(Layer(name="line", kind="Linear", output_shape=(1, 4), params=20, macs=16),),
    notes=("not counted: aten::add",),
)


@dataclass
class Now:
    now: float = 1_767_323_045.25

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return 100.25


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "time", Now())


def recorded(got: Done | Failure) -> Record:
    return make_record(CASE, MACHINE, got, started=100.0, number=2)


def test_a_record_holds_all_that_an_outcome_holds() -> None:
    assert recorded(Done(outcome=OUTCOME)) == Record(
        case=CASE,
        environment=MACHINE,
        round=2,
        started="2026-01-02T03:04:05.000000+00:00",
        duration_s=0.25,
        status="ok",
        measurements=OUTCOME.measurements,
        warnings=OUTCOME.warnings,
        layers=OUTCOME.layers,
        notes=OUTCOME.notes,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_a_number_is_invalid(value: float) -> None:
    more = (*OUTCOME.measurements, Measurement(quantity="max_relative_error", samples=(0.0, value)))
    got = recorded(Done(outcome=replace(OUTCOME, measurements=more)))
    assert (got.status, got.error) == ("invalid", "max_relative_error is not a number")
    assert (got.measurements, got.warnings, got.layers, got.notes) == ((), (), (), ())


def test_a_failure_is_a_record_with_its_reason() -> None:
    got = recorded(Failure(status="oom", error="MemoryError: no message"))
    assert (got.status, got.error, got.measurements) == ("oom", "MemoryError: no message", ())


# Trainings


@dataclass
class Trains:
    """A host of one worker that answers in turn; what is an exception it raises."""

    answers: Sequence[Reply | KeyboardInterrupt]
    sent: list[Request] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    closed: bool = False

    def start(self) -> "Trains":
        return self

    def send(self, request: Request) -> None:
        self.sent.append(request)

    def receive(self, timeout_s: float) -> Reply:
        self.waits.append(timeout_s)
        answer = self.answers[len(self.waits) - 1]
        if isinstance(answer, KeyboardInterrupt):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


NEWS = News(text="epoch 1/2", done=0.5)
JOB = Job(case=CASE, scratch="/tmp", checkpoint="net.safetensors")


def test_news_of_a_training_are_heard_until_it_ends() -> None:
    heard: list[News] = []
    host = Trains([NEWS, NEWS, Done(outcome=OUTCOME)])
    assert train_case(cast("Host", host), JOB, heard.append) == Done(outcome=OUTCOME)
    assert (heard, host.sent, host.closed) == ([NEWS, NEWS], [JOB], True)


def test_an_interruption_lets_a_training_keep_how_far_it_is() -> None:
    stopped = Failure(status="failed", error="Stopped in epoch 2 of 2 after step 3.")
    host = Trains([NEWS, KeyboardInterrupt(), NEWS, stopped])
    with pytest.raises(KeyboardInterrupt):
        train_case(cast("Host", host), JOB, lambda _: None)
    assert (host.sent, host.waits[2:], host.closed) == ([JOB, Stop()], [STOP_S, STOP_S], True)


def test_interruption_ends_training_without_checkpoint_at_once() -> None:
    job = replace(JOB, checkpoint=None)
    host = Trains([KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        train_case(cast("Host", host), job, lambda _: None)
    assert (host.sent, host.closed) == ([job], True)


def test_an_interruption_says_when_a_training_could_not_be_kept() -> None:
    full = Failure(status="failed", error="Training in progress cannot be saved in x: No space left on device.")
    with pytest.raises(CnnbenchError) as caught:
        train_case(cast("Host", Trains([KeyboardInterrupt(), full])), JOB, lambda _: None)
    assert str(caught.value) == f"Interrupted, and the training in progress could not be saved: {full.error}"
