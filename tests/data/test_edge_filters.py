"""Edges of hand-made images."""

import numpy as np

from cnnbench.data.edge_filters import horizontal_edges, vertical_edges

STEP = np.array([[[0, 0, 1, 1]] * 4], dtype=np.float32)
"""An image that is dark on the left and bright on the right."""


def test_step_to_right_is_vertical_edge_only() -> None:
    assert vertical_edges(STEP).tolist() == [[[3.0, 3.0], [3.0, 3.0]]]
    assert horizontal_edges(STEP).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_step_down_is_horizontal_edge_signed_by_direction() -> None:
    down = STEP.swapaxes(1, 2)
    assert horizontal_edges(down).tolist() == [[[3.0, 3.0], [3.0, 3.0]]]
    assert horizontal_edges(down[:, ::-1]).tolist() == [[[-3.0, -3.0], [-3.0, -3.0]]]
    assert vertical_edges(down).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_the_filter_is_the_sum_of_its_nine_products() -> None:
    image = np.random.default_rng(0).random((1, 3, 3)).astype(np.float32)
    weights = np.array([[-1, 0, 1]] * 3)
    np.testing.assert_allclose(vertical_edges(image)[0, 0, 0], (image[0] * weights).sum(), rtol=1e-6)
    np.testing.assert_allclose(horizontal_edges(image)[0, 0, 0], (image[0] * weights.T).sum(), rtol=1e-6)
