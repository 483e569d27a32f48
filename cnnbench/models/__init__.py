"""All models: the built-in ones by name, and the lookup of models from any other source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from cnnbench.models import cifar_cnn, digit_cnn, lenet, mlp, mnist_cnn, mobilenet, resnet, vgg
from cnnbench.models.external import (
    FORMS,
    Plugins,
    check_outside,
    find_outside,
    is_outside,
    is_published,
    load_plugins,
    resize_spec,
)
from cnnbench.models.other_tree import find_in_tree, is_in_tree
from cnnbench.models.saved_model import find_saved, is_saved
from cnnbench.spec import CnnbenchError, ModelSpec, Shape, UsageError, unknown_name


def join(families: Iterable[Iterable[ModelSpec]]) -> Mapping[str, ModelSpec]:
    """Return all specs by name as a read-only mapping, in the given order.

    Raises:
        ValueError: two specs have the same name.
    """
    joined: dict[str, ModelSpec] = {}
    for spec in (spec for family in families for spec in family):
        if spec.name in joined:
            raise ValueError(f"two models are called '{spec.name}'")
        joined[spec.name] = spec
    return MappingProxyType(joined)


# Every built-in model by name, read-only.
MODELS = join(family.SPECS for family in (mlp, mnist_cnn, digit_cnn, lenet, cifar_cnn, vgg, resnet, mobilenet))


def list_models() -> Plugins:
    """Return the built-in models and those of installed plugins, and what is wrong with plugins that do not load."""
    plugins = load_plugins(reserved=MODELS)
    return Plugins(specs=(*MODELS.values(), *plugins.specs), problems=plugins.problems)


def check_name(name: str) -> None:
    """Check a model's name without importing torch or running a model file.

    Raises:
        UsageError: there is no such built-in, plugin model, file or factory, or the form of the name is unknown.
        MissingError: the name needs a package that is not installed.
    """
    if is_outside(name):
        check_outside(name)
    else:
        _find_by_name(name)


def find_model(name: str, input_shape: Shape | None = None) -> ModelSpec:
    """Return the spec of the model `name`; `input_shape` (channels, height, width) replaces its own, if given.

    A name is that of a built-in or plugin model, or `torchvision:NAME`, `timm:NAME` or `FILE.py:FACTORY`. The file of
    a factory is executed. Declared counts that do not hold for another input shape are left out.

    Raises:
        UsageError: there is no such model; the message suggests close names, or says where the mistake is.
        MissingError: the name needs a package that is not installed.
    """
    # Names that exist only within a run come first: they contain a colon, as outside names do.
    if is_in_tree(name):
        return find_in_tree(name, input_shape)
    if is_saved(name):
        return find_saved(name, input_shape)
    if is_outside(name):
        return find_outside(name, input_shape)
    return resize_spec(_find_by_name(name), input_shape)


def check_name_in_file(name: str, file: object, advice: str) -> None:
    """Check the name of a model that was read from `file`, such as a checkpoint, which may come from anywhere.

    Such a name may choose among installed models. Anything else would run code that the file chose. `advice` says how
    users name a model of their own.

    Raises:
        UsageError: it is not the name of a built-in, of a plugin model, or of one of torchvision or timm.
        MissingError: the name needs a package that is not installed.
    """
    if is_outside(name) and not is_published(name):
        raise UsageError(
            f"'{file}' names the model '{name}', and a name in a file must not run code. If the model is yours, "
            f"{advice}"
        )
    check_name(name)


def _find_by_name(name: str) -> ModelSpec:
    if name in MODELS:
        return MODELS[name]

    # Loading plugins runs their code, so it waits until no built-in has the name.
    plugins = load_plugins(reserved=MODELS)
    found = {spec.name: spec for spec in plugins.specs}
    if name in found:
        return found[name]
    if name in plugins.problems:
        raise CnnbenchError(plugins.problems[name])
    raise unknown_name("model", name, (*MODELS, *found), more=" ".join((*plugins.problems.values(), FORMS)))
