import numpy as np
import pytest
import torch

from metrics.functional.ciou import consensus_iou


def looped_ciou(pred: np.ndarray, gt: np.ndarray) -> float:
    shared, marked, outside = 0.0, 0.0, 0.0
    for row in range(pred.shape[0]):
        for column in range(pred.shape[1]):
            marked += gt[row, column]
            if pred[row, column]:
                shared += gt[row, column]
                outside += gt[row, column] == 0
    return shared / (marked + outside)


def test_agrees_with_a_loop_over_samples_rows_and_columns():
    rng = np.random.default_rng(0)
    pred = rng.random((5, 9, 7)) < 0.4
    gt = rng.choice([0.0, 0.5, 1.0], size=(5, 9, 7))
    expected = [looped_ciou(p, g) for p, g in zip(pred, gt, strict=True)]

    actual = consensus_iou(torch.from_numpy(pred), torch.from_numpy(gt))

    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-12)


def test_a_half_covered_box_scores_its_exact_fraction():
    gt = torch.zeros(1, 4, 4)
    gt[:, :, :2] = 1
    pred = torch.zeros(1, 4, 4, dtype=torch.bool)
    pred[:, :2] = True  # 4 of 8 marked pixels, 4 outside

    assert consensus_iou(pred, gt).item() == 4 / 12


def test_two_empty_maps_are_undefined():
    empty = torch.zeros(1, 2, 2)

    assert consensus_iou(empty.bool(), empty).isnan().all()


def test_an_empty_truth_is_never_hit():
    assert consensus_iou(torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1, 2, 2)).item() == 0


def test_different_shapes_are_named_in_the_error():
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        consensus_iou(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 4))
