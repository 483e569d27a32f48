"""Weights that are tested: scores of a part, predictions, and images that are moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnbench.clock import wall_clock
from cnnbench.data.batches import Split, shift_images
from cnnbench.data.dataset import DatasetSpec, LabelledImages, Read, built_in_source
from cnnbench.jobs import Assignment, Job
from cnnbench.spec import ModelSpec
from cnnbench.training import evaluate_job as testing
from tests.factories import case

SIDE = 5


def bright_at(row: int, column: int) -> Tensor:
    image = torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    image[0, row, column] = 255
    return image


def middle() -> Split:
    return Split(images_NCHW=bright_at(2, 2)[None], labels_N=torch.tensor([0]), classes=2)


@pytest.mark.parametrize(
    ("right", "down", "expected"),
    [
        (0, 0, (2, 2)),
        (1, 0, (2, 3)),
        (-2, 0, (2, 0)),
        (0, 1, (3, 2)),
        (0, -2, (0, 2)),
        (2, -1, (1, 4)),
        (3, 0, None),
        (0, -9, None),
    ],
)
def test_pictures_move_and_leave_black(right: int, down: int, expected: tuple[int, int] | None) -> None:
    before = middle()
    moved = shift_images(before, right=right, down=down).images_NCHW[0]
    assert torch.equal(moved, torch.zeros_like(moved) if expected is None else bright_at(*expected))
    assert torch.equal(before.images_NCHW[0], bright_at(2, 2))


class Where(nn.Module):
    """Says 1 where the right half of an image is the brighter one."""

    def forward(self, images: Tensor) -> Tensor:
        columns = images.mean(dim=(1, 2))
        return torch.stack([columns[:, : SIDE // 2].sum(1), columns[:, SIDE // 2 + 1 :].sum(1)], dim=1)


def images() -> LabelledImages:
    images = torch.stack([bright_at(2, column) for column in (0, 1, 3, 4)]).numpy()
    return LabelledImages(images_NCHW=images, labels_N=np.array([0, 0, 1, 1]))


TINY = DatasetSpec(
    name="tiny",
    classes=2,
    shape=(1, SIDE, SIDE),
    counts=None,
    source="here",
    description="a bright point",
    look=built_in_source,
    read=lambda *_: Read(train=images(), val=images(), test=images(), notes=("Made here.",)),
)


def outcome_of(monkeypatch: pytest.MonkeyPatch, shift: int) -> dict[str, tuple[float, ...]]:
    monkeypatch.setattr("cnnbench.data.find", lambda _: TINY)
    spec = ModelSpec(name="where", family="none", source="here", input_shape=TINY.shape, build=Where)
    made = replace(case("where", task="accuracy", dataset="tiny", shape=TINY.shape))
    told: list[str] = []
    outcome = testing.measure_scores(
        Assignment(
            spec=spec,
            job=Job(case=made, scratch="", part="test", shift=shift),
            build=Where,
            clock=wall_clock(),
            on_message=lambda text, *_: told.append(text),
        )
    )
    assert outcome.notes == ("Tested on the test images of tiny.", "Made here.")
    assert sum(text.startswith("moved by") for text in told) == 4 * shift
    assert told[0] == "testing"
    return {m.quantity: m.samples for m in outcome.measurements}


def test_scores_hold_predictions_without_shifts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    found = outcome_of(monkeypatch, 0)
    assert (found["correct"], found["tested"], found["predicted"]) == ((4.0,), (4.0,), (0.0, 0.0, 1.0, 1.0))
    assert found["confusion"] == (2.0, 0.0, 0.0, 2.0)
    assert "shift_correct" not in found


def test_moved_pictures_are_scored_by_direction_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    # right by 1: points at 1, 2, 4 and none: the middle counts for neither side, so class 0; the lost one too
    found = outcome_of(monkeypatch, 2)["shift_correct"]
    right, left, down, up = (found[at : at + 2] for at in (0, 2, 4, 6))
    assert right == (3.0, 1.0)
    assert left == (3.0, 2.0)
    assert down == up == (4.0, 4.0)
