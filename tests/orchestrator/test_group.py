"""The order of work in a group, its stop rules and what becomes of failures, with workers that only pretend."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import cast

import pytest

from cnnbench.orchestrator.group import Limits, Seen, measure_group
from cnnbench.orchestrator.host import Host
from cnnbench.orchestrator.messages import Built, Failure, Job, Ready, Reply, Request, Take, Taken, Warm
from cnnbench.orchestrator.planning import Group
from cnnbench.record import Caution, Measurement, Outcome
from cnnbench.runners.sampling import Sample, SampleShape
from cnnbench.spec import Case
from tests.made import AMP, LAST, case

READY = Ready(first_call_s=0.5, warmup_s=0.25, iteration_s=1.0, shape=SampleShape(rewarm=1, readings=2, group=3))
BOOM = Failure(status="failed", error="ValueError: boom (net.py:3)")
SILENT = Failure(status="timeout", error="no answer within 10 s (--timeout)")


def sample(latency_s: float, *phases_s: float) -> Sample:
    return Sample(
        latency_s=latency_s,
        sample_s=2 * latency_s,
        rewarm_s=0.125,
        tail_s=0.0,
        iterations_s=(latency_s, latency_s + 1),
        phases_s=phases_s,
    )


@dataclass
class Script:
    """What a pretended worker answers: to its job, to warming up, to each sample from the first on (then the last)."""

    built: Reply = field(default_factory=Built)
    ready: Reply = READY
    latencies: Sequence[float | Failure] = (1.0,)
    take_s: float = 0.5


@dataclass
class Time:
    now: float = 1000.0


class PretendedWorker:
    def __init__(self, script: Script, time: Time, log: list[str]) -> None:
        self.script, self.time, self.log = script, time, log
        self.requests: list[Request] = []
        self.waits: list[float] = []
        self.closed = 0

    def send(self, request: Request) -> None:
        self.requests.append(request)

    def receive(self, timeout_s: float) -> Reply:
        self.waits.append(timeout_s)
        request = self.requests[-1]
        if isinstance(request, Job):
            self.log.append(f"build {request.case.variant.name}")
            return self.script.built
        if isinstance(request, Warm):
            self.log.append(f"warm {self.name}")
            return self.script.ready
        assert isinstance(request, Take)
        self.log.append(self.name)
        self.time.now += self.script.take_s
        at = sum(isinstance(r, Take) for r in self.requests) - 1
        given = self.script.latencies[min(at, len(self.script.latencies) - 1)]
        return given if isinstance(given, Failure) else Taken(sample=sample(given))

    def close(self) -> None:
        self.closed += 1

    @property
    def name(self) -> str:
        job = self.requests[0]
        assert isinstance(job, Job)
        return job.case.variant.name


class Stage:
    """Pretended workers for eager, channels_last and amp, as many as there are scripts, and a clock that they move."""

    def __init__(self, *scripts: Script, device: str = "cpu") -> None:
        self.time, self.log, self.told = Time(), list[str](), list[str]()
        self.workers = [PretendedWorker(script, self.time, self.log) for script in scripts]
        variants = (case("net").variant, LAST, AMP)[: len(scripts)]
        self.cases = [case("net", v, device="cuda" if device == "cuda" else "cpu") for v in variants]

    def measure(
        self,
        *,
        sampling_s: float = 60.0,
        deadline_s: float = 600.0,
        launch: int = 0,
        emulated: Mapping[Case, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> tuple[Seen, ...]:
        free = iter(self.workers)
        limits = Limits(
            sampling_s=sampling_s,
            deadline=self.time.now + deadline_s,
            scratch="/scratch",
            memory_bytes=123,
            warm_cap_s=4.0,
            emulated=emulated or {},
        )
        host = cast("Host", SimpleNamespace(start=lambda: next(free)))
        group = Group(cases=tuple(self.cases))
        return measure_group(host, group, limits, launch=launch, tell=tell or self.told.append)

    @property
    def taken(self) -> list[str]:
        return [line for line in self.log if " " not in line]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage], Stage]:
    """Return what puts the group's clock into the hands of a stage."""

    def use(stage: Stage) -> Stage:
        pretended = SimpleNamespace(monotonic=lambda: stage.time.now)
        monkeypatch.setattr("cnnbench.orchestrator.group.time", pretended)
        return stage

    return use


Use = Callable[[Stage], Stage]


def blocks(seen: Seen) -> tuple[int, ...]:
    return next(m.blocks for m in seen.outcome.measurements if m.quantity == "latency_s")


