"""Cells under the roof of a machine whose ceilings are round numbers."""

from dataclasses import replace

import pytest

from cnnbench.analysis.roofline import (
    ABOVE_PEAK,
    Ceilings,
    Cost,
    Roofline,
    ceilings_of,
    cost_of,
    roofline,
)
from cnnbench.record import Record, RecordedWarning
from cnnbench.spec import Precision, Variant
from tests.factories import COMPILE, case, counted, once, record

MOST = Ceilings(
    fp32_flop_per_s=100e9,
    tf32_flop_per_s=400e9,
    bf16_flop_per_s=200e9,
    fp16_flop_per_s=800e9,
    conv_flop_per_s=80e9,
    copy_bytes_per_s=10e9,
    triad_bytes_per_s=8e9,
    dispatch_s=1e-6,
)
COST = Cost(macs=1e9, weight_bytes=4e6, activation_bytes=2.5e6, input_bytes=1e6, operator_calls=100)
"""2 GFLOP: 20 ms of computing; 10 MB: 1 ms of memory; 100 us of calls."""

CASE = case("net")
SHAKY = RecordedWarning(code="ceilings_disturbed", fact="Other work ran.", advice="Close it.")


def under(precision: Precision) -> Variant:
    return Variant(name="some", precision=precision)


def brief(found: Roofline | None) -> tuple[float, float, float, str]:
    assert found is not None
    return found.flop_per_s, found.share, found.of_peak, found.bound_by


def test_a_cell_that_computing_binds() -> None:
    found = roofline(CASE, 0.04, COST, MOST)
    assert brief(found) == (50e9, 0.5, 0.5, "compute")
    assert found is not None
    assert (found.peak_flop_per_s, found.bytes_per_s) == (100e9, 10e9)
    moved = COST.weight_bytes + 2 * COST.activation_bytes + COST.input_bytes
    assert found.flops_per_byte == pytest.approx(2e9 / moved)


def test_memory_bound_cell_is_held_against_memory_limit() -> None:
    wide = replace(COST, weight_bytes=794e6)  # 800 MB, 80 ms
    assert brief(roofline(CASE, 0.16, wide, MOST)) == (12.5e9, 0.5, 0.125, "memory")


def test_a_cell_that_calls_bind() -> None:
    many = replace(COST, operator_calls=30_000)  # 30 ms
    assert brief(roofline(CASE, 0.04, many, MOST)) == (50e9, 0.5, 0.5, "launches")


def test_calls_of_eager_do_not_bind_what_is_compiled() -> None:
    many, fused = replace(COST, operator_calls=30_000), replace(CASE, variant=COMPILE)
    for task in ("infer", "train"):
        found = roofline(replace(fused, task=task), 0.12, many, MOST)
        assert found is not None
        assert found.bound_by == "compute"


def test_batch_scales_macs_and_activations_but_not_weights() -> None:
    small = Cost(macs=1e6, weight_bytes=40e6, activation_bytes=0.5e6, input_bytes=1e6, operator_calls=0)
    found = roofline(replace(CASE, batch_size=10), 0.012, small, MOST)
    assert found is not None
    assert found.share == pytest.approx((40e6 + 10 * 2e6) / 10e9 / 0.012)
    assert found.flop_per_s == pytest.approx(20e6 / 0.012)
    assert found.bound_by == "memory"


def test_a_training_step_costs_three_passes() -> None:
    step = replace(CASE, task="train")
    assert roofline(step, 0.12, COST, MOST) == roofline(CASE, 0.04, COST, MOST)
    assert roofline(step, 0.12, replace(COST, frozen=True), MOST) is None
    assert roofline(CASE, 0.04, replace(COST, frozen=True), MOST) == roofline(CASE, 0.04, COST, MOST)


@pytest.mark.parametrize(
    ("precision", "peak"),
    [("fp32", 100e9), ("tf32", 400e9), ("amp_bf16", 200e9), ("bf16", 200e9), ("amp_fp16", 800e9)],
)
def test_each_precision_has_its_peak(precision: Precision, peak: float) -> None:
    found = roofline(replace(CASE, variant=under(precision)), 0.04, COST, MOST)
    assert found is not None
    assert found.of_peak == 50e9 / peak
    assert found.share == found.of_peak  # 16 bits move half as much, so memory does not bind


