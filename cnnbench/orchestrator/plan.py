"""Plan a run: which cells there are, and which of them are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cnnbench import data
from cnnbench.machine import threads_of
from cnnbench.models import MODELS
from cnnbench.record import Environment
from cnnbench.spec import DEFAULT_RECIPE, Case, Device, MissingError, Request, Section, Shape, Task, UsageError
from cnnbench.variants import REFERENCE, Support, native_variants, parse_variant, split_variants, support


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Cases that are compared with each other and so measured together; the first one is the reference.

    `aa_control` is the reference once more, if there is something to compare. `control_workload` is fixed work in each
    round. The line-up, in which models take turns, has neither.
    """

    cases: tuple[Case, ...]
    aa_control: Case | None = None
    control_workload: Case | None = None

    @property
    def members(self) -> tuple[Case, ...]:
        """All cases that are measured together, the reference first."""
        return (*self.cases, *(case for case in (self.aa_control, self.control_workload) if case is not None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A case that this machine cannot do, with the reason."""

    case: Case
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run will do, in this order; `emulated` gives the reason for cases that run, but not natively."""

    request: Request
    complexity: tuple[Case, ...]
    groups: tuple[Group, ...]
    memory: tuple[Case, ...]
    numerics: tuple[Case, ...]
    layers: tuple[Case, ...]
    accuracy: tuple[Case, ...]
    refused: tuple[Refused, ...] = ()
    emulated: Mapping[Case, str]


def make_plan(request: Request, environment: Environment, shapes: Mapping[str, Shape]) -> Plan:
    """Return the plan for `request` on the machine of `environment`; `shapes` are the input shapes of outside models.

    Raises:
        MissingError: a CUDA device is asked for, but there is none.
        UsageError: a variant is unknown, or the reference names no model.
    """
    devices = _devices(request, environment)
    cells = list(_cells(request, environment, shapes, devices))

    # What the machine cannot do stays in the plan as refused, so that it gets a record with the reason.
    judged = {c: support(c.variant, device=c.device, environment=environment) for c in cells}
    groups = _groups(request, [c for c in cells if judged[c].status != "unsupported"])

    # With a reference of the user's, all models are in its groups already.
    lineups = () if request.reference else _lineups(groups)

    # Counts and accuracies are per model: one case each, whatever its variants and batch sizes.
    names = tuple(dict.fromkeys(c.model for c in cells))
    single = {name: _complexity_case(request, name, shapes) for name in names}
    accuracy = request.accuracy and [_training_case(single[n], request, request.accuracy, devices[0]) for n in names]
    emulated = _emulation_reasons(judged)

    return Plan(
        request=request,
        complexity=tuple(single.values()),
        groups=(*groups, *lineups),
        memory=tuple(replace(c, role="memory") for group in groups for c in group.cases if c not in emulated),
        numerics=_numerics_cases(groups, emulated),
        layers=_layers_cases(groups),
        accuracy=tuple(accuracy or ()),
        refused=tuple(Refused(case=c, reason=s.reason) for c, s in judged.items() if s.status == "unsupported"),
        emulated=emulated,
    )


def _emulation_reasons(judged: Mapping[Case, Support]) -> Mapping[Case, str]:
    return {c: s.reason for c, s in judged.items() if s.status == "emulated"}


def _numerics_cases(groups: Iterable[Group], emulated: Mapping[Case, str]) -> tuple[Case, ...]:
    """Return one case for each model and variant whose scores may differ from those of `eager`.

    The cases are inference at the same batch size. A variant that is compiled for training only is left out: compiling
    it for inference as well would take longer than measuring it. An emulated variant is left out too: its passes take
    up to forty times as long, and nobody would use it here.
    """
    native = [c for group in groups for c in group.cases if c not in emulated]
    cases = [c for c in native if c.variant.name != REFERENCE]
    found = (c for c in cases if c.task == "infer" or not c.variant.compile_mode)
    return tuple(dict.fromkeys(replace(c, task="infer", role="numerics") for c in found))


def _layers_cases(groups: Iterable[Group]) -> tuple[Case, ...]:
    """Return one case for each model and device that is timed as `eager`: inference at its first batch size."""
    found: dict[tuple[str, Device], Case] = {}
    for case in (c for group in groups for c in group.cases):
        if case.task == "infer" and case.variant.name == REFERENCE:
            found.setdefault((case.model, case.device), replace(case, role="layers"))
    return tuple(found.values())


def _devices(request: Request, environment: Environment) -> tuple[Device, ...]:
    if request.device == "cuda" and environment.gpu is None:
        raise MissingError("torch sees no CUDA device here. Run 'cnnbench doctor', or use --device cpu.")
    if request.device == "all":
        return ("cpu", "cuda") if environment.gpu else ("cpu",)
    return (request.device,)


def shape_of(request: Request, name: str, shapes: Mapping[str, Shape]) -> Shape:
    """Return the (channels, height, width) that `name` is measured at."""
    own = MODELS[name].input_shape if name in MODELS else shapes[name]
    return request.input_shape or own


def _complexity_case(request: Request, name: str, shapes: Mapping[str, Shape]) -> Case:
    """Return the complexity case of a model: eager, fp32, batch 1, on the CPU."""
    return Case(
        model=name,
        variant=parse_variant(REFERENCE, device="cpu", threads=threads_of(request)),
        task="complexity",
        device="cpu",
        batch_size=1,
        input_shape=shape_of(request, name, shapes),
        weights=request.weights,
        seed=request.seed,
        budget=request.budget,
    )


def _training_case(single: Case, request: Request, dataset: str, device: Device) -> Case:
    spec = MODELS.get(single.model)
    # The batch size is that of the recipe in use: a fast one, one as printed, or the model's own.
    own = (spec.recipe if spec else None) or DEFAULT_RECIPE
    printed = spec.printed_recipe if spec and request.recipe == "as-published" else None
    fast = data.fast_recipe_of(data.find(dataset)) if request.recipe == "fast" else None
    batch = (fast or printed or own).batch_size
    return replace(single, task="accuracy", dataset=dataset, device=device, batch_size=batch, recipe=request.recipe)


def _cells(
    request: Request, environment: Environment, shapes: Mapping[str, Shape], devices: Iterable[Device]
) -> Iterable[Case]:
    # The reference may also be among the sections, so each case is given only once.
    threads = threads_of(request)
    seen: set[Case] = set()

    for device in devices:
        for section in (*request.sections, *_reference_sections(request)):
            names = _expand_variants(section.variants, device, threads, environment)
            for model, batch, task, name in _product(section, names):
                case = Case(
                    model=model,
                    variant=parse_variant(name, device=device, threads=threads),
                    task=task,
                    device=device,
                    batch_size=batch,
                    input_shape=shape_of(request, model, shapes),
                    weights=request.weights,
                    seed=request.seed,
                    budget=request.budget,
                )
                if case not in seen:
                    seen.add(case)
                    yield case


def _product(section: Section, variants: tuple[str, ...]) -> Iterable[tuple[str, int, Task, str]]:
    return (
        (model, batch, task, variant)
        for model in section.models
        for task in section.tasks
        for batch in section.batch_sizes
        for variant in variants
    )


def _expand_variants(asked: tuple[str, ...], device: Device, threads: int, environment: Environment) -> tuple[str, ...]:
    # A name may come twice: by itself, and as one of those that "all" stands for.
    names: list[str] = []
    for name in split_variants(asked):
        every = native_variants(device=device, threads=threads, environment=environment) if name == "all" else (name,)
        names += every
    return tuple(dict.fromkeys(names))


def split_reference(reference: str) -> tuple[str, str]:
    """Return model and variant of `MODEL` or `MODEL/VARIANT`; a path keeps its slashes."""
    model, slash, variant = reference.rpartition("/")
    if slash and not variant.partition(":")[0].endswith(".py"):
        return model, variant
    return reference, REFERENCE


def canonical_reference(reference: str, *, device: Device) -> str:
    """Return the reference with its variant's parts in the order of the table, as rows are named.

    Raises:
        UsageError: the variant is unknown.
    """
    model, variant = split_reference(reference)
    if reference == model:
        return reference
    return f"{model}/{parse_variant(variant, device=device, threads=1).name}"


def _reference_sections(request: Request) -> tuple[Section, ...]:
    """Return the reference at every batch size and task asked for, so that every group has it."""
    if request.reference is None:
        return ()
    model, variant = split_reference(request.reference)
    return tuple(replace(s, models=(model,), variants=(variant,)) for s in request.sections)


def _groups(request: Request, cells: list[Case]) -> tuple[Group, ...]:
    # Models are compared with each other only if the user names a reference.
    grouped: dict[tuple[object, ...], list[Case]] = {}
    for case in cells:
        model = () if request.reference else (case.model,)
        grouped.setdefault((case.device, case.task, case.batch_size, *model), []).append(case)
    return tuple(_make_group(_put_reference_first(request, cases)) for cases in grouped.values())


def _lineups(groups: Iterable[Group]) -> tuple[Group, ...]:
    """Return one group for each device, task and batch size at which several models are measured.

    The group measures their references once more, in turns, so that comparisons of models rest on paired blocks too.
    """
    found: dict[tuple[object, ...], list[Case]] = {}
    for case in (group.cases[0] for group in groups):
        found.setdefault((case.device, case.task, case.batch_size), []).append(replace(case, role="lineup"))
    return tuple(Group(cases=tuple(cases)) for cases in found.values() if len({c.model for c in cases}) > 1)


def _make_group(cases: tuple[Case, ...]) -> Group:
    """Return the group of `cases` with its A/A control and its control workload."""
    aa_control = replace(cases[0], role="aa_control") if len(cases) > 1 else None
    return Group(cases=cases, aa_control=aa_control, control_workload=replace(cases[0], role="control_workload"))


def _put_reference_first(request: Request, cases: list[Case]) -> tuple[Case, ...]:
    wanted = split_reference(request.reference) if request.reference else (cases[0].model, REFERENCE)
    first = [c for c in cases if (c.model, c.variant.name) == wanted]
    if not first:
        raise UsageError(f"The reference {'/'.join(wanted)} is not among the cells that can be measured here.")
    return (*first, *(c for c in cases if c not in first))