def test_all_are_built_first_then_warmed_up_in_turn(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script()))
    stage.measure(sampling_s=1.0)
    assert stage.log[:6] == [
        "build eager",
        "build channels_last",
        "build amp",
        "warm eager",
        "warm channels_last",
        "warm amp",
    ]
    assert [w.requests[0] for w in stage.workers] == [
        Job(case=c, scratch="/scratch", memory_limit_bytes=123, warm_cap_s=4.0) for c in stage.cases
    ]
    assert [w.closed for w in stage.workers] == [1, 1, 1]
    assert stage.told == [
        "net eager cpu infer batch 1: building, with 2 more",
        "net eager cpu infer batch 1: first call and warm-up",
        "net channels_last cpu infer batch 1: first call and warm-up",
        "net amp cpu infer batch 1: first call and warm-up",
        "net cpu infer batch 1: 3 cells, block 1",
        "net cpu infer batch 1: 3 cells, block 5",
    ]


def test_a_cuda_cell_has_no_limit_on_private_memory(clock: Use) -> None:
    stage = clock(Stage(Script(), device="cuda"))
    stage.measure(sampling_s=1.0)
    assert stage.workers[0].requests[0] == Job(
        case=stage.cases[0], scratch="/scratch", memory_limit_bytes=None, warm_cap_s=4.0
    )


@pytest.mark.parametrize(("seed", "launch"), [(0, 0), (0, 1), (7, 0)])
def test_the_order_of_each_block_follows_from_seed_and_launch(clock: Use, seed: int, launch: int) -> None:
    order = random.Random(f"{seed} {launch}")
    expected = []
    for _ in range(6):
        names = ["eager", "channels_last", "amp"]
        order.shuffle(names)
        expected += names
    for _ in range(2):
        stage = clock(Stage(Script(), Script(), Script()))
        stage.cases = [replace(c, seed=seed) for c in stage.cases]
        stage.measure(sampling_s=1.0, launch=launch)
        assert stage.taken == expected


def test_launches_have_orders_of_their_own(clock: Use) -> None:
    orders = []
    for launch in range(3):
        stage = clock(Stage(Script(), Script(), Script()))
        stage.measure(sampling_s=1.0, launch=launch)
        orders.append(tuple(stage.taken))
    assert len(set(orders)) == 3


def test_a_cell_that_fails_in_the_middle_leaves_and_the_others_go_on(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(latencies=(1.0, 1.0, BOOM)), Script(latencies=(2.0,))))
    eager, last, amp = stage.measure(sampling_s=1.0)
    assert last == Seen(case=stage.cases[1], failure=BOOM, outcome=Outcome())
    assert (eager.failure, blocks(eager)) == (None, (0, 1, 2, 3, 4, 5))
    assert (amp.failure, blocks(amp)) == (None, (0, 1, 2, 3, 4, 5))
    assert stage.taken.count("channels_last") == 3
    assert [w.closed for w in stage.workers] == [1, 1, 1]
    assert stage.told[-1] == "net cpu infer batch 1: 2 cells, block 5"


def test_a_cell_that_cannot_be_built_is_not_warmed_up(clock: Use) -> None:
    stage = clock(Stage(Script(built=BOOM), Script()))
    eager, last = stage.measure(sampling_s=1.0)
    assert eager == Seen(case=stage.cases[0], failure=BOOM, outcome=Outcome())
    assert (last.failure, blocks(last)) == (None, (0, 1, 2, 3, 4, 5))
    assert "warm eager" not in stage.log
    assert stage.told[1] == "net channels_last cpu infer batch 1: first call and warm-up"


def test_without_a_cell_that_lives_no_block_is_taken(clock: Use) -> None:
    stage = clock(Stage(Script(ready=BOOM), Script(built=BOOM)))
    assert [s.failure for s in stage.measure()] == [BOOM, BOOM]
    assert stage.log == ["build eager", "build channels_last", "warm eager"]


@pytest.mark.parametrize(
    ("take_s", "taken"),
    [
        (0.2, 12),  # 12 blocks of two cells are 4.8 s
        (0.05, 40),  # 12, 18 and 27 blocks are below three seconds, 40 are 4 s
        (0.055, 40),  # 27 blocks are 2.97 s
        (0.06, 27),  # 27 blocks are 3.24 s
    ],
)
def test_narrow_intervals_stop_at_a_look_once_three_seconds_were_measured(
    clock: Use, take_s: float, taken: int
) -> None:
    stage = clock(Stage(Script(take_s=take_s), Script(take_s=take_s)))
    seen = stage.measure()
    assert [len(blocks(s)) for s in seen] == [taken, taken]
    assert [s.outcome.cautions for s in seen] == [(), ()]


