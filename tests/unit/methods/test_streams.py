import torch
from torch import Tensor, nn

from datamodules.clip import Clip, Features
from methods.streams import Streams, small_streams


def clips(batch: int, segments: int, size: int = 32, samples: int = 8000) -> Clip:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (batch, segments, 3, size, size), generator=generator)
    waveform = torch.rand(batch, segments, samples, generator=generator) * 2 - 1
    target = torch.full((batch,), segments // 2)
    return Clip(torch.arange(batch), frames.to(torch.uint8), waveform, target)


def test_each_segment_is_seen_and_heard_on_its_own():
    streams, clip = small_streams(16000, 0.5).eval(), clips(2, 3)

    with torch.no_grad():
        visual, sound = streams(clip)
        second = Clip(clip.index, clip.frames[:, 1:2], clip.waveform[:, 1:2], clip.target * 0)
        of_second = streams(second)
        of_target = streams.of_target(clip)

    assert (visual.shape, sound.shape) == ((2, 3, 128, 4, 4), (2, 3, 128))
    for alone, target, together in zip(of_second, of_target, (visual, sound), strict=True):
        assert torch.allclose(alone[:, 0], together[:, 1], atol=1e-5)
        assert target.equal(together[:, 1])


def test_a_frozen_stream_has_no_gradient_and_keeps_its_statistics():
    streams, clip = small_streams(16000, 0.5, frozen=True).train(), clips(2, 1)
    before = {name: value.clone() for name, value in streams.state_dict().items()}

    visual, sound = streams(clip)

    assert not visual.requires_grad
    assert not sound.requires_grad
    assert not any(weights.requires_grad for weights in streams.parameters())
    assert all(value.equal(before[name]) for name, value in streams.state_dict().items())


def test_a_trained_stream_learns_and_offers_no_features():
    streams, clip = small_streams(16000, 0.5).train(), clips(2, 1)

    visual, sound = streams(clip)
    (visual.square().sum() + sound.square().sum()).backward()

    assert streams.extractor() is None
    assert all(weights.grad is not None for weights in streams.parameters())


class Mean(nn.Module):
    """Frames to their mean colour as one cell."""

    def forward(self, frames: Tensor) -> Tensor:
        return frames.mean((2, 3), keepdim=True)


def test_one_stream_may_be_frozen_alone():
    streams = Streams(Mean(), nn.Linear(8000, 4), name="test", frozen_visual=True)
    extractor, clip = streams.extractor(), clips(2, 1)

    visual, sound = streams(clip)

    assert extractor is not None
    assert extractor.audio is None
    assert (visual.requires_grad, sound.requires_grad) == (False, True)


def test_features_that_come_with_a_clip_are_taken_as_they_are():
    streams, clip = small_streams(16000, 0.5, frozen=True), clips(2, 1)
    kept = Features(torch.zeros(2, 1, 128, 4, 4), torch.ones(2, 1, 128))

    visual, sound = streams(clip._replace(features=kept))

    assert visual.equal(kept.visual)
    assert sound.equal(kept.audio)
