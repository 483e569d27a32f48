"""Variants: what their names stand for, what a machine does of them, and what they do to a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from cnnbench.record import Environment
from cnnbench.spec import Device, UsageError, Variant
from cnnbench.variants import (
    NATIVE,
    VARIANTS,
    Support,
    extend_variant,
    native_variants,
    parse_variant,
    prepare,
    split_variants,
    support,
)
from tests.factories import MACHINE

BF16 = replace(MACHINE, native_bf16=True)
GPU = replace(MACHINE, gpu="Example GPU", gpu_native_bf16=True)
NO_COMPILER = replace(MACHINE, compiler=None, compile_blocker="torch.compile needs a C++ compiler: install g++")
NO_GPU = "torch sees no CUDA device here; 'cnnbench doctor' shows what it sees"


def parsed(text: str, device: Device = "cpu") -> Variant:
    return parse_variant(text, device=device, threads=3)


@pytest.mark.parametrize(
    ("text", "device", "variant"),
    [
        ("eager", "cpu", Variant(name="eager", threads=3)),
        ("channels_last", "cpu", Variant(name="channels_last", channels_last=True, threads=3)),
        ("amp", "cpu", Variant(name="amp", precision="amp_bf16", threads=3)),
        ("amp", "cuda", Variant(name="amp", precision="amp_fp16", threads=3)),
        ("bf16", "cuda", Variant(name="bf16", precision="bf16", threads=3)),
        ("compile", "cpu", Variant(name="compile", compile_mode="default", threads=3)),
        (
            "compile_reduce_overhead",
            "cuda",
            Variant(name="compile_reduce_overhead", compile_mode="reduce-overhead", threads=3),
        ),
        ("compile_max_autotune", "cpu", Variant(name="compile_max_autotune", compile_mode="max-autotune", threads=3)),
        ("tf32", "cuda", Variant(name="tf32", precision="tf32", threads=3)),
        ("cudnn_benchmark", "cuda", Variant(name="cudnn_benchmark", cudnn_benchmark=True, threads=3)),
        ("default_malloc", "cpu", Variant(name="default_malloc", default_malloc=True, threads=3)),
        (
            " compile + amp+channels_last ",
            "cpu",
            Variant(
                name="channels_last+amp+compile",
                channels_last=True,
                precision="amp_bf16",
                compile_mode="default",
                threads=3,
            ),
        ),
        ("eager+amp", "cpu", Variant(name="amp", precision="amp_bf16", threads=3)),
        ("amp+amp", "cpu", Variant(name="amp", precision="amp_bf16", threads=3)),
    ],
)
def test_a_name_stands_for(text: str, device: Device, variant: Variant) -> None:
    assert parsed(text, device) == variant


def test_every_row_changes_the_field_it_names() -> None:
    for name, row in VARIANTS.items():
        found = parsed(name, row.devices[-1])
        changed = {f for f in Variant.__slots__ if getattr(found, f) != getattr(Variant(name=name, threads=3), f)}
        assert changed == ({row.sets} if row.sets else set())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("amp+bf16", "Variant 'amp+bf16': amp and bf16 set the same precision. Use one of them."),
        (
            "compile_max_autotune+compile",
            "Variant 'compile_max_autotune+compile': compile and compile_max_autotune set the same compile_mode. "
            "Use one of them.",
        ),
        (
            "tf32+bf16+amp",
            "Variant 'tf32+bf16+amp': amp and bf16 and tf32 set the same precision. Use one of them.",
        ),
        (  # the first conflict in the table's order, whatever the hashes are
            "compile+compile_max_autotune+bf16+amp",
            "Variant 'compile+compile_max_autotune+bf16+amp': amp and bf16 set the same precision. Use one of them.",
        ),
        (
            "chanels_last",
            "Unknown variant 'chanels_last'. Did you mean channels_last? "
            "Variants can be combined: channels_last+compile.",
        ),
        (
            "amp+",
            "Unknown variant ''. Known: amp, bf16, channels_last, compile, compile_max_autotune, "
            "compile_reduce_overhead, cudnn_benchmark, default_malloc, eager, tf32. "
            "Variants can be combined: channels_last+compile.",
        ),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([], ("eager",)),
        (["compile,amp"], ("eager", "compile", "amp")),
        (["amp", " eager , amp,,bf16"], ("eager", "amp", "bf16")),
        (["all"], ("eager", "all")),
        (["channels_last+compile"], ("eager", "channels_last+compile")),
    ],
)
def test_the_reference_comes_first_and_each_once(given: list[str], names: tuple[str, ...]) -> None:
    assert split_variants(given) == names


def emulated(where: str) -> Support:
    return Support(status="emulated", reason=f"{where} has no bf16 instructions, so bf16 is emulated")


def unsupported(reason: str) -> Support:
    return Support(status="unsupported", reason=reason)


@pytest.mark.parametrize(
    ("text", "device", "environment", "expected"),
    [
        ("eager", "cpu", MACHINE, NATIVE),
        ("channels_last", "cpu", NO_COMPILER, NATIVE),
        ("amp", "cpu", MACHINE, emulated("Example CPU @ 2.0 GHz")),
        ("amp", "cpu", BF16, NATIVE),
        ("channels_last+bf16", "cpu", MACHINE, emulated("Example CPU @ 2.0 GHz")),
        ("bf16", "cpu", GPU, emulated("Example CPU @ 2.0 GHz")),
        ("bf16", "cuda", GPU, NATIVE),
        ("bf16", "cuda", replace(BF16, gpu="Old GPU"), emulated("Old GPU")),
        ("amp", "cuda", replace(MACHINE, gpu="Old GPU"), NATIVE),
        ("compile", "cpu", MACHINE, NATIVE),
        ("compile", "cpu", NO_COMPILER, unsupported("torch.compile needs a C++ compiler: install g++")),
        ("bf16+compile", "cpu", NO_COMPILER, unsupported("torch.compile needs a C++ compiler: install g++")),
        ("tf32", "cpu", GPU, unsupported("tf32 needs a CUDA device, but the device is cpu")),
        (
            "channels_last+cudnn_benchmark",
            "cpu",
            GPU,
            unsupported("cudnn_benchmark needs a CUDA device, but the device is cpu"),
        ),
        ("default_malloc", "cpu", MACHINE, NATIVE),
        (
            "channels_last+default_malloc",
            "cpu",
            replace(MACHINE, system="Darwin 25.0 arm64"),
            unsupported("memory is kept only with glibc on Linux, so nothing differs here"),
        ),
        ("default_malloc", "cuda", GPU, unsupported("default_malloc needs the CPU, but the device is cuda")),
        ("tf32", "cuda", GPU, NATIVE),
        ("eager", "cuda", MACHINE, unsupported(NO_GPU)),
        ("tf32", "cuda", MACHINE, unsupported(NO_GPU)),
    ],
)
def test_support(text: str, device: Device, environment: Environment, expected: Support) -> None:
    assert support(parsed(text, device), device=device, environment=environment) == expected


@pytest.mark.parametrize(
    ("device", "environment", "names"),
    [
        ("cpu", MACHINE, ("eager", "channels_last", "compile", "compile_max_autotune", "default_malloc")),
        ("cpu", BF16, ("eager", "channels_last", "amp", "bf16", "compile", "compile_max_autotune", "default_malloc")),
        ("cpu", NO_COMPILER, ("eager", "channels_last", "default_malloc")),
        ("cuda", GPU, tuple(name for name in VARIANTS if name != "default_malloc")),
        ("cuda", MACHINE, ()),
    ],
)
def test_all_is_what_the_machine_does_natively(
    device: Device, environment: Environment, names: tuple[str, ...]
) -> None:
    assert native_variants(device=device, threads=1, environment=environment) == names


def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4 * 4, 5)).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("text", "weights", "outcome", "tolerance"),
    [
        ("eager", torch.float32, torch.float32, 0.0),
        ("channels_last", torch.float32, torch.float32, 1e-5),
        ("amp", torch.float32, torch.bfloat16, 0.05),
        ("bf16", torch.bfloat16, torch.bfloat16, 0.05),
        ("channels_last+amp", torch.float32, torch.bfloat16, 0.05),
        ("channels_last+bf16", torch.bfloat16, torch.bfloat16, 0.05),
    ],
)
def test_a_network_is_put_under_its_variant(
    text: str, weights: torch.dtype, outcome: torch.dtype, tolerance: float
) -> None:
    with torch.no_grad():
        expected = small()(images())
        prepared = prepare(small(), parsed(text), "cpu")
        placed = prepared.place(images())
        with prepared.context():
            found = prepared.call(placed)
    assert isinstance(found, torch.Tensor)
    last = "channels_last" in text
    convolution = prepared.model.get_parameter("0.weight")  # 4, 3, 3, 3
    assert convolution.stride() == ((27, 1, 9, 3) if last else (27, 9, 3, 1))
    assert placed.stride() == ((108, 1, 18, 3) if last else (108, 36, 6, 1))
    assert {p.dtype for p in prepared.model.parameters()} == {weights}
    assert (placed.dtype, found.dtype) == (weights, outcome)
    assert prepared.model.get_buffer("1.num_batches_tracked").dtype == torch.int64
    difference = (found.float() - expected).abs().max().item()
    assert difference <= tolerance
    assert (difference > 0) == (outcome == torch.bfloat16) or text == "channels_last"


def test_what_is_no_picture_keeps_its_layout() -> None:
    placed = prepare(nn.Linear(6, 2), parsed("channels_last+bf16"), "cpu").place(torch.ones(4, 6))
    assert (placed.stride(), placed.dtype) == ((6, 1), torch.bfloat16)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("eager", None), ("compile", "default"), ("channels_last+compile_max_autotune", "max-autotune")],
)
def test_only_compile_compiles_and_in_its_mode(text: str, mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[nn.Module, str]] = []

    def compiled(model: nn.Module, *, mode: str) -> str:
        seen.append((model, mode))
        return "compiled"

    monkeypatch.setattr(torch, "compile", compiled)
    prepared = prepare(small(), parsed(text), "cpu")
    assert seen == ([] if mode is None else [(prepared.model, mode)])
    called: Any = prepared.call
    assert called == (prepared.model if mode is None else "compiled")


def test_fp16_autocast_is_for_cuda() -> None:
    context = prepare(small(), parsed("amp", "cuda"), "cpu").context()
    assert isinstance(context, torch.autocast)
    assert context.fast_dtype == torch.float16


class Anywhere(nn.Module):
    """Says yes to every device, so that what is done for CUDA can be seen without one."""

    def to(self, *args: Any, **kwargs: Any) -> Anywhere:
        return self


@pytest.fixture
def flags() -> Iterator[None]:
    """Put the process-wide flags back."""
    kept = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
    yield
    torch.set_float32_matmul_precision(kept[0])
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = kept[1:]


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize(
    ("text", "device", "expected"),
    [
        ("eager", "cuda", ("highest", False, False)),
        ("tf32", "cuda", ("high", True, False)),
        ("cudnn_benchmark", "cuda", ("highest", False, True)),
        ("tf32+cudnn_benchmark", "cuda", ("high", True, True)),
        ("eager", "cpu", ("medium", True, True)),
    ],
)
def test_process_wide_flags_are_set_whole_and_for_cuda_only(
    text: str, device: Device, expected: tuple[str, bool, bool]
) -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    prepare(Anywhere(), parsed(text, device), device)
    found = (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark)
    assert found == expected


@pytest.mark.parametrize(
    ("native", "asked", "under"),
    [
        (True, "eager", "channels_last+amp"),
        (False, "eager", "channels_last"),
        (True, "bf16", "channels_last+bf16"),
        (True, "channels_last+amp", "channels_last+amp"),
    ],
)
def test_recipe_autocast_needs_native_bf16(asked: str, under: str, *, native: bool) -> None:
    environment = replace(MACHINE, native_bf16=native)
    more = extend_variant(parsed(asked), channels_last=True, amp=True, device="cpu", environment=environment)
    assert more == parsed(under)
    assert extend_variant(
        parsed(asked), channels_last=False, amp=False, device="cpu", environment=environment
    ) == parsed(asked)


@pytest.mark.parametrize("name", ["eager", "bf16"])
def test_complex_weights_stay_complex(name: str) -> None:
    model = nn.Linear(3, 2)
    model.filter = nn.Parameter(torch.ones(3, dtype=torch.complex64) * 1j)
    prepared = prepare(model, parse_variant(name, device="cpu", threads=1), "cpu")
    found = dict(prepared.model.named_parameters())
    assert found["filter"].tolist() == [1j] * 3
    assert found["weight"].dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
