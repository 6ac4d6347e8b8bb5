"""Stage ``training``: clips through a training step, from frames and from kept features.

A frozen stream makes the same of the same frame at every epoch, so the peer is what the field's
training loops do whose streams are not trained: run them again at each step.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from benchmark.config import compose
from benchmark.speed.harness import Claim, Comparison, Measurable, Setting, Target
from datamodules.ave import Ave
from datamodules.features import CachedFeatures, StreamFeatures, make_features, streams_of
from datamodules.sample_data import write_sample
from methods.avfb import Avfb

CLIPS, QUICK_CLIPS = 24, 16  # of the miniature; half of them are trained on
BATCH = 4
LR = 1e-3
SAME_LOSS = 1e-4  # of a loss near log(29); streams round otherwise in batches of another size


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """One epoch of supervised `avfb` on a miniature of AVE."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clips = QUICK_CLIPS if setting.quick else CLIPS
        root = write_sample("ave", folder / "root", clips=clips).root
        from_frames, method = ave_and_avfb(root, image_size=32 if setting.quick else 224)
        from_features = Ave(from_frames.config, method.inputs, seed=0)
        from_features.setup("fit")
        from_features.cached_features = kept_features(method, from_features, folder / "features")
        yield Comparison(
            name="clips of ten seconds through a step of avfb, from kept features",
            item="clip",
            items=len(from_frames.report.splits["train"]) // BATCH * BATCH,
            peer=epoch_losses(method, from_frames),
            ours=epoch_losses(method, from_features),
            claims=_same_losses,
            target=Target("at least", 20.0, "x"),
            note="peer: VGG-19 and VGGish, frozen, on a frame and a sound of each second",
            rounds=1,
        )


def ave_and_avfb(root: Path, image_size: int) -> tuple[Ave, Avfb]:
    """The data set from its frames, and a method whose streams are frozen as with weights."""
    words = [f"data.root={root}", f"data.batch_size={BATCH}", f"method.image_size={image_size}"]
    config = compose("avfb", "ave", overrides=words)
    method = Avfb(config.method, config.optim, seed=0)  # type: ignore[arg-type]
    streams = method.streams
    assert streams is not None, "it has streams unless method.backbone=features"
    streams.requires_grad_(False)
    streams.frozen_visual = streams.frozen_audio = True
    data = Ave(config.data, method.inputs, seed=0)  # type: ignore[arg-type]
    data.setup("fit")
    return data, method


def kept_features(method: Avfb, data: Ave, folder: Path) -> CachedFeatures:
    """Features of all clips in a store of their own, not in that of the user."""
    extractor = method.extractor()
    assert extractor is not None, "its streams are frozen"
    streams = [_in_folder(each, folder) for each in streams_of(extractor, data)]
    make_features(streams, data, torch.device("cpu"), say=lambda text: None)
    return CachedFeatures(streams)


def _in_folder(one: StreamFeatures, folder: Path) -> StreamFeatures:
    one.store.folder = folder / one.part
    one.store.reload()
    return one


def epoch_losses(method: Avfb, data: Ave) -> Callable[[], list[float]]:
    """What trains an epoch from the first weights on, and gives the loss of each step."""
    initial = {name: value.clone() for name, value in method.state_dict().items()}
    trained: list[nn.Parameter] = [each for each in method.parameters() if each.requires_grad]

    def train() -> list[float]:
        method.load_state_dict(initial)
        optimizer = torch.optim.Adam(trained, lr=LR)
        losses = []
        for batch in data.train_dataloader():
            loss = method.loss(batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        return losses

    return train


def _same_losses(peer: list[float], ours: list[float]) -> Iterator[Claim]:
    gap = max(abs(one - other) for one, other in zip(peer, ours, strict=True))
    yield Claim(f"same loss in each of {len(ours)} steps, {gap:.1e} apart", gap <= SAME_LOSS)