def test_tensors_of_16_bits_are_half_as_large() -> None:
    wide = replace(COST, weight_bytes=794e6)
    full, half = (roofline(replace(CASE, variant=under(p)), 0.16, wide, MOST) for p in ("tf32", "bf16"))
    assert full is not None
    assert half is not None
    assert (full.share, half.share) == (0.5, 0.25)


def test_faster_convolution_sets_peak_for_fp32_and_tf32_only() -> None:
    quick = replace(MOST, conv_flop_per_s=500e9)
    peaks = [quick.peak(p) for p in ("fp32", "tf32", "bf16", "amp_fp16")]
    assert peaks == [500e9, 500e9, 200e9, 800e9]
    assert replace(quick, fp32_flop_per_s=None).peak("fp32") is None
    assert replace(quick, conv_flop_per_s=None).peak("fp32") == 100e9


def test_bandwidth_is_the_better_of_copy_and_triad() -> None:
    assert MOST.bandwidth() == 10e9
    assert replace(MOST, copy_bytes_per_s=None).bandwidth() == 8e9
    assert Ceilings().bandwidth() is None


def test_an_emulated_precision_has_no_roof() -> None:
    emulated = replace(MOST, bf16_flop_per_s=None)
    assert roofline(replace(CASE, variant=under("bf16")), 0.04, COST, emulated) is None


@pytest.mark.parametrize(
    ("latency_s", "cost", "ceilings"),
    [
        (None, COST, MOST),
        (0.0, COST, MOST),
        (0.04, None, MOST),
        (0.04, replace(COST, macs=0.0), MOST),
        (0.04, COST, None),
        (0.04, COST, replace(MOST, dispatch_s=None)),
        (0.04, COST, replace(MOST, copy_bytes_per_s=None, triad_bytes_per_s=None)),
    ],
)
def test_what_is_not_known_gives_no_roof(latency_s: float | None, cost: Cost | None, ceilings: Ceilings | None) -> None:
    assert roofline(CASE, latency_s, cost, ceilings) is None


@pytest.mark.parametrize(("of_peak", "expected"), [(1.0, False), (ABOVE_PEAK, False), (1.06, True)])
def test_more_than_the_machine_can_do_is_impossible(of_peak: float, *, expected: bool) -> None:
    found = Roofline(
        flops_per_byte=1.0,
        peak_flop_per_s=1.0,
        bytes_per_s=1.0,
        flop_per_s=1.0,
        share=1.0,
        of_peak=of_peak,
        bound_by="compute",
    )
    assert found.is_impossible is expected


def test_ceilings_are_read_from_their_record() -> None:
    values = {name: getattr(MOST, name) for name in Ceilings.__slots__}
    good = record(replace(CASE, role="ceilings"), *(once(name, value) for name, value in values.items()))
    assert ceilings_of(good) == MOST
    assert ceilings_of(replace(good, measurements=good.measurements[:1])) == Ceilings(fp32_flop_per_s=100e9)
    assert ceilings_of(replace(good, status="failed")) is None
    assert ceilings_of(replace(good, warnings=(SHAKY,))) is None
    assert ceilings_of(replace(good, case=CASE)) is None


def complexity(**values: float) -> Record:
    found = counted("net", params=10, macs=1000, shape=(3, 4, 5))
    return replace(found, measurements=(*found.measurements, *(once(name, value) for name, value in values.items())))


def test_the_cost_is_read_from_the_complexity_record() -> None:
    full = complexity(weight_bytes=40, activation_bytes=800, operator_calls=7)
    expected = Cost(macs=1000, weight_bytes=40, activation_bytes=800, input_bytes=240, operator_calls=7)
    assert cost_of(full) == expected
    frozen = tuple(once("trainable_params", 4) if m.quantity == "trainable_params" else m for m in full.measurements)
    assert cost_of(replace(full, measurements=frozen)) == replace(expected, frozen=True)
    assert cost_of(complexity(weight_bytes=40, activation_bytes=800)) is None