def test_wide_intervals_go_on_to_the_look_where_they_are_narrow(clock: Use) -> None:
    slow_start = Script(latencies=(1.5, 1.5, 1.5, 1.5, 1.0))  # x(10) of 12 is 1.5, x(14) of 18 is 1.0
    seen = clock(Stage(slow_start)).measure()
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (18, ())
    paired = clock(Stage(slow_start, slow_start, Script(latencies=slow_start.latencies))).measure()
    assert [len(blocks(s)) for s in paired] == [18, 18, 18]


def test_every_interval_must_be_narrow(clock: Use) -> None:
    seen = clock(Stage(Script(), Script(latencies=(1.0, 1.2) * 7 + (1.0,)))).measure()
    assert [len(blocks(s)) for s in seen] == [27, 27]  # 7 of 27 ratios are below 1, and the interval starts at x(8)


def wide(by: str) -> Caution:
    return Caution(
        code="precision_not_reached",
        fact=f"the interval is wider than asked for when the budget is spent ({by})",
        advice="Give it a larger --budget.",
    )


def test_a_spent_share_ends_the_group_with_a_caution_for_the_wide_ones(clock: Use) -> None:
    eager, last = clock(Stage(Script(), Script(latencies=(1.0, 1.2) * 10))).measure(sampling_s=10.0)
    assert (len(blocks(eager)), eager.outcome.cautions) == (10, ())
    assert (len(blocks(last)), last.outcome.cautions) == (10, (wide("+-9.1 %"),))


def test_the_reference_is_judged_by_its_own_interval(clock: Use) -> None:
    seen = clock(Stage(Script(latencies=(1.0, 1.2) * 10))).measure(sampling_s=5.0)
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (10, (wide("+-9.1 %"),))


@pytest.mark.parametrize(("device", "cautions"), [("cpu", ()), ("cuda", (wide("+-1.0 %"),))])
def test_a_cuda_device_is_asked_for_more(clock: Use, device: str, cautions: tuple[Caution, ...]) -> None:
    seen = clock(Stage(Script(latencies=(1.0, 1.02) * 10), device=device)).measure(sampling_s=5.0)
    assert seen[0].outcome.cautions == cautions


def test_a_spent_share_still_gives_the_six_blocks_of_an_interval(clock: Use) -> None:
    seen = clock(Stage(Script())).measure(sampling_s=0.0)
    assert (blocks(seen[0]), seen[0].outcome.cautions) == ((0, 1, 2, 3, 4, 5), ())


@pytest.mark.parametrize(("deadline_s", "taken"), [(-1.0, 1), (0.0, 1), (1.2, 3), (1.5, 3), (1.6, 4)])
def test_the_deadline_ends_a_group_after_one_block_at_the_least(clock: Use, deadline_s: float, taken: int) -> None:
    seen = clock(Stage(Script())).measure(sampling_s=60.0, deadline_s=deadline_s)
    assert blocks(seen[0]) == tuple(range(taken))
    assert seen[0].outcome.cautions == (wide("too few samples for an interval"),)


def test_the_last_look_ends_a_group_that_never_gets_narrow(clock: Use) -> None:
    stage = clock(Stage(Script(latencies=(1.0, 1.2) * 500, take_s=0.001)))
    seen = stage.measure(sampling_s=1e6, deadline_s=1e6)
    assert (len(blocks(seen[0])), seen[0].outcome.cautions) == (1000, (wide("+-9.1 %"),))


EMULATED = "bf16 is emulated here"


def test_an_emulated_cell_that_does_not_warm_up_soon_is_unsupported(clock: Use) -> None:
    stage = clock(Stage(Script(), Script(), Script(ready=SILENT)))
    amp = stage.measure(sampling_s=1.0, emulated={stage.cases[2]: EMULATED})[2]
    gave_up = Failure(status="unsupported", error="bf16 is emulated here; given up after 10 s of warm-up")
    assert amp == Seen(case=stage.cases[2], failure=gave_up, outcome=Outcome())
    assert [w.waits[1] for w in stage.workers] == [600.0, 600.0, 10.0]


