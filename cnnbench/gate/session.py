"""Run a gate: measure two sides, judge them, and write the files of the run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cnnbench.app.progress import Display, display, record_line
from cnnbench.app.session import point_latest, run_folder, sigterm_interrupts
from cnnbench.atomic_write import writing_into
from cnnbench.gate import history
from cnnbench.gate.formats import GATE_WRITERS
from cnnbench.gate.measure import Deadline, SidePair, Sides, groups_of, hosting_sides, look, measure_sides, reseed_group
from cnnbench.gate.slowdowns import Compared
from cnnbench.gate.verdict import AGAIN, GateCell, GateReport, Question, gate_cells, gate_report
from cnnbench.gate.verdict import lacking as lacking_cell
from cnnbench.gate.verdict import suspected as suspected_cells
from cnnbench.orchestrator.events import Hooks, Progress
from cnnbench.orchestrator.plan import Group
from cnnbench.record import Record, Run
from cnnbench.spec import Case, MissingError, Request, UsageError
from cnnbench.store import Store

# Half-width of the 95 % interval, as a share of the threshold, at which a cell is precise and gets no more rounds. With
# eight rounds the 99 % bound is then a third of the threshold away from the estimate, with six a little more.
WIDTH_SHARE = 0.25

# Files of a run folder beside the records, by format.
FILES = {"markdown": "gate.md", "csv": "gate.csv", "json": "gate.json"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One model on both sides: the names that build it, and the names in the records."""

    built: SidePair
    recorded: Compared


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """The definition of a gate.

    `request` has what both sides share: variants, batch sizes, input shape, threads, seed, budget. `folders` are the
    folders of the sides, with their names in messages. Without folders, a model that a side lacks is a mistake of the
    user. `output` None: a new folder in results. `history` is the file of earlier gates, which the report shows.
    """

    question: Question
    request: Request
    entries: tuple[Entry, ...]
    folders: tuple[tuple[Path, str], ...] = ()
    base_python: str | None = None
    notes: tuple[str, ...] = ()
    command: str
    output: Path | None = None
    history: Path | None = None


def run_gate(gate: Gate) -> tuple[GateReport, Path]:
    """Measure and judge both sides, write the run folder, and return the report and the folder.

    Raises:
        UsageError: neither side has a model, the folder holds a run, or the history file is no history.
        MissingError: a variant cannot run here, or a package is not installed.
        KeyboardInterrupt: the gate was interrupted; the records until then are kept.
    """
    now = datetime.now(UTC)
    folder = gate.output or run_folder(gate.request.title, now)
    store = Store(folder)
    if store.load().items:
        raise UsageError(f"'{folder}' holds a run already, and a gate cannot be resumed. Use a new --output folder.")

    # The history is read before anything is measured, so that a wrong file shows at once.
    past = () if gate.history is None else history.load(gate.history)
    run = Run(title=gate.request.title, command=gate.command, started=now.isoformat(timespec="seconds"))
    begin = time.monotonic()

    with display() as shown, sigterm_interrupts():
        try:
            found = _Measuring(gate, store, run, shown).all()
        except KeyboardInterrupt:
            if store.file.exists():
                shown.line(f"The records are kept in {folder}, but a gate cannot be resumed.")
            raise

    # The seconds that the run took are known only now, so it is recorded once more with them.
    wall_s = time.monotonic() - begin
    store.append(replace(run, wall_s=wall_s))

    # Cells stand in the order in which the models were named, whether or not a side lacks one.
    compared = [entry.recorded for entry in gate.entries]
    cells = (*found.lacking, *gate_cells(compared, found.records, gate.question.threshold))
    report = gate_report(
        gate.question,
        sorted(cells, key=lambda cell: [one.name for one in compared].index(cell.model)),
        notes=(*gate.notes, *found.notes),
        environment=found.sides.head,
        started=run.started,
        wall_s=wall_s,
        past=past,
    )

    _write(report, folder)
    point_latest(folder)
    return report, folder


