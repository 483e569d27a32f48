"""Lines of the table of layers, for all writers."""

from __future__ import annotations

from dataclasses import dataclass

from cnnbench.analysis.layers import LayerTable
from cnnbench.quantities import show
from cnnbench.text import one_line

LAYER_HEADINGS = ("Layer", "Type", "Output", "Time", "MACs", "Params")

WHERE_TIME_GOES = (
    "Each layer's own time within an eager pass, as the median over many passes, with its share of the pass. A clock "
    "in every layer adds some microseconds to each. Multiply-adds and parameters are for one image, with their shares "
    "of the model's total."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerLine:
    """A layer as texts; `bars` hold the text and the share of its time, its multiply-adds and its parameters."""

    name: str
    kind: str
    shape: str
    bars: tuple[tuple[str, float], ...]


def layer_lines(table: LayerTable) -> list[LayerLine]:
    """Return a line for each layer of a table, in order."""
    return [
        LayerLine(
            name=one_line(row.layer.name),
            kind=one_line(row.layer.kind),
            # without the batch size, which the heading of the table gives
            shape="x".join(map(str, row.layer.output_shape[1:])),
            bars=(
                (_value_with_share(show(row.seconds, "seconds"), row.time_share), row.time_share),
                (_value_with_share(show(row.layer.macs, "count"), row.macs_share), row.macs_share),
                (_value_with_share(show(row.layer.params, "count"), row.params_share), row.params_share),
            ),
        )
        for row in table.rows
    ]


def _value_with_share(value: str, share: float) -> str:
    return f"{value} ({show(share, 'share')})" if share else value
