from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnbench.data.batches import Split
from cnnbench.spec import UnsupportedError
from cnnbench.training.scoring import Scores, calibration_error, main_logits, score


class Lookup(nn.Module):
    """Gives class `answers[i]` the highest score for an image of brightness i, then `answers[i] + 1` and so on."""

    def __init__(self, answers: list[int], outputs: int) -> None:
        super().__init__()
        self.answers = torch.tensor(answers)
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        chosen = self.answers[images[:, 0, 0, 0].to(torch.int64)]
        places = torch.arange(self.outputs)
        return -((places[None, :] - chosen[:, None]) % self.outputs).to(torch.float32)


def split_of(labels: list[int], classes: int) -> Split:
    images = torch.arange(len(labels), dtype=torch.float32).reshape(-1, 1, 1, 1)
    return Split(images_NCHW=images, labels_N=torch.tensor(labels), classes=classes)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_scores_by_hand(batch_size: int) -> None:
    scores = score(Lookup([0, 1, 1, 2, 0], 3), split_of([0, 0, 1, 2, 2], 3), batch_size=batch_size)
    confidence = torch.tensor([0.0, -1.0, -2.0]).softmax(0)[0].item()  # the same for every image
    assert scores.calibration_error == pytest.approx(abs(0.6 - confidence))
    assert replace(scores, calibration_error=0.0) == Scores(
        correct=3,
        tested=5,
        top1=0.6,
        top5_correct=None,
        class_correct=(1, 1, 1),
        class_total=(2, 1, 2),
        confusion=((1, 1, 0), (0, 1, 0), (1, 0, 1)),
        predicted=(0, 1, 1, 2, 0),
    )


def test_the_mean_loss_is_over_pictures_whatever_the_batches() -> None:
    model, split = Lookup([0, 1, 1, 2, 0], 3), split_of([0, 0, 1, 2, 2], 3)
    whole = float(functional.cross_entropy(model(split.images_NCHW), split.labels_N))
    for batch_size in (1, 2, 5):
        found = score(model, split, batch_size=batch_size, loss=functional.cross_entropy)
        assert found.loss == pytest.approx(whole)
    assert score(model, split).loss is None


@pytest.mark.parametrize(
    ("confidences", "right", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], [True] * 4, 0.0),
        ([1.0, 1.0, 1.0, 1.0], [True, False, False, False], 0.75),
        # two ranges: |1 - 0.9| for one image of three, |(1 + 0) - (0.55 + 0.58)| for two
        ([0.9, 0.55, 0.58], [True, True, False], (0.1 + 0.13) / 3),
        # right and wrong in one range cancel, in two they do not
        ([0.50, 0.50], [True, False], 0.0),
        ([0.26, 0.74], [True, False], 0.74),
        ([0.0], [False], 0.0),
    ],
)
def test_the_calibration_error_by_hand(confidences: list[float], right: list[bool], expected: float) -> None:
    found = calibration_error(torch.tensor(confidences), torch.tensor(right))
    assert found == pytest.approx(expected, abs=1e-6)


def test_top5_is_given_for_more_than_five_classes() -> None:
    # of seven classes the answer and the four after it are among the top five
    scores = score(Lookup([0, 0, 0, 6], 7), split_of([0, 4, 5, 3], 7))
    assert (scores.correct, scores.top5_correct) == (1, 3)


def test_outputs_beyond_the_classes_share_the_last_column() -> None:
    scores = score(Lookup([0, 2, 7], 8), split_of([0, 1, 1], 2))
    assert scores.confusion == ((1, 0, 0), (0, 0, 2))
    assert (scores.correct, scores.class_total) == (1, (1, 2))


def test_scoring_keeps_batch_statistics_and_gives_no_gradient() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score(model, split_of([0, 1, 2], 3))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training


def test_main_logits_of_tuples() -> None:
    logits, other = torch.zeros(2, 3), torch.ones(2, 3)
    inception = namedtuple("inception", ["aux", "logits"])  # noqa: PYI024 - torchvision's outputs are made this way
    assert main_logits(logits) is logits
    assert main_logits((logits, other)) is logits
    assert main_logits(inception(aux=other, logits=logits)) is logits


@dataclass(slots=True)
class Output:
    features: torch.Tensor
    scores: torch.Tensor


def test_main_logits_of_dictionaries_and_dataclasses() -> None:
    logits, features = torch.zeros(2, 3), torch.ones(2, 8)
    maps = torch.ones(2, 3, 4, 4)
    assert main_logits({"features": features, "logits": logits}) is logits
    assert main_logits({"maps": maps, "anything": logits}) is logits
    assert main_logits(Output(features=maps, scores=logits)) is logits
    with pytest.raises(UnsupportedError):
        main_logits(Output(features=features, scores=logits))


def test_main_logits_refuses_what_is_no_classifier() -> None:
    with pytest.raises(UnsupportedError) as caught:
        main_logits({"one": torch.zeros(1, 2), "other": torch.zeros(1, 2)})
    assert str(caught.value) == "The model returns dict, without `logits` or a single tensor of images x classes."
    with pytest.raises(UnsupportedError) as caught:
        main_logits(torch.zeros(1, 21, 8, 8))
    assert str(caught.value) == "The model's output has the shape 1x21x8x8, but a classifier's is images x classes."
