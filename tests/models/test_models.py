from __future__ import annotations

import copy
import subprocess
import sys
from collections import OrderedDict
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from cnnbench.inspection.complexity import measure_complexity
from cnnbench.models import MODELS, join
from cnnbench.models.backbone_head import replace_head
from cnnbench.models.digit_cnn_module import DigitCNN
from cnnbench.models.weights import load_weights
from cnnbench.record import Layer, Outcome
from cnnbench.spec import ModelSpec, Recipe, Shape
from cnnbench.training.frozen_features import head_of

NAMES = [
    *("perceptron", "mlp", "mlp_256", "one_conv", "multilayer_cnn", "simple_cnn", "digit_cnn"),
    *("lenet", "cifar_cnn", "tudui"),
    *("vgg16", "vgg16_linear", "vgg16_transfer", "resnet18", "resnet18_transfer"),
    *("mobilenet_v2", "mobilenet_v2_transfer"),
]


@cache
def measured(name: str, input_shape: Shape) -> Outcome:
    return measure_complexity(MODELS[name].build, input_shape)


def counts(spec: ModelSpec, input_shape: Shape | None = None) -> dict[str, float]:
    return {m.quantity: m.samples[0] for m in measured(spec.name, input_shape or spec.input_shape).measurements}


def layers_of(name: str, size: int) -> tuple[Layer, ...]:
    return measured(name, (MODELS[name].input_shape[0], size, size)).layers


def printed(name: str, quantity: str) -> tuple[tuple[float, ...], str]:
    (figure,) = (p for p in MODELS[name].printed if p.quantity == quantity)
    return figure.values, figure.note


def test_the_registry_holds_every_architecture_of_the_tutorials() -> None:
    assert sorted(MODELS) == sorted(NAMES)
    assert all(spec.name == name for name, spec in MODELS.items())


def test_duplicate_name_is_refused_and_registry_is_read_only() -> None:
    specs = [MODELS["lenet"]]
    with pytest.raises(ValueError, match=r"^two models are called 'lenet'$"):
        join([specs, specs])
    with pytest.raises(TypeError):
        MODELS["mine"] = MODELS["lenet"]  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_declared_numbers_are_those_of_the_network(name: str) -> None:
    spec = MODELS[name]
    found = counts(spec)
    assert {
        "params": spec.params,
        "trainable_params": spec.trainable_params,
        "macs": spec.macs,
        "macs_torchinfo": spec.mult_adds,
        "classes": spec.classes,
    } == {key: found[key] for key in ("params", "trainable_params", "macs", "macs_torchinfo", "classes")}


@pytest.mark.parametrize(
    ("name", "mult_adds"), [("vgg16_transfer", 17_993_561_346), ("mobilenet_v2_transfer", 378_325_826)]
)
def test_mult_adds_at_the_size_that_the_page_prints(name: str, mult_adds: int) -> None:
    assert counts(MODELS[name], (3, 244, 244))["macs_torchinfo"] == mult_adds


@pytest.mark.parametrize("name", NAMES)
def test_a_network_gives_one_row_of_scores_for_each_picture(name: str) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        scores = spec.build().eval()(torch.zeros(2, *spec.input_shape))
    assert scores.shape == (2, spec.classes)


@pytest.mark.parametrize("name", ["perceptron", "mlp", "one_conv", "multilayer_cnn", "digit_cnn", "vgg16_linear"])
def test_log_softmax_is_over_the_classes(name: str) -> None:
    spec = MODELS[name]
    with torch.no_grad():
        logits = spec.build().eval()(torch.rand(3, *spec.input_shape))
    torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(3))


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("vgg16_transfer", ["classifier.bias", "classifier.weight"]),
        ("resnet18_transfer", ["fc.bias", "fc.weight"]),
        ("mobilenet_v2_transfer", ["classifier.bias", "classifier.weight"]),
    ],
)
def test_transfer_networks_train_their_head_alone(name: str, trained: list[str]) -> None:
    with torch.device("meta"):
        model = MODELS[name].build()
    assert sorted(n for n, p in model.named_parameters() if p.requires_grad) == trained


