"""Compare counted multiply-adds with closed forms and with the operations that torchvision publishes (V13)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from cnnbench.inspection.complexity import count_pass
from cnnbench.models import find_model
from cnnbench.selftest import Found, Setting

# Largest relative error of a count.
SHARE = 0.01

# One unit of the last of the three decimals that torchvision publishes, in G operations. Some figures are cut off
# instead of rounded. Below 0.1 G a unit is more than 1 %, so a count that is less than one unit away is right.
PUBLISHED_UNIT = 0.001

# Models of the short form: one of each kind, quick to count.
HANDFUL = ("alexnet", "densenet121", "mobilenet_v3_small", "regnet_y_400mf", "resnext50_32x4d", "swin_v2_t", "vit_b_16")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Convolution:
    inputs: int = 16
    outputs: int = 32
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1

    def layer(self) -> nn.Module:
        return nn.Conv2d(
            self.inputs,
            self.outputs,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def macs(self, height: int, width: int) -> int:
        """Return the closed form: outputs x positions x inputs of a group x kernel."""
        # The output has one position for each place of the kernel, in both dimensions.
        positions = 1
        for size, kernel in zip((height, width), self.kernel, strict=True):
            positions *= (size + 2 * self.padding - self.dilation * (kernel - 1) - 1) // self.stride + 1
        return self.outputs * positions * (self.inputs // self.groups) * self.kernel[0] * self.kernel[1]


_CONVOLUTIONS = (
    _Convolution(),
    _Convolution(groups=4),
    _Convolution(groups=16),  # depthwise, two outputs for each input
    _Convolution(outputs=16, groups=16),  # depthwise
    _Convolution(outputs=16, groups=16, stride=2),
    _Convolution(stride=2),
    _Convolution(stride=3, padding=0),
    _Convolution(stride=2, groups=8),
    _Convolution(dilation=2, padding=2),
    _Convolution(dilation=2, padding=2, groups=16, outputs=16),
    _Convolution(kernel=(1, 1), padding=0),
    _Convolution(kernel=(1, 1), padding=0, stride=2, groups=4),
    _Convolution(kernel=(7, 1), padding=3),
    _Convolution(kernel=(5, 5), padding=2, stride=2, groups=2),
)
# Heights and widths of inputs. The second is odd and not square, which shows mistakes in rounding and in the order.
_SIZES = ((32, 32), (27, 41))


def macs(part: str, setting: Setting) -> Found:
    """Measure the largest error of counted multiply-adds, as a share (V13)."""
    return _closed_forms() if part == "closed form" else _published(setting)


def _closed_forms() -> Found:
    errors = []
    for convolution in _CONVOLUTIONS:
        for height, width in _SIZES:
            counted = count_pass(convolution.layer, (convolution.inputs, height, width)).count.macs
            errors.append(abs(counted / convolution.macs(height, width) - 1))

    worst = max(errors)
    return Found(
        measured=f"largest error of the MACs of {len(errors)} grouped, depthwise, strided and dilated convolutions",
        values=(worst,),
        shown=f"{100 * worst:.2f} %",
        bound="1 %",
        holds=worst <= SHARE,
    )


def _published(setting: Setting) -> Found:
    from torchvision import models

    names = models.list_models(module=models) if setting.is_full else list(HANDFUL)
    off: dict[str, float] = {}
    coarse: list[str] = []

    for at, name in enumerate(names):
        setting.on_progress(name, at / len(names))
        spec = find_model(f"torchvision:{name}")
        giga = count_pass(spec.build, spec.input_shape).count.macs / 1e9
        # The figure comes with torchvision itself, in G operations; no weights are downloaded for it.
        published = models.get_model_weights(name).DEFAULT.meta["_ops"]
        off[name] = abs(giga / published - 1)
        # The published figure is too coarse to contradict this count (see `PUBLISHED_UNIT`).
        if off[name] > SHARE and abs(giga - published) < PUBLISHED_UNIT:
            coarse.append(name)

    wrong = [name for name, share in off.items() if share > SHARE and name not in coarse]
    worst = max(share for name, share in off.items() if name not in coarse)
    beyond = "".join(f"; {name} {100 * off[name]:.1f} %, less than the last published decimal" for name in coarse)
    return Found(
        measured=f"largest error of the MACs of {len(names)} of torchvision's classifiers against `_ops`",
        values=(worst, float(len(wrong)), float(len(coarse))),
        shown=f"{100 * worst:.2f} %{beyond}",
        bound="1 %, or one in the last published decimal",
        holds=not wrong,
    )