def test_a_shorter_timeout_is_all_the_patience_that_there_is(clock: Use) -> None:
    stage = clock(Stage(Script(ready=SILENT)))
    stage.cases = [replace(c, budget=replace(c.budget, timeout_s=4.0)) for c in stage.cases]
    seen = stage.measure(emulated={stage.cases[0]: EMULATED})
    assert seen[0].failure == Failure(
        status="unsupported", error="bf16 is emulated here; given up after 4 s of warm-up"
    )


def test_an_emulated_cell_that_fails_has_failed(clock: Use) -> None:
    stage = clock(Stage(Script(ready=BOOM)))
    assert stage.measure(emulated={stage.cases[0]: EMULATED})[0].failure == BOOM


def test_a_cell_that_hangs_and_is_not_emulated_has_timed_out(clock: Use) -> None:
    assert clock(Stage(Script(ready=SILENT))).measure()[0].failure == SILENT


def test_cautions_are_kept_in_the_order_of_the_work(clock: Use) -> None:
    built = Caution(code="no_effect", fact="nothing changes", advice="Look.")
    unsteady = Caution(code="not_steady", fact="not settled", advice="Wait.")
    script = Script(built=Built(cautions=(built,)), ready=replace(READY, cautions=(unsteady,)))
    stage = clock(Stage(script))
    seen = stage.measure(deadline_s=0.0, emulated={stage.cases[0]: EMULATED})
    emulated = Caution(
        code="emulated", fact=EMULATED, advice="Its time says nothing about a machine that has bf16 instructions."
    )
    assert seen[0].outcome.cautions == (built, unsteady, emulated, wide("too few samples for an interval"))


def test_workers_are_closed_when_the_user_interrupts(clock: Use) -> None:
    stage = clock(Stage(Script(), Script()))

    def interrupted(text: str) -> None:
        if "block 5" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.measure(tell=interrupted)
    assert [w.closed for w in stage.workers] == [1, 1]
    assert len(stage.taken) == 8


def test_the_columns_of_an_outcome(clock: Use) -> None:
    phases = ("forward_s", "backward_s")
    stage = clock(Stage(Script(ready=replace(READY, phases=phases), latencies=(1.0, 2.0000000004))))

    def answer(timeout_s: float) -> Reply:
        reply = PretendedWorker.receive(stage.workers[0], timeout_s)
        if isinstance(reply, Taken):
            return Taken(sample=replace(reply.sample, phases_s=(0.25, 0.5)))
        return reply

    stage.workers[0].receive = answer  # type: ignore[method-assign]  # the same worker with phases
    seen = stage.measure(deadline_s=0.75)
    both = (0, 1)
    assert seen[0].outcome.measurements == (
        Measurement(quantity="first_call_s", samples=(0.5,)),
        Measurement(quantity="warmup_s", samples=(0.25,)),
        Measurement(quantity="passes_s", samples=(6.500000001,)),  # 0.25 + 2 x 0.125 + 2 x (1 + 2)
        Measurement(quantity="latency_s", samples=(1.0, 2.0), units=6, blocks=both),
        Measurement(quantity="sample_s", samples=(2.0, 4.000000001), units=6, blocks=both),
        Measurement(quantity="forward_s", samples=(0.25, 0.25), units=6, blocks=both),
        Measurement(quantity="backward_s", samples=(0.5, 0.5), units=6, blocks=both),
        Measurement(quantity="iteration_s", samples=(1.0, 2.0, 2.0, 3.0), blocks=(0, 0, 1, 1)),
    )


def test_the_first_call_of_a_compiled_variant_is_its_compile_time(clock: Use) -> None:
    stage = clock(Stage(Script()))
    stage.cases = [replace(c, variant=replace(c.variant, compile_mode="default")) for c in stage.cases]
    seen = stage.measure(deadline_s=0.0)
    assert seen[0].outcome.measurements[0] == Measurement(quantity="compile_s", samples=(0.5,))


def test_grouped_iterations_give_no_single_ones(clock: Use) -> None:
    stage = clock(Stage(Script()))

    def answer(timeout_s: float) -> Reply:
        reply = PretendedWorker.receive(stage.workers[0], timeout_s)
        return Taken(sample=replace(reply.sample, iterations_s=())) if isinstance(reply, Taken) else reply

    stage.workers[0].receive = answer  # type: ignore[method-assign]  # the same worker without single iterations
    seen = stage.measure(deadline_s=0.0)
    assert [m.quantity for m in seen[0].outcome.measurements] == [
        "first_call_s",
        "warmup_s",
        "passes_s",
        "latency_s",
        "sample_s",
    ]