def test_the_digit_recogniser_returns_both_of_its_feature_maps() -> None:
    model = DigitCNN().eval()
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        first, second = model.feature_maps(images)
        scores = model(images)
        torch.testing.assert_close(model.classifier(model.pool2(second)), scores)
    assert first.shape == (2, 4, 28, 28)
    assert second.shape == (2, 8, 14, 14)
    assert first.min() >= 0
    assert second.min() >= 0


SIZES = {"vgg16": 224, "vgg16_transfer": 244, "lenet": 32}


@pytest.mark.parametrize("name", ["mlp", "one_conv", "multilayer_cnn", "lenet", "vgg16", "vgg16_transfer"])
def test_printed_layer_tables_are_those_of_the_networks(name: str) -> None:
    size = SIZES.get(name, 28)
    layers = layers_of(name, size)
    params, _ = printed(name, "layer_params")
    shapes, kinds = printed(name, "layer_shapes_244" if size == 244 else "layer_shapes")
    assert tuple(layer.params for layer in layers if layer.params) == params
    assert tuple(n for layer in layers if layer.kind in kinds.split() for n in layer.output_shape[1:]) == shapes


def test_printed_blocks_of_mobilenet_are_those_of_the_network() -> None:
    blocks: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    for layer in layers_of("mobilenet_v2_transfer", 244):
        block = ".".join(layer.name.split(".")[:2])
        blocks[block] = blocks.get(block, 0) + layer.params
        shapes[block] = layer.output_shape[1:]
    assert tuple(blocks.values()) == printed("mobilenet_v2_transfer", "block_params")[0]
    assert tuple(n for s in shapes.values() for n in s) == printed("mobilenet_v2_transfer", "block_shapes_244")[0]


def torchinfo_megabytes(spec: ModelSpec, size: int) -> dict[str, float]:
    import torchinfo

    with torch.device("meta"):
        model, images = spec.build(), torch.zeros(1, spec.input_shape[0], size, size)
    summary = torchinfo.summary(model, input_data=images, verbose=0, device="meta", cache_forward_pass=False)
    totals = (summary.total_input, summary.total_output_bytes, summary.total_param_bytes)
    names = ("input_mb", "forward_mb", "params_mb", "total_mb")
    return {name: round(value / 1e6, 2) for name, value in zip(names, (*totals, sum(totals)), strict=True)}


@pytest.mark.parametrize("name", ["mlp", "one_conv", "multilayer_cnn", "lenet", "vgg16", "vgg16_transfer"])
def test_printed_megabytes_are_those_of_torchinfo(name: str) -> None:
    size = SIZES.get(name, 28)
    suffix = "_244" if size == 244 else ""
    found = torchinfo_megabytes(MODELS[name], size)
    assert {key: printed(name, f"{key}{suffix}")[0] for key in found} == {key: (mb,) for key, mb in found.items()}


def test_printed_counts_match_networks_except_erratum() -> None:
    off = []
    for spec in MODELS.values():
        for figure in spec.printed:
            base = figure.quantity.removesuffix("_244")
            scale = {"mult_adds_m": 1e-6, "mult_adds_g": 1e-9}.get(base)
            if scale is not None:
                shape = (3, 244, 244) if base != figure.quantity else spec.input_shape
                found = round(counts(spec, shape)["macs_torchinfo"] * scale, 2)
            elif base in ("params", "trainable_params"):
                found = counts(spec)[base]
            else:
                continue
            if (found,) != figure.values:
                off.append((spec.name, figure.quantity, figure.values[0], found))
    assert off == [("mobilenet_v2_transfer", "mult_adds_m_244", 196.40, 378.33)]


@pytest.mark.parametrize("name", [spec.name for spec in MODELS.values() if spec.recipe])
def test_printed_curves_have_a_value_for_each_epoch(name: str) -> None:
    spec = MODELS[name]
    assert spec.recipe is not None
    curves = [p for p in spec.printed if p.quantity in ("train_loss", "val_loss", "train_top1", "val_top1")]
    assert all(len(p.values) == spec.recipe.epochs or "first epoch only" in p.note for p in curves)
    assert all(0 <= v <= 1 for p in spec.printed if "top1" in p.quantity for v in p.values)


