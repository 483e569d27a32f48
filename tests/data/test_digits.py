from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from cnnbench import data
from cnnbench.data.batches import Splits, splits_of
from cnnbench.data.digits import SPEC


def load() -> Splits:
    return splits_of(data.read(SPEC, SPEC.shape), SPEC.classes)


def test_splits_are_what_the_spec_says() -> None:
    splits = load()
    parts = (splits.train, splits.val, splits.test)
    assert SPEC.counts is not None
    counts = (SPEC.counts.train, SPEC.counts.val, SPEC.counts.test)
    assert counts == (1079, 359, 359)
    assert tuple(len(part) for part in parts) == counts
    assert {part.classes for part in parts} == {SPEC.classes} == {10}
    for part, count in zip(parts, counts, strict=True):
        assert tuple(part.images_NCHW.shape) == (count, *SPEC.shape)
        assert part.images_NCHW.dtype == torch.float32
        assert part.labels_N.dtype == torch.int64
        assert (float(part.images_NCHW.min()), float(part.images_NCHW.max())) == (0.0, 1.0)
        assert sorted(set(part.labels_N.tolist())) == list(range(10))


def test_splits_are_disjoint_and_together_the_whole_set() -> None:
    splits = load()
    bunch = load_digits()
    assert splits.train.labels_N[:9].tolist() == [0, 1, 2, 5, 6, 7, 0, 1, 2]
    assert splits.val.labels_N[:4].tolist() == [3, 8, 3, 8]
    assert splits.test.labels_N[:4].tolist() == [4, 9, 4, 9]
    for part, folds in ((splits.train, (0, 1, 2)), (splits.val, (3,)), (splits.test, (4,))):
        places = [place for place in range(1797) if place % 5 in folds]
        assert part.labels_N.tolist() == bunch.target[places].tolist()
        assert (part.images_NCHW[:, 0] * 16).tolist() == bunch.images[places].tolist()
