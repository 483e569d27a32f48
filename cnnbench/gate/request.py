"""Turn the options of a gate into a `Gate` of two revisions in folders, or of two models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnnbench.app.prepare import Options, budget, check, short_name, tell_cut_threads
from cnnbench.app.session import sigterm_interrupts
from cnnbench.gate.measure import SidePair
from cnnbench.gate.revisions import Revision, check_out_revisions, differing_requirements, top_of
from cnnbench.gate.session import Entry, Gate
from cnnbench.gate.slowdowns import Compared
from cnnbench.gate.verdict import Question
from cnnbench.models import check_name
from cnnbench.models.external import is_outside
from cnnbench.models.other_tree import OURS, name_in_tree
from cnnbench.spec import Request, Section, Shape, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """Options of a gate beside its two sides.

    `threshold` is a share, `budget_s` the seconds of the first measurement. `base_python` is the interpreter of BASE's
    own environment. `same_environment`: measure both sides in the present environment if their requirements differ.
    """

    variants: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    input_shape: Shape | None
    threshold: float
    inconclusive_fails: bool
    budget_s: float
    threads: int
    seed: int = 0
    base_python: str | None = None
    same_environment: bool = False
    output: Path | None = None
    history: Path | None = None
    command: str


@contextmanager
def gate_of_revisions(
    base: str, head: str | None, names: Sequence[str], options: GateOptions, here: Path
) -> Iterator[Gate]:
    """Yield the gate of the models `names` in two revisions of the repository around `here`.

    Without `head`, HEAD is the working tree. The folders of the revisions exist until the context ends.

    Raises:
        UsageError: there is no such repository or revision, or the requirements differ and no option says what to do.
    """
    request = _request(f"gate {base} {head or ''}".strip(), options)
    top = top_of(here)
    paths = [_name_from_top(top, here, name) for name in names]

    # SIGTERM must end the gate as Ctrl-C does; otherwise the folders of the revisions would be left behind.
    with sigterm_interrupts(), check_out_revisions(top, base, head) as (before, after):
        _check_built_ins(paths, before, after, top)
        # Workers build a model from the folder of its side; records name it by its commit, which outlives the folder.
        entries = [
            Entry(
                built=SidePair(base=name_in_tree(before.folder, path), head=name_in_tree(after.folder, path)),
                recorded=Compared(name=path, base=f"{path}@base-{before.tag}", head=f"{path}@head-{after.tag}"),
            )
            for path in dict.fromkeys(paths)
        ]
        yield Gate(
            question=_question(before.name, after.name, options),
            request=request,
            entries=tuple(entries),
            folders=((before.folder, "BASE"), (after.folder, "HEAD")),
            base_python=options.base_python,
            notes=_requirement_notes(before, after, options),
            command=options.command,
            output=options.output,
            history=options.history,
        )


def gate_of_files(base: str, head: str, options: GateOptions) -> Gate:
    """Return the gate of the models `base` and `head`, such as FILE.py:FACTORY.

    Raises:
        UsageError: one of them does not exist, or both are the same.
        MissingError: a package is not installed.
    """
    if base == head:
        raise UsageError(f"BASE and HEAD are both '{base}'. Give two files, or two factories of one file.")
    for name in (base, head):
        check_name(name)
    entry = Entry(built=SidePair(base=base, head=head), recorded=Compared(name=head, base=base, head=head))
    return gate_of_models(entry, f"gate {short_name(base)} {short_name(head)}", (base, head), options)


def gate_of_models(entry: Entry, title: str, sides: tuple[str, str], options: GateOptions) -> Gate:
    """Return the gate of the two models in `entry`; `sides` are the names of BASE and HEAD."""
    return Gate(
        question=_question(*sides, options),
        request=_request(title, options),
        entries=(entry,),
        base_python=options.base_python,
        notes=_python_notes(options),
        command=options.command,
        output=options.output,
        history=options.history,
    )


def _question(base: str, head: str, options: GateOptions) -> Question:
    return Question(base=base, head=head, threshold=options.threshold, inconclusive_fails=options.inconclusive_fails)


def _request(title: str, options: GateOptions) -> Request:
    # The section names no models: the entries of the gate do, with a name for each side.
    request = Request(
        title=title,
        sections=(Section(models=(), variants=options.variants, batch_sizes=options.batch_sizes),),
        input_shape=options.input_shape,
        threads=options.threads,
        seed=options.seed,
        budget=budget(options.budget_s, None),
    )
    check(request, Options(command=options.command, output=options.output))
    tell_cut_threads(request)
    return request


def _name_from_top(top: Path, here: Path, name: str) -> str:
    """Return `name` with its file as a path from `top`; the given path may also start in the folder `here`."""
    if name.endswith(".py"):
        raise UsageError(f"'{name}' does not name a factory. Write {name}:FACTORY, a function that returns a model.")
    if ".py:" not in name:
        return name
    source, _, factory = name.rpartition(":")
    path = (here / source if (here / source).is_file() else top / source).resolve()
    if not path.is_relative_to(top.resolve()):
        raise UsageError(f"'{source}' is not in the repository {top}, so there are no revisions of it.")
    return f"{path.relative_to(top.resolve()).as_posix()}:{factory}"


def _check_built_ins(names: Sequence[str], before: Revision, after: Revision, top: Path) -> None:
    """Refuse the name of a built-in if it would mean the installed package on both sides.

    Raises:
        UsageError: the message names the built-in, and says how to name models of another repository.
    """
    built_in = next((name for name in names if not is_outside(name)), None)
    if built_in is None or any((one.folder / OURS / "models").is_dir() for one in (before, after)):
        return
    raise UsageError(
        f"'{built_in}' is a built-in of {OURS}, but {top} is another repository. Name its models with --models "
        "path/in/it.py:FACTORY, and their input with --input-shape 3x32x32 (default: 3x224x224)."
    )


def _requirement_notes(before: Revision, after: Revision, options: GateOptions) -> tuple[str, ...]:
    """Return the notes for the reader of a report if the revisions require different packages.

    Raises:
        UsageError: they do, and no option says in which environment to measure.
    """
    differing = differing_requirements(before.folder, after.folder)
    # An environment that was made for BASE has its packages, so a difference between the sides is wanted.
    if options.base_python is not None:
        return _python_notes(options)
    if not differing:
        return ()

    verb = "differs" if len(differing) == 1 else "differ"
    what = f"{', '.join(differing)} {verb} between {before.name} and {after.name}"
    if options.same_environment:
        return (f"{what}; both were measured in this environment anyway (--same-environment)",)

    raise UsageError(
        f"{what}, so in one environment, one of them would run with the wrong packages. Use --base-python PATH with "
        "the interpreter of an environment made for BASE, or use --same-environment to measure both here."
    )


def _python_notes(options: GateOptions) -> tuple[str, ...]:
    """Return the note that BASE had an environment of its own, if it had one."""
    python = options.base_python
    return () if python is None else (f"BASE was measured in its own environment: {python}",)
