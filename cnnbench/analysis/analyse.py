"""Turn records into a report: join them to cells, check the cells, build rows and say what they show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cnnbench.analysis.build_rows import make_rows
from cnnbench.analysis.cells import Cell, gather
from cnnbench.analysis.checks import review_cells, scores_wrong
from cnnbench.analysis.comparability import check_environments, check_threads, references, unpaired_labels
from cnnbench.analysis.effects import compare_all, pairs_of, priors_of
from cnnbench.analysis.filter import RowLimits, sort_rows
from cnnbench.analysis.layers import layer_tables
from cnnbench.analysis.lineup import lineups
from cnnbench.analysis.noise import noise_of
from cnnbench.analysis.notes import notes_of, recorded_notes
from cnnbench.analysis.report import Report, Totals
from cnnbench.analysis.roofline_of_cells import Counts
from cnnbench.analysis.row import Row
from cnnbench.analysis.side_cells import Controls, split
from cnnbench.analysis.side_columns import RowContext
from cnnbench.analysis.summary import compare, summarise
from cnnbench.analysis.warnings import RowWarning
from cnnbench.record import Record, Run, Status
from cnnbench.spec import Case, UsageError
from cnnbench.text import strip_output


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """All records as cells, of three kinds.

    `cells` are those that were asked for, with the warnings that the analysis adds. `controls` were measured beside
    them. `counts` hold the parameters and multiply-adds of each model.
    """

    cells: tuple[Cell, ...]
    controls: Controls
    counts: Counts


def join(files: Iterable[Iterable[Record | Run]]) -> Joined:
    """Return the cells of all record files, given the items of each file."""
    asked, controls = split(gather(files))
    counts = {(c.case.model, c.case.input_shape): c for c in asked if c.case.task == "complexity"}
    return Joined(cells=review_cells(asked, controls, counts), controls=controls, counts=counts)


def cell_status(*files: Iterable[Record | Run]) -> Mapping[Case, Status]:
    """Return the status of each requested cell, as rows show it, by `Case.key()`.

    `files` are the items of each record file. Cells for counts and accuracies are included, even if they have no row
    of their own. What was measured beside the cells, such as an A/A control, is not.
    """
    return MappingProxyType({cell.case: cell.status for cell in join(files).cells})


def analyse(*files: Sequence[Record | Run]) -> Report:
    """Return the report on the records and runs of one or more record files, each in the order of writing.

    Within a file, the last record of a case and round counts; records of several files are further rounds. Of several
    runs (one that was resumed, or several merged) the options of the last one count, and times are added up.

    Raises:
        UsageError: there are no records, they must not be compared, or there is no such column to sort by.
    """
    items = [item for file in files for item in file]
    records = [item for item in items if isinstance(item, Record)]
    if not records:
        raise UsageError(
            "No case has been measured yet, so there is nothing to report. Resume the run to measure them."
        )

    # Records without a run still get a report, under the default options.
    runs = [item for item in items if isinstance(item, Run)]
    asked = runs[-1] if runs else Run(title="Benchmark", command="", started=records[0].started)
    check_environments(records)
    joined = join(files)
    cells, controls = joined.cells, joined.controls
    threads = check_threads(cells)
    compared = references(cells, asked.reference)
    # Cells with wrong outputs keep their rows, but are never compared.
    wrong = frozenset(cell.case for cell in cells if scores_wrong(cell))
    priors = priors_of(pairs_of(cells, compared, controls))
    comparisons = compare_all(cells, compared, controls, priors, asked.delta, wrong)
    around = RowContext(timed={cell.case: cell for cell in cells}, controls=controls, counts=joined.counts)
    measured = make_rows(cells, compared, comparisons, around)
    # Limits hide rows that are known to exceed them; failures stay visible.
    limits = RowLimits(latency_max_s=asked.latency_max_s, params_max=asked.params_max)
    shown = sort_rows([row for row in measured if row.status != "ok" or not limits.broken_by(row)], asked.sort)
    totals = _totals(runs)
    differences = compare(shown)

    return Report(
        title=asked.title,
        command=strip_output(asked.command),
        started=runs[0].started if runs else asked.started,
        reference=asked.reference,
        environment=records[0].environment,
        threads=tuple(threads.items()),
        noise=noise_of(cells, controls, comparisons, threads),
        rows=tuple(shown),
        summary=(*differences, *summarise(shown, measured, limits, totals)),
        differences=differences,
        warnings=_warnings([*cells, *controls.by_case.values()]),
        notes=notes_of(cells, controls, measured, unpaired_labels(cells, compared), len(measured) - len(shown), limits),
        tested=_tested_variants(cells, shown),
        training=recorded_notes(cells, "accuracy"),
        counting=recorded_notes(cells, "complexity"),
        totals=totals,
        layers=layer_tables(controls),
        lineups=lineups(cells, controls, priors, measured, one_reference=asked.reference is not None),
        partial=_partial_text(files),
    )


def _partial_text(files: Sequence[Sequence[Record | Run]]) -> str | None:
    """Return how far the run got; None if the last part of each file ended by itself.

    If several files were interrupted, the first one is reported.
    """
    lasts = [[item for item in file if isinstance(item, Run)][-1:] for file in files]
    last = next((run for found in lasts for run in found if run.partial), None)
    if last is None:
        return None
    if last.wall_s is None:
        return "the run has not ended, or was killed"
    # An interrupted run without a budget has no total to compare its time with.
    of = "" if last.budget_s is None else f" of {last.budget_s:.0f}"
    return f"interrupted after {last.wall_s:.0f}{of} s"


def _totals(runs: Sequence[Run]) -> Totals | None:
    """Return the sums over all runs that ended; None if none ended."""
    ended = [run for run in runs if run.wall_s is not None]
    if not ended:
        return None
    # Older or partial runs may lack a part; a sum over nothing is None rather than 0 s.
    passes = [run.passes_s for run in ended if run.passes_s is not None]
    compiled = [run.compile_s for run in ended if run.compile_s is not None]
    return Totals(
        wall_s=sum(run.wall_s or 0.0 for run in ended),
        passes_s=sum(passes) if passes else None,
        compile_s=sum(compiled) if compiled else None,
    )


def _warnings(cells: Sequence[Cell]) -> tuple[RowWarning, ...]:
    found = [RowWarning(row=cell.case.label(), warning=warning) for cell in cells for warning in cell.warnings]
    return tuple(dict.fromkeys(found))


def _tested_variants(cells: Sequence[Cell], rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the variants that top-1 was tested with; empty if every row shows the value of its own variant."""
    tested = [(c.case.model, c.case.variant.name) for c in cells if c.case.task == "accuracy" and c.status == "ok"]
    if all(row.top1 is None or (row.model, row.variant) in tested for row in rows):
        return ()
    return tuple(dict.fromkeys(variant for _, variant in tested))
