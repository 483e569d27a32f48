"""Describe the noise of a run: a line for each part of its noise card."""

from __future__ import annotations

from collections.abc import Sequence

from cnnbench.analysis.noise import ControlNoise, NoiseCard, WorkloadNoise
from cnnbench.quantities import digits3, show, show_range
from cnnbench.text import name_list, number_of

# Text for records that hold neither.
NO_CHECK = "no A/A control and no control workload in these records"

# Most groups that a terminal report names, of those whose A/A interval excludes 1.
MOST_NAMED = 3


def card_lines(card: NoiseCard, most_named: int | None = None) -> tuple[str, ...]:
    """Return the card as two or three lines: A/A controls, control workloads, and the machine with rejected samples.

    At most `most_named` groups whose A/A interval excludes 1 are named; None names all of them.
    """
    checks = [_aa_controls(card.aa_controls, most_named), _control_workloads(card.control_workloads)]
    if not card.aa_controls and not card.control_workloads:
        checks = [f"{NO_CHECK[0].upper()}{NO_CHECK[1:]}."]
    return tuple(line for line in (*checks, _machine(card)) if line)


def _aa_controls(aa_controls: Sequence[ControlNoise], most_named: int | None) -> str:
    """Return what the A/A controls showed: of several groups the widest interval, and those that exclude 1."""
    if not aa_controls:
        return "No A/A control was measured."

    # A control without an interval counts as the widest.
    widest = max(aa_controls, key=lambda aa_control: aa_control.width)
    if len(aa_controls) == 1:
        found = "; it excludes 1, so the intervals of its group are wider by as much" if widest.excludes else ""
        return f"A/A: {_ratio(widest)}{found}."

    # The intervals of these groups are wider, so the line names the groups.
    out = [aa_control for aa_control in aa_controls if aa_control.excludes]
    named = [f"{aa_control.reference} {_ratio(aa_control)}" for aa_control in out[:most_named]]
    more = [f"{len(out) - len(named)} more"] if len(out) > len(named) else []
    start = f"A/A in {len(aa_controls)} groups: the widest is {_ratio(widest)}"
    if not out:
        return f"{start}; none excludes 1."

    found = "excludes 1, so the intervals of its group are" if len(out) == 1 else "exclude 1, so their intervals are"
    return f"{start}; {len(out)} {found} wider by as much: {name_list([*named, *more])}."


def _ratio(aa_control: ControlNoise) -> str:
    if aa_control.ratio.low is None:
        return f"{show(aa_control.ratio.center, 'ratio')} (too few rounds for an interval)"
    return show_range(aa_control.ratio.center, aa_control.ratio.low, aa_control.ratio.high, "ratio")


def _control_workloads(control_workloads: Sequence[WorkloadNoise]) -> str:
    """Return the spread of the control workload: of several groups the least and the largest."""
    if not control_workloads:
        return "No control workload was measured, or too few of its samples."

    spreads = sorted(control_workload.spread for control_workload in control_workloads)
    # The machine counts as quiet only if it was quiet in every group.
    quiet = sum(control_workload.quiet for control_workload in control_workloads)
    kind = f"quiet in {quiet} of {len(control_workloads)} groups" if quiet else "shared"
    if quiet == len(control_workloads):
        kind = "quiet"

    low, high = show(spreads[0], "share"), show(spreads[-1], "share")
    return f"Control workload: spread {low if low == high else f'{low} to {high}'}, so the machine counts as {kind}."


def _machine(card: NoiseCard) -> str:
    parts = [number_of(card.samples, "sample")]
    # None: no counter of the environment was read, so no sample could be rejected.
    if card.rejected is not None:
        share = f" ({show(card.rejected / card.samples, 'share')})" if card.rejected else ""
        parts = [f"{card.rejected} of {number_of(card.samples, 'sample')} rejected{share}"]

    # What the records do not hold is left out.
    if card.steal_share is not None:
        parts.append(f"steal {show(card.steal_share, 'share')} (at most {show(card.most_steal_share, 'share')})")

    if card.pressure_share is not None:
        parts.append(f"pressure {show(card.pressure_share, 'share')}")

    if card.load is not None:
        parts.append(f"load {digits3(card.load)}")

    parts += [f"{number_of(count, 'thread')} on {device}" for device, count in card.threads]
    low, high = card.clock_low_per_s, card.clock_high_per_s
    if low is not None and high is not None:
        # Both ends are written once if they do not differ in three digits.
        texts = dict.fromkeys(digits3(value / 1e9) for value in (low, high))
        parts.append(f"clock {' to '.join(texts)} GHz")

    return f"{', '.join(parts)}."
