from pathlib import Path

import pytest
import torch

from benchmark.speed.training import _same_losses, ave_and_avfb, epoch_losses, kept_features
from datamodules.ave import Ave
from datamodules.sample_data import write_sample


def test_kept_features_train_like_the_frames_and_leave_the_streams_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    root = write_sample("ave", tmp_path / "root", clips=16).root
    from_frames, method = ave_and_avfb(root, image_size=32)
    from_features = Ave(from_frames.config, method.inputs, seed=0)
    from_features.setup("fit")
    before = {name: value.clone() for name, value in method.streams.state_dict().items()}

    from_features.cached_features = kept_features(method, from_features, tmp_path / "features")
    of_features, of_frames = (epoch_losses(method, data) for data in (from_features, from_frames))
    kept, seen = of_features(), of_frames()

    assert kept == pytest.approx(seen, abs=1e-4)
    assert len(kept) > 1
    assert len(set(kept)) > 1
    after = method.streams.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert list((tmp_path / "cache").glob("features/*/*.npy")) == []


@pytest.mark.parametrize(("ours", "holds"), [([3.0, 2.0], True), ([3.0, 2.001], False)])
def test_losses_that_differ_are_no_claim_to_the_same_training(ours: list[float], holds: bool):
    (claim,) = _same_losses([3.0, 2.0], ours)

    assert claim.holds is holds