def _write(report: GateReport, folder: Path) -> None:
    with writing_into(folder):
        for name, file in FILES.items():
            (folder / file).write_text(GATE_WRITERS[name](report), encoding="utf-8", newline="\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    sides: Sides
    records: tuple[Record, ...]
    lacking: tuple[GateCell, ...]
    notes: tuple[str, ...]


class _Measuring:
    """The measurements of a gate: all groups first, then the suspected groups once more."""

    def __init__(self, gate: Gate, store: Store, run: Run, shown: Display) -> None:
        self._gate = gate
        self._store = store
        self._run = run
        self._shown = shown
        self._begin = time.monotonic()
        self._records: list[Record] = []

        # From the names that build models, which may hold temporary folders, to the names in the records.
        self._names = {
            built: recorded
            for entry in gate.entries
            for built, recorded in (
                (entry.built.base, entry.recorded.base),
                (entry.built.head, entry.recorded.head),
            )
        }

    def all(self) -> _Found:
        """Measure all groups and then the suspected ones again, and return what was found."""
        gate = self._gate
        budget = gate.request.budget
        pairs = [entry.built for entry in gate.entries]
        self._shown.on_progress(
            Progress(text="starting workers (importing torch)", elapsed_s=0.0, remaining_s=budget.total_s)
        )

        with hosting_sides(gate.request, gate.base_python) as hosts:
            sides = look(hosts, pairs)
            lacking = tuple(cell for entry in gate.entries if (cell := self._lacking_cell(entry, sides)) is not None)
            groups = groups_of(gate.request, pairs, sides)

            # An unknown model or variant has raised by now, so such a mistake leaves no run folder behind.
            if groups:
                self._store.append(self._run)
                self._declare(groups)
                times = Deadline(begin=self._begin, total_s=budget.total_s, target=self._width())
                measure_sides(hosts, sides, groups, times, self._hooks())

        # The first hosts are closed by now: the second measurement starts its own.
        self._measure_again(groups)
        notes = tuple(note for entry in gate.entries if (note := _shape_note(entry, sides, gate.request)) is not None)
        return _Found(sides=sides, records=tuple(self._records), lacking=lacking, notes=notes)

    def _width(self) -> float:
        return WIDTH_SHARE * self._gate.question.threshold

    def _declare(self, groups: Sequence[Group]) -> None:
        """Announce the second measurement before the first one begins, so that nobody decides on it by a result."""
        count = f"{len(groups)} cell{'s' if len(groups) > 1 else ''}"
        self._shown.line(
            f"{count}, BASE and HEAD in turns. A cell that looks too slow is measured again by new processes "
            f"(seed {self._gate.request.seed + AGAIN}) and fails only if it is too slow both times."
        )

    def _measure_again(self, groups: Sequence[Group]) -> None:
        gate, threshold = self._gate, self._gate.question.threshold
        suspects = suspected_cells([entry.recorded for entry in gate.entries], self._records, threshold)
        again = [reseed_group(group, gate.request.seed + AGAIN) for group in groups if self._key(group) in suspects]
        if not again:
            return

        self._shown.line(f"Too slow or broken: {len(again)} of {len(groups)}. Measuring again.")
        # A suspected group has the same time as in the first measurement.
        begin, total_s = time.monotonic(), gate.request.budget.total_s * len(again) / len(groups)

        # New hosts and another seed, so that an unlucky fork server or input does not cause the same slowdown again.
        with hosting_sides(gate.request, gate.base_python) as hosts:
            times = Deadline(begin=begin, total_s=total_s, target=self._width())
            measure_sides(hosts, look(hosts, ()), again, times, self._hooks())

    def _key(self, group: Group) -> Case:
        return self._rename_case(group.cases[0]).key()

    def _rename_case(self, case: Case) -> Case:
        return replace(case, model=self._names[case.model])

    def _hooks(self) -> Hooks:
        return Hooks(on_record=self._on_record, on_progress=self._on_progress, completed={})

    def _on_record(self, record: Record) -> None:
        error = None if record.error is None else self._plain_text(record.error)
        record = replace(record, case=self._rename_case(record.case), error=error)
        self._store.append(record)
        self._records.append(record)
        if record.case.role == "timed" or record.status != "ok":
            self._shown.line(record_line(record))

    def _on_progress(self, progress: Progress) -> None:
        elapsed_s = time.monotonic() - self._begin  # of both measurements together
        self._shown.on_progress(replace(progress, text=self._plain_text(progress.text), elapsed_s=elapsed_s))

    def _plain_text(self, text: str) -> str:
        """Return `text` with the names that the user knows instead of temporary folders."""
        # Longest first, because one name may be the start of another.
        for built, recorded in sorted(self._names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(built, recorded)
        for folder, name in self._gate.folders:
            text = text.replace(f"{folder}/", "").replace(str(folder), name)
        return text

    def _lacking_cell(self, entry: Entry, sides: Sides) -> GateCell | None:
        """Return the cell of a model that one side lacks, None if both sides have it.

        Raises:
            UsageError: neither side has the model, or it is one of two models that the user named.
            MissingError: the model needs a package that is not installed.
        """
        base, head = sides.known[entry.built.base], sides.known[entry.built.head]
        in_base, in_head = (None if one.error is None else self._plain_text(one.error) for one in (base, head))
        if in_base is None and in_head is None:
            return None

        # Only a model that some revision has can be gone or new. In all other cases its name is a mistake.
        if not self._gate.folders or (in_base is not None and in_head is not None):
            missing = MissingError.exit_code in (base.exit_code, head.exit_code)
            raise (MissingError if missing else UsageError)(in_head or in_base)
        absent = base.absent if in_base is not None else head.absent
        return lacking_cell(entry.recorded.name, in_base=in_base, in_head=in_head, absent=absent)


def _shape_note(entry: Entry, sides: Sides, request: Request) -> str | None:
    """Return the note on a model whose input shape differs in HEAD, None if it is equal or was given."""
    shapes = [sides.known[name].input_shape for name in (entry.built.base, entry.built.head)]
    if request.input_shape is not None or None in shapes or shapes[0] == shapes[1]:
        return None
    before, now = ("x".join(map(str, shape or ())) for shape in shapes)
    return f"{entry.recorded.name} takes {before} in BASE and {now} in HEAD; both were measured at {now}"
