"""`attention`: sound attends to the places of a frame (Senocak et al. 2018 and its supplement).

One network for three supervisions: pairs of frame and sound alone, boxes for some of them, or
boxes for all. The two mechanisms of the paper differ in one line; `attention_relu` has the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Inputs, Localization
from datamodules.features import FrozenExtractor
from methods.base import (
    Method,
    MethodCard,
    MethodConfig,
    OptimConfig,
    Stages,
    require_known,
)
from methods.chunks import in_chunks
from methods.frontends import SoundNetWaveform
from methods.global_norm import ZeroMean, gathered, own_rows, sum_over_ranks
from methods.negatives import of_others_at_this_step, require_other_clips
from methods.own_frontends import FrontEnd, front_end_of
from methods.precision import exact
from methods.released import PRETRAINING, load_released, require_alone
from methods.response import paired_maps, response_maps
from methods.soundnet import OBJECTS, SoundNet
from methods.streams import Streams, require_own_weights, small_streams, weights_given
from methods.two_stream import SMALL_CHANNELS, SMALL_STRIDE
from methods.vgg import vgg16_map, vgg16_map_of_release
from methods.warmup import warm
from metrics.errors import BenchError

VGG_CHANNELS, VGG_STRIDE = 512, 16
RELEASED = "attention_relu"  # the mechanism of the authors' release
RELEASED_NAMES: Mapping[str, str] = {
    "vision_embedding_model.feature_extraction.": "visual.",
    "sound_fc1.": "to_query.1.",
    "sound_fc2.": "to_query.3.",
    "vision_fc1.": "to_sound.1.",
    "vision_fc2.": "to_sound.3.",
}
"""Beginnings of the names in the authors' file, and those of ``Attention`` and its vision."""
SMALLEST_SQUARE = 1e-12  # not given in the paper; the root has no gradient at 0
TEN_SECONDS = {"method.segment_seconds": 10.0}
CHOICES = {
    "backbone": ("vgg16_soundnet", "small"),
    "supervision": ("unsupervised", "semi", "supervised"),
    "query": ("positive", "pair"),
    "loss": ("ratio", "infonce"),
    "answer": ("response", "attention"),
    "confidence": ("response", "distance"),
}


@dataclass
class AttentionConfig(MethodConfig):
    """Settings of `attention` and `attention_relu`."""

    image_size: int = 320
    sample_rate_hz: int = 22050
    segment_seconds: float = 20.0
    backbone: str = "vgg16_soundnet"  # vgg16_soundnet | small
    pretrained: str | None = None  # small streams: warmup, a finished run of warmup, or null
    pretrained_vision: str | None = None  # VGG-16: a file, a hub name, or null
    pretrained_sound: str | None = None  # SoundNet: a file, or null
    train_streams: bool | None = None  # null: those without given weights
    supervision: str = "unsupervised"  # unsupervised | semi | supervised
    supervision_weight: float = 1.0  # lambda of Eq. 6 where a clip has boxes
    query: str = "positive"  # positive (as printed) | pair; not given in the paper
    loss: str = "ratio"  # ratio (Eq. 5) | infonce; not given in the paper
    temperature: float = 0.07  # of infonce; not given in the paper
    attention_temperature: float = 1.0  # Eq. 1 has none
    answer: str = "response"  # response (a of Eq. 2-3) | attention (alpha of Eq. 1)
    confidence: str = "response"  # response (largest cosine) | distance (of f_v from f_s)
    checkpoint: str | None = None  # a released file of `attention_relu`, tested as it stands
    front_end: str = "bench"  # bench | own: frames as the authors' code has them


