"""Drift: the second half of the blocks against the first, set by set."""

import pytest

from cnnbench.analysis import analyse
from cnnbench.record import Caution, Record
from tests.made import case, record, timed


def drifting(latency_s: list[float], *, sets: tuple[int, ...] = (), voided: tuple[int, ...] = ()) -> Record:
    latency, *rest = timed(latency_s)
    kept = (
        latency
        if not voided
        else type(latency)(
            quantity=latency.quantity,
            samples=latency.samples,
            units=latency.units,
            blocks=latency.blocks,
            voided=voided,
        )
    )
    return record(case("a"), kept, *rest, sets=sets)


@pytest.mark.parametrize(
    ("item", "fact"),
    [
        (drifting([1.0] * 6 + [1.03] * 6), "the second half of the blocks took 3.0 % longer than the first"),
        (drifting([1.0] * 6 + [0.97] * 6), "the second half of the blocks took 3.0 % less than the first"),
        (drifting([1.0] * 6 + [1.0199] * 6), None),  # not beyond 2 %
        (drifting([1.0] * 5 + [2.0] * 6), None),  # too few for two halves
        (drifting([1.0] * 6 + [2.0] * 6, sets=(0, 6)), None),  # another set of workers is no drift
        (
            drifting(([1.0] * 3 + [1.05] * 3) * 2, sets=(0, 6)),
            "the second half of the blocks took 5.0 % longer than the first",
        ),
        (drifting([9.0] * 3 + [1.0] * 6 + [1.0] * 6, voided=(0, 1, 2)), None),
    ],
)
def test_a_shift_of_the_median_beyond_two_per_cent_is_a_warning(item: Record, fact: str | None) -> None:
    report = analyse([item])
    advice = (
        "The machine changed while it was measured. Speed-ups are paired by block and bear it; for the latency, "
        "measure again when the machine has no other work, or with a larger --budget."
    )
    expected = [] if fact is None else [Caution(code="drifting", fact=fact, advice=advice)]
    assert [warning.caution for warning in report.warnings] == expected
    assert report.rows[0].warnings == ("drifting" if fact else None)
