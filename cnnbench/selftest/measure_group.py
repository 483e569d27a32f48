"""Measure one group round by round as a run does, for the experiments on whole comparisons."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cnnbench.orchestrator.group import GroupRounds
from cnnbench.orchestrator.plan import Group
from cnnbench.orchestrator.start_round import WorkerLimits
from cnnbench.record import Environment, Record
from cnnbench.sample_pairs import differences, pairs_by_round
from cnnbench.spec import Case
from cnnbench.workers.client import start_host
from cnnbench.workers.single_worker import environment_of, make_record, memory_limit, scratch_folder


class Measuring:
    """A group while it is measured; `good` holds the records of each case by round, if their status is `ok`."""

    def __init__(self, group: GroupRounds, environment: Environment) -> None:
        """Prepare to measure `group`, whose workers have the `environment`."""
        self.group = group
        self.good: dict[Case, dict[int, Record]] = {case: {} for case in group.group.members}
        self._environment = environment

    def take(self, deadline: float = math.inf) -> None:
        """Measure one round; `deadline` (monotonic) ends its blocks early."""
        number, started = self.group.rounds, time.monotonic()
        for seen in self.group.measure(deadline=deadline, rounds_left=0.0, on_progress=lambda _: None):
            record = make_record(seen.case, self._environment, seen, started=started, number=number)
            self.group.add(record)
            if record.status == "ok":
                self.good[seen.case][number] = record

    def differences(self, base: Case, other: Case, numbers: range) -> list[list[float]]:
        """Return d = ln(base time / other time) of each block, for each round of `numbers` that both have."""
        one, two = ({n: record for n, record in self.good[case].items() if n in numbers} for case in (base, other))
        return differences(pairs_by_round(one, two))


@contextmanager
def open_measurement(group: Group) -> Iterator[Measuring]:
    """Yield `group` ready to be measured, with its own fork server and the threads of its cases."""
    host = start_host(threads=group.cases[0].variant.threads, compiles=False)
    try:
        # A run asks for the environment first too, so that no round includes the wait for the new server.
        environment = environment_of(host)
        with scratch_folder() as scratch:
            limits = WorkerLimits(scratch=scratch, memory_bytes=memory_limit(), emulated={})
            yield Measuring(GroupRounds(host, group, limits, target=0.0), environment)
    finally:
        host.close()