class Attention(Method):
    """Cosine attention with softmax, mechanism 1 (Eq. 2)."""

    Config = AttentionConfig
    config: AttentionConfig
    wrong_frames: Tensor  # (2,) int64, near and all of the running epoch
    rectified: ClassVar[bool] = False  # whether negative cosines count as 0 (Eq. 3)
    card = MethodCard(
        paper="Senocak et al. 2018",
        pretraining="streams",
        map_range=(-1.0, 1.0),
    )
    recipe: ClassVar = {
        "*": {"optim.lr": 1e-4, "data.batch_size": 30, "trainer.max_epochs": 6},
        **dict.fromkeys(
            ("vggss", "vggss_extended", "is3", "ave", "music_solo", "music_duet",
             "music_synthetic"), TEN_SECONDS,
        ),
    }  # fmt: skip
    presets: ClassVar = {
        "small": {
            "method.backbone": "small",
            "method.pretrained": "warmup",
            "method.image_size": 64,
            "method.sample_rate_hz": 16000,
            "method.segment_seconds": 1.0,
            "optim.lr": 2e-3,
            "optim.schedule": "one_cycle",
            "data.batch_size": 64,
            "trainer.max_epochs": 12,
        }
    }

    def __init__(self, config: AttentionConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        require_known(config, CHOICES)
        self.card = card_of(self.card, config)
        self.own = self.own_front_end()
        self.streams, (seen, heard), self.stride = streams_of(config)
        given = (config.pretrained, config.pretrained_vision, config.pretrained_sound)
        from_nothing = all(each is None for each in given)
        self.to_query = two_layers(heard, heard, seen, zero_mean=from_nothing)  # FC9, FC10
        self.to_sound = two_layers(seen, seen, heard, zero_mean=from_nothing)
        self.register_buffer("wrong_frames", torch.zeros(2, dtype=torch.int64))
        if config.checkpoint is not None:
            parts = {"visual": self.streams.networks[0], "to_query": self.to_query,
                     "to_sound": self.to_sound}  # fmt: skip
            self.released = load_released(self, parts, config.checkpoint, RELEASED, RELEASED_NAMES)

    def own_front_end(self) -> FrontEnd | None:
        """The authors' front-end where it is asked for; checks what goes with their file."""
        config = self.config
        if not self.rectified and (config.checkpoint is not None or config.front_end != "bench"):
            raise BenchError(
                f"method.checkpoint and method.front_end are of the network that was released, "
                f"which is {RELEASED}; use --method {RELEASED}"
            )
        own = front_end_of(config, RELEASED, config.front_end)
        usual = {"backbone": "vgg16_soundnet", "pretrained": None, "pretrained_vision": None,
                 "supervision": "unsupervised"}  # fmt: skip
        require_alone(config, config.checkpoint, usual)
        if config.checkpoint is not None and config.pretrained_sound is None:
            raise BenchError(
                f"{RELEASED} hears SoundNet, whose weights are not in the file of "
                "method.checkpoint; give a PyTorch port of SoundNet: method.pretrained_sound=FILE"
            )
        return own

    @property
    def inputs(self) -> Inputs:
        """One segment; box maps on the grid of the streams where boxes are learned from."""
        asks = self.config.supervision != "unsupervised"
        cells = self.config.image_size // self.stride
        return replace(super().inputs, box_map_size=cells if asks else 0)

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch has no negative, or boxes are missing."""
        require_other_clips(
            data.config.batch_size, "the negative is another clip of the global batch"
        )
        if self.config.supervision != "unsupervised":
            require_boxes(self.config.supervision, data)

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """The small streams of the shared stage, or of a run."""
        if self.config.pretrained is not None:
            warm(self.streams, self.config.pretrained, self.config, stages, data)

    def extractor(self) -> FrozenExtractor | None:
        """The streams that are not trained."""
        return self.streams.extractor()

    def sound_of(self, heard: Tensor) -> Tensor:
        """Query h ``(N, C)`` of sounds f_s ``(N, D)``: FC(ReLU(FC(ReLU f_s)))."""
        query: Tensor = self.to_query(heard)
        return query

    def seen_by(self, visual: Tensor, query: Tensor) -> Tensor:
        """Visual embedding f_v ``(N, D)`` of frames V ``(N, C, h, w)`` under queries ``(N, C)``.

        z is the mean of the unnormalised v_i by attention (Eq. 4); f_v = FC(ReLU(FC(ReLU z))).
        """
        alpha = self.attention(attention_map(visual, query, relu=self.rectified))
        embedding: Tensor = self.to_sound(torch.einsum("nhw,nchw->nc", alpha, visual))
        return embedding

    def attention(self, response: Tensor) -> Tensor:
        """Softmax over the cells of responses ``(..., h, w)`` (Eq. 1)."""
        flat = response.flatten(-2) / self.config.attention_temperature
        return flat.softmax(-1).reshape(response.shape)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch of L_U + lambda L_S, L_S where a clip has boxes (Eq. 6)."""
        visual, heard = self.streams.of_target(batch.clip)  # (b, C, h, w), (b, D)
        query = self.sound_of(heard)
        loss = self.unsupervised_loss(visual, heard, query)
        if self.training:
            self.count_wrong_frames(visual, heard, query)
        if self.config.supervision == "unsupervised" or batch.annotation is None:
            return loss
        boxes = batch.annotation.box_map
        assert boxes is not None, "asked for by inputs"
        response = attention_map(visual, query, relu=self.rectified)
        rows = box_map_loss(response / self.config.attention_temperature, boxes)
        rows = rows * batch.annotation.has_boxes
        return loss + self.config.supervision_weight * rows.mean()

    def unsupervised_loss(self, visual: Tensor, heard: Tensor, query: Tensor) -> Tensor:
        """L_U: Eq. 5 with one negative of the global batch, or InfoNCE with all of them."""
        if self.config.loss == "infonce":
            return self.all_pairs_loss(visual, heard, query)
        both = of_others_at_this_step(self, torch.cat([heard, query], 1))
        other_heard, other_query = both[:, : heard.shape[1]], both[:, heard.shape[1] :]
        own = self.seen_by(visual, query)
        if self.config.query == "positive":
            return distance_ratio_loss(own, heard, other_heard)
        under_other = self.seen_by(visual, other_query)
        return ratio_of_distances(distance(own, heard), distance(under_other, other_heard))

    @torch.no_grad()
    def count_wrong_frames(self, visual: Tensor, heard: Tensor, query: Tensor) -> None:
        """Counts how often the frame of another clip, seen with a sound, lies near that sound.

        Nearer than to the sound of the negative, that is. Half of them where the loss has to look
        at the frame; all where the sound that asks gives its own answer away.
        """
        others = of_others_at_this_step(self, heard)
        self.to_sound.eval()  # leaves the statistics alone
        frames = gathered(visual)
        seen = self.seen_by(frames[own_rows(len(frames)).to(visual.device) - 1], query)
        self.to_sound.train()
        nearer = self.apart(seen, heard) < self.apart(seen, others)
        counts = torch.stack([nearer.sum(), torch.ones_like(nearer).sum()])
        self.wrong_frames += sum_over_ranks(counts)

    def on_train_epoch_start(self) -> None:
        """Starts the count of an epoch."""
        self.wrong_frames.zero_()

    def figures(self) -> dict[str, float]:
        """Share of wrong frames that lay near the sound they were seen with, in the last epoch."""
        near, all_of_them = self.wrong_frames.tolist()
        return {"wrong_frames_near_own_sound": near / all_of_them} if all_of_them else {}

    def all_pairs_loss(self, visual: Tensor, heard: Tensor, query: Tensor) -> Tensor:
        """Own frames against all sounds of the global batch, each seen by the sound it meets."""
        sounds, queries = gathered(heard), gathered(query)
        own = own_rows(len(sounds)).to(visual.device)
        if self.config.query == "positive":
            seen = self.seen_by(visual, query).unsqueeze(1)  # (b, 1, D)
        else:
            row_bytes = len(queries) * visual[0, 0].numel() * max(visual.element_size(), 4)
            pooled = in_chunks(
                lambda frames: self.pooled(frames, queries), [visual], row_bytes, self.memory.maps
            )  # (b, B, C)
            seen = self.to_sound(pooled.flatten(0, 1)).reshape(*pooled.shape[:2], -1)
        seen, sounds = exact(seen), exact(sounds)  # no logits of half precision
        cosines = in_chunks(
            lambda seen: (F.normalize(seen, dim=-1) * F.normalize(sounds, dim=-1)).sum(-1),
            [seen], sounds.numel() * sounds.element_size(), self.memory.maps,
        )  # (b, B)  # fmt: skip
        return F.cross_entropy(cosines / self.config.temperature, own)

    def pooled(self, visual: Tensor, queries: Tensor) -> Tensor:
        """Means z ``(n, B, C)`` of frames ``(n, C, h, w)`` under all queries ``(B, C)``."""
        response = response_maps(queries, visual).transpose(0, 1)  # (n, B, h, w)
        alpha = self.attention(response.relu() if self.rectified else response)
        return torch.einsum("nmhw,nchw->nmc", alpha, visual)

    def localize(self, clip: Clip) -> Localization:
        """Response or attention of a clip's sound on its frame; two kinds of confidence."""
        visual, heard = self.streams.of_target(clip)
        query = self.sound_of(heard)
        cosine = paired_maps(query, visual)
        response = cosine.relu() if self.rectified else cosine
        heatmap = response if self.config.answer == "response" else self.attention(response)
        if self.config.confidence == "response":
            return Localization(heatmap, cosine.flatten(1).amax(1))
        return Localization(heatmap, -self.apart(self.seen_by(visual, query), heard))

    def apart(self, seen: Tensor, heard: Tensor) -> Tensor:
        """Distance of f_v from f_s ``(B, D)``, ``(B,)``; of their directions with InfoNCE."""
        if self.config.loss == "infonce":
            seen, heard = F.normalize(seen, dim=1), F.normalize(heard, dim=1)
        return distance(seen, heard)


def attention_map(visual: Tensor, sound: Tensor, relu: bool) -> Tensor:
    """Response a of a sound at every place of a frame, before the softmax (Eq. 2-3).

    Args:
        visual: ``(B, D, h, w)``.
        sound: ``(B, D)``.
        relu: whether negative cosines count as 0 (Eq. 3).

    Returns:
        ``(B, h, w)``, in [-1, 1], or in [0, 1] with ``relu``.

    >>> visual = torch.tensor([[[[1.0, -1.0]], [[1.0, 0.0]]]])
    >>> attention_map(visual, torch.tensor([[2.0, 0.0]]), relu=True)
    tensor([[[0.7071, 0.0000]]])
    """
    cosine = paired_maps(sound, visual)
    return cosine.relu() if relu else cosine


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance of ``(B, D)`` from ``(B, D)``, ``(B,)``, with a gradient also at 0.

    Not in half precision: beside a distance of 40 its next number is 0.25 away.
    """
    return ((exact(first) - exact(second)).square().sum(1) + SMALLEST_SQUARE).sqrt()


def distance_ratio_loss(query: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Triplet loss of the ratio of distances, mean over the batch (Eq. 5).

    Args:
        query: ``(B, D)``.
        positive: ``(B, D)``.
        negative: ``(B, D)``.

    Returns:
        Scalar in (0, 2); 0.5 where both are equally far.

    >>> near, far = torch.zeros(1, 2), torch.tensor([[30.0, 40.0]])
    >>> distance_ratio_loss(near, far, far)
    tensor(0.5000)
    """
    return ratio_of_distances(distance(query, positive), distance(query, negative))


def ratio_of_distances(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of D_+^2 + (1 - D_-)^2, D the softmax of both distances ``(B,)`` (Eq. 5).

    Since D_+ + D_- = 1 it is 2 sigmoid(d_+ - d_-)^2.
    """
    return 2 * torch.sigmoid(positive - negative).square().mean()


def box_map_loss(response: Tensor, box_map: Tensor) -> Tensor:
    """Cross-entropy of attention against a map of boxes, summed over the cells (Eq. 7).

    Args:
        response: ``(B, h, w)`` before the softmax.
        box_map: ``(B, h, w)`` of 0 and 1; not normalised, so a large box weighs more.

    Returns:
        ``(B,)``; 0 for a map without boxes.
    """
    log_alpha = response.flatten(1).log_softmax(1)
    return -(box_map.flatten(1) * log_alpha).sum(1)


def card_of(card: MethodCard, config: AttentionConfig) -> MethodCard:
    """The card of the method under settings that change how its number is read."""
    boxes = {"unsupervised": "none", "semi": "boxes of some clips", "supervised": "boxes of all"}
    given = weights_given(config) if config.checkpoint is None else [PRETRAINING]
    return replace(
        card,
        supervision=boxes[config.supervision],
        pretraining=", ".join(given) or "none",
        map_range=card.map_range if config.answer == "response" else (0.0, 1.0),
    )


def streams_of(config: AttentionConfig) -> tuple[Streams, tuple[int, int], int]:
    """Both streams, the widths C and D of what they give, and pixels per cell.

    Raises:
        BenchError: a setting belongs to the other backbone, weights cannot be read, or the sound is
            too short.
    """
    require_own_weights(config)

    def frozen(given: str | None) -> bool:
        return given is not None if config.train_streams is None else not config.train_streams

    if config.backbone == "small":
        streams = small_streams(
            config.sample_rate_hz, config.segment_seconds, frozen=frozen(config.pretrained)
        )
        return streams, (SMALL_CHANNELS, SMALL_CHANNELS), SMALL_STRIDE
    vision, sound = config.pretrained_vision, config.pretrained_sound
    waveform = SoundNetWaveform(config.sample_rate_hz, config.segment_seconds)
    samples = max(waveform.shortest, round(config.segment_seconds * config.sample_rate_hz))
    soundnet = SoundNet(samples, pretrained=sound, setting="method.pretrained_sound")
    streams = Streams(
        vgg16_map(pretrained=vision, setting="method.pretrained_vision")
        if config.checkpoint is None
        else vgg16_map_of_release(),
        nn.Sequential(waveform, soundnet),
        name=config.backbone,
        frozen_visual=frozen(vision),
        frozen_audio=frozen(sound),
    )
    return streams, (VGG_CHANNELS, OBJECTS), VGG_STRIDE


def two_layers(inputs: int, hidden: int, outputs: int, *, zero_mean: bool) -> nn.Sequential:
    """ReLU, FC, ReLU, FC; then zero-mean channels where the streams start from nothing."""
    layers = [nn.ReLU(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    return nn.Sequential(*layers, *([ZeroMean(outputs)] if zero_mean else []))


def require_boxes(supervision: str, data: ClipData) -> None:
    """Raises BenchError unless the training clips have the boxes that supervision needs."""
    train = data.report.splits["train"]
    bare = [each for row, each in enumerate(train.ids) if not data.boxes("train", row)]
    if len(bare) == len(train):
        raise BenchError(
            f"method.supervision={supervision}: none of the {len(train)} training clips has boxes; "
            f"check data.labelled={data.config.labelled}, or set method.supervision=unsupervised"
        )
    if supervision == "supervised" and bare:
        raise BenchError(
            f"method.supervision=supervised: {len(bare)} of {len(train)} training clips have no "
            f"boxes, such as {bare[0]}; name annotated clips with data.labelled and leave "
            "data.unlabelled out, or set method.supervision=semi"
        )
