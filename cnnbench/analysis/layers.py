"""Make the table of layers from records: multiply-adds, parameters and measured time, with the share of each."""

from __future__ import annotations

from dataclasses import dataclass

from cnnbench.analysis.cells import Cell
from cnnbench.analysis.side_cells import Controls
from cnnbench.quantities import show
from cnnbench.record import Layer
from cnnbench.stats import median
from cnnbench.text import name_list

# How many layers a sentence names as those that take most of the time.
NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """A layer, its median seconds within a pass, and its shares of the model's time, multiply-adds and parameters."""

    layer: Layer
    seconds: float
    time_share: float
    macs_share: float
    params_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTable:
    """The layers of one model in the order of their calls.

    `pass_s` is the median time of a pass over one batch, in seconds. `between_share` is the share of the pass outside
    all layers: the model's own code, and the clock.
    """

    model: str
    device: str
    batch_size: int
    pass_s: float
    between_share: float
    rows: tuple[LayerRow, ...]

    def gist(self) -> str:
        """Return sentences that say which layers take most of the time, and how much is outside all layers."""
        most = sorted(self.rows, key=lambda row: -row.seconds)[:NAMED]
        named = name_list(f"{row.layer.name} ({row.layer.kind}, {show(row.time_share, 'share')})" for row in most)
        return (
            f"A pass takes {show(self.pass_s, 'seconds')} with the clock in every layer; most of it: {named}. "
            f"{show(self.between_share, 'share')} is outside the layers."
        )


def layer_tables(controls: Controls) -> tuple[LayerTable, ...]:
    """Return a table for each model whose layers were timed."""
    cells = (cell for cell in controls.by_case.values() if cell.case.role == "layers" and cell.status == "ok")
    return tuple(_table(cell) for cell in cells)


def _table(cell: Cell) -> LayerTable:
    record = cell.measured[-1]
    # The clock in every layer makes a pass longer, so shares are of this pass and not of the latency.
    seconds = record.samples("layer_s")
    pass_s = median(record.samples("layered_pass_s")).center
    # A model may have no multiply-adds or no parameters; 1 avoids a division by zero.
    macs = sum(layer.macs for layer in record.layers) or 1
    params = sum(layer.params for layer in record.layers) or 1
    rows = tuple(
        LayerRow(
            layer=layer,
            seconds=own,
            time_share=own / pass_s,
            macs_share=layer.macs / macs,
            params_share=layer.params / params,
        )
        for layer, own in zip(record.layers, seconds, strict=True)
    )

    return LayerTable(
        model=cell.case.model,
        device=cell.case.device,
        batch_size=cell.case.batch_size,
        pass_s=pass_s,
        # Medians of layers can add up to more than the median pass.
        between_share=max(0.0, 1 - sum(seconds) / pass_s),
        rows=rows,
    )