def conv_size(size: int, kernel: int, pad: int = 0, stride: int = 1) -> int:
    return (size + 2 * pad - kernel) // stride + 1


@pytest.mark.parametrize(("kernel", "size"), [(5, 24), (3, 26)])
def test_a_convolution_without_padding_shrinks_a_digit(kernel: int, size: int) -> None:
    layer = torch.nn.Conv2d(1, 9, kernel)
    assert layer(torch.zeros(1, 1, 28, 28)).shape == (1, 9, size, size)
    assert conv_size(28, kernel) == size
    assert layer.weight.shape == (9, 1, kernel, kernel)
    assert sum(p.numel() for p in layer.parameters()) == 9 * kernel * kernel + 9


def test_max_pooling_of_a_ramp_and_flattening() -> None:
    ramp = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
    assert torch.nn.MaxPool2d(2)(ramp).tolist() == [[[[6, 8], [14, 16]]]]
    assert torch.nn.Flatten()(torch.zeros(1, 3, 8, 8)).shape == (1, 192)


def test_softmax_of_the_page() -> None:
    shares = torch.softmax(torch.tensor([-1.0, 1.0, 2.0]), dim=0)
    assert [round(float(s), 3) for s in shares] == [0.035, 0.259, 0.705]


def test_importing_the_models_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'torchvision', 'timm', 'numpy', 'pandas', 'scipy'}"
    code = (
        "import sys, cnnbench.models as m; m.check_name('lenet'); m.check_name('torchvision:resnet18');"
        f" print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_two_builds_share_nothing() -> None:
    first, second = MODELS["lenet"].build(), MODELS["lenet"].build()
    assert not {p.data_ptr() for p in first.parameters()} & {p.data_ptr() for p in second.parameters()}


def test_the_mlp_as_printed_normalises_over_the_batch() -> None:
    build = MODELS["mlp"].printed_build
    assert build is not None
    with torch.no_grad():
        scores = build().eval()(torch.rand(3, 1, 28, 28))
    torch.testing.assert_close(scores.exp().sum(dim=0), torch.ones(10))


def test_recipes_as_printed_differ_where_pages_err_only() -> None:
    found = {
        name: {f.name for f in fields(Recipe) if getattr(spec.printed_recipe, f.name) != getattr(spec.recipe, f.name)}
        for name, spec in MODELS.items()
        if spec.printed_recipe is not None
    }
    divided = {"divides_losses"}
    assert found == {
        **dict.fromkeys(("perceptron", "mlp", "one_conv", "multilayer_cnn", "lenet"), divided),
        **dict.fromkeys(("vgg16_linear", "vgg16_transfer"), divided),
        "mobilenet_v2_transfer": {*divided, "validates_on_train", "frozen_statistics_move"},
        "cifar_cnn": {"augments_all"},
        "tudui": {"trains_on_test"},
    }


def test_head_taking_features_is_put_under_its_base(tmp_path: Path) -> None:
    first = nn.Conv2d(3, 2, 1)
    base = nn.Sequential(OrderedDict(features=nn.Sequential(first, nn.ReLU()), classifier=nn.Linear(8, 1000)))
    published = tmp_path / "published.pth"
    torch.save(base.state_dict(), published)
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    model = replace_head(copy.deepcopy(base), head)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]
    copied = model.get_submodule("features.0").get_parameter("weight")
    with torch.no_grad():
        copied.zero_()
    load_weights(model, MODELS["vgg16_linear"], str(published))
    assert torch.equal(copied, first.weight)
    assert head_of(model) is head
    own = tmp_path / "own.pth"
    torch.save(model.state_dict(), own)
    load_weights(replace_head(base, nn.Sequential(nn.Flatten(), nn.Linear(8, 2))), MODELS["vgg16_linear"], str(own))
