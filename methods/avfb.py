"""`avfb`: audio-visual fusion and attention over segments (Ramaswamy and Das 2020).

A clip is T segments, each a map of visual features F^v and a vector of sound features F^a. A block
fuses them (AVFB), LSTMs follow both over time, a second block weights the segments (SWAB), and the
same network learns from the class of every segment, from that of the clip, or from pairs alone
(AVTGML). Where the sound is in the frame is what AVFB attends to.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datamodules.base import ClipData
from datamodules.clip import Annotation, Batch, Clip, Inputs, Localization
from datamodules.features import FrozenExtractor
from methods.base import (
    Method,
    MethodCard,
    MethodConfig,
    OptimConfig,
    Stages,
    measuring,
    require_known,
)
from methods.frontends import LogMel, VggishLogMel
from methods.global_norm import sum_over_ranks, world_size
from methods.lstm import LSTM
from methods.negatives import of_others_at_this_step, require_other_clips
from methods.precision import exact
from methods.streams import Streams
from methods.two_stream import SMALL_CHANNELS, require_small_sound, small_audio, small_visual
from methods.vgg import vgg19_pool5
from methods.vggish import EMBEDDING, VGGish
from methods.warmup import warm
from metrics.errors import BenchError

VGG_CHANNELS = 512
SMALLEST_NORM = 1e-8  # not given in the paper; of a Gram matrix, which zero features make zero
UNDER_THE_ROOT = 1e-12  # not given in the paper; the slope of a root has no bound at 0
LABELS = {"supervised": "segment", "weak": "clip", "unsupervised": "none"}
KNOWN = {
    "supervision": tuple(LABELS),
    "query": ("positive", "pair"),
    "modalities": ("both", "audio", "visual"),
    "fusion": ("avfb", "mfb", "lstm", "multiplication", "addition", "concatenation", "none"),
    "attention": ("both", "mean", "max", "none"),
    "map_output": ("attention", "logits"),
    "backbone": ("vgg19_vggish", "small", "features"),
}
ATTENDS = ("avfb", "mfb")  # fusions with an attention over places
Affine = Callable[[Tensor], Tensor]


@dataclass
class AvfbConfig(MethodConfig):
    """Settings of `avfb`; the defaults are the full model."""

    segment_seconds: float = 1.0
    supervision: str = "unsupervised"  # supervised (by segment) | weak (by clip) | unsupervised
    query: str = "positive"  # positive (as printed) | pair: s^v of a negative has its own sound
    modalities: str = "both"  # both | audio | visual (Table 1)
    fusion: str = "avfb"  # avfb | mfb | lstm | multiplication | ... (Table 2) | none (Table 1)
    attention: str = "both"  # pooling in SWAB: both | mean | max; none: no SWAB (Table 3)
    aggregation: bool = True  # false: the head gets s^a and s^v alone (Table 3)
    margin: float = 0.7
    mfb_p: int = 128  # not given in the paper
    mfb_q: int = 5  # not given in the paper; that of Yu et al. 2017
    temporal_hidden: int = 128  # not given in the paper; of LSTMs over time and of SWAB
    head_hidden: int = 128  # not given in the paper; of the layer before the classes
    num_segments: int = 10
    num_classes: int = 28  # without background; those of AVE
    map_output: str = "attention"  # attention: lambda | logits: before its softmax
    backbone: str = "vgg19_vggish"  # vgg19_vggish | small | features (those of the data)
    pretrained: str | None = None  # of backbone=small: warmup, a run of it, or null: trained
    pretrained_vision: str | None = None  # VGG-19: a file or null, then it is trained
    pretrained_sound: str | None = None  # VGGish: a file or null, then it is trained


class Avfb(Method):
    """Events by their segments, and by what they attend to, the places of their sounds."""

    Config = AvfbConfig
    config: AvfbConfig
    similarity_sums: Tensor  # (3,) float64 sums over this epoch's measured clips
    measured: Tensor  # () float64, how many those are
    card = MethodCard(
        paper="Ramaswamy and Das 2020",
        pretraining="streams",
        map_range=(0.0, 1.0),
    )
    recipe: ClassVar = {
        "*": {
            "optim.lr": 1e-3,  # not given in the paper; AVE's, as batch and epochs
            "data.batch_size": 64,
            "trainer.max_epochs": 300,
        },
        "ave": {"method.supervision": "supervised"},
        "synthetic": {
            "method.num_classes": 16,
            "data.segments": 10,
            "data.motion": "onoff",
            "data.train_clips": 2000,  # 486 kB each
            "data.val_clips": 200,
        },
    }
    presets: ClassVar = {
        "small": {
            "method.backbone": "small",
            "method.pretrained": "warmup",
            "method.image_size": 64,
            "method.mfb_p": 32,
            "optim.lr": 2e-3,
            "optim.schedule": "one_cycle",
            "data.batch_size": 64,
            "trainer.max_epochs": 10,
        }
    }

    def __init__(self, config: AvfbConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        _check(config)
        self.localises = config.modalities != "audio" and config.fusion in ATTENDS
        self.learns_classes = config.supervision != "unsupervised"
        self.card = _card(type(self).card, config, localises=self.localises)
        self.streams, d_v, d_a = _streams(config)
        hidden = config.temporal_hidden
        if config.modalities != "audio":
            self.fusion = Fusion(config, d_v, d_a)
            self.visual_branch = Branch(d_v, hidden, config.attention)
        if config.modalities != "visual":
            self.audio_branch = Branch(d_a, hidden, config.attention)
        if self.learns_classes:
            self.head = Head(config)
        self.register_buffer("similarity_sums", torch.zeros(3, dtype=torch.float64))
        self.register_buffer("measured", torch.zeros((), dtype=torch.float64))

    @property
    def inputs(self) -> Inputs:
        """T segments; features may come in place of what no trained stream needs."""
        streams = self.streams
        takes_features = streams is None or (
            self.config.backbone == "vgg19_vggish"
            and streams.frozen_visual
            and streams.frozen_audio
        )
        return Inputs(
            image_size=self.config.image_size,
            num_segments=self.config.num_segments,
            sample_rate_hz=self.config.sample_rate_hz,
            segment_seconds=self.config.segment_seconds,
            labels=LABELS[self.config.supervision],
            takes_features=takes_features,
        )

    def check(self, data: ClipData) -> None:
        """Raises BenchError where the data have not what the supervision or the streams need."""
        config, classes = self.config, len(data.report.classes)
        if self.learns_classes and not classes:
            raise BenchError(
                f"method.supervision={config.supervision} learns classes of events, and these data "
                "have none; set method.supervision=unsupervised, or choose --data ave"
            )
        if self.learns_classes and classes != config.num_classes:
            raise BenchError(
                f"method.num_classes={config.num_classes}, but these data have {classes} classes "
                f"of events; set method.num_classes={classes}"
            )
        if not self.learns_classes:
            require_other_clips(data.config.batch_size, "a triplet needs the sound of another clip")
        if self.streams is None and data.features("train", 0) is None:
            raise BenchError(
                "method.backbone=features reads features that come with the data, and these come "
                "as frames and sounds; give data.feature_files=DIR (--data ave), or set "
                "method.backbone=vgg19_vggish or small"
            )

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """Small streams of the shared stage `warmup`, where they are asked for."""
        pretrained = self.config.pretrained
        if pretrained is not None and self.streams is not None:
            warm(self.streams, pretrained, self.config, stages, data)

    def extractor(self) -> FrozenExtractor | None:
        """The streams that are not trained."""
        return None if self.streams is None else self.streams.extractor()

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of segments, of the clip's mean segment (3.6), or AVTGML (Eq. 16)."""
        visual, sound = self.features(batch.clip)
        if not self.learns_classes:
            return self.triplet_loss(visual, sound)
        assert batch.annotation is not None, "inputs.labels asked for it"
        logits = self.head(self.encoded(visual, sound))
        return class_loss(logits, batch.annotation, self.config.supervision)

    def localize(self, clip: Clip) -> Localization:
        """Attention over the places of the target segment, and classes of all where learnt.

        Confidence is 1 - P(background) of the target segment with labels, else the highest lambda
        times the number of cells. Without an attention over places the map is ``(B, 0, 0)``.
        """
        visual, sound = self.features(clip)
        heatmap = sound.new_empty(len(sound), 0, 0)
        confidence = sound.new_zeros(len(sound))
        if self.localises:
            seen, heard = clip.of_target(visual), clip.of_target(sound)
            scores = self.fusion.place_scores(seen, heard)  # (B, M)
            attention = scores.softmax(-1)
            shown = attention if self.config.map_output == "attention" else scores
            heatmap = shown.view(seen.shape[0], *seen.shape[-2:])
            confidence = attention.amax(1) * attention.shape[1]
        if not self.learns_classes:
            return Localization(heatmap, confidence)
        logits = self.head(self.encoded(visual, sound))
        background = clip.of_target(logits).softmax(-1)[:, -1]
        return Localization(heatmap, 1 - background, segment_logits=logits)

    def features(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """F^v ``(B, T, C, h, w)`` and F^a ``(B, T, D)``."""
        if self.streams is not None:
            visual, sound = self.streams(clip)
            return visual, sound
        assert clip.features is not None, "check() saw them"
        assert clip.features.visual is not None
        assert clip.features.audio is not None
        return clip.features.visual, clip.features.audio

    def encoded(self, visual: Tensor, sound: Tensor) -> "Encoded":
        """Both steps in time of the modalities that the settings have (Eq. 7-11)."""
        seen = heard = None
        if self.config.modalities != "audio":
            seen = self.visual_branch(self.fusion(visual, sound))
        if self.config.modalities != "visual":
            heard = self.audio_branch(sound)
        return Encoded(seen, heard)

    def triplet_loss(self, visual: Tensor, sound: Tensor) -> Tensor:
        """AVTGML with the sounds of other clips of the global batch (3.7)."""
        other_sound = of_others_at_this_step(self, sound)
        seen = self.visual_branch(self.fusion(visual, sound)).attended
        seen_with_other = None
        if self.config.query == "pair":
            seen_with_other = self.visual_branch(self.fusion(visual, other_sound)).attended
        return avtgml(
            seen,
            self.audio_branch(sound).attended,
            self.audio_branch(other_sound).attended,
            self.config.margin,
            visual_with_negative=seen_with_other,
        )

    def on_train_epoch_start(self) -> None:
        """Forgets the similarities of the former epoch."""
        self.similarity_sums.zero_()
        self.measured.zero_()

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Measures similarities on every eighth batch; see ``figures``."""
        if not self.learns_classes and batch_idx % 8 == 0:
            with measuring(self):
                features = self.features(batch.clip)
            with torch.no_grad():  # in training, for its negatives are those of the step
                own = self.similarities(*features)
            self.similarity_sums += sum_over_ranks(own.sum(1))
            self.measured += sum_over_ranks(own.new_tensor(own.shape[1]))

    def similarities(self, visual: Tensor, sound: Tensor) -> Tensor:
        """Similarity of Eq. 15 of own pairs, with other sounds, with other frames: ``(3, B)``.

        The third has the frames of another clip and the own sound both in the query and beside it:
        where it is as high as the first, the loss is solved without looking.
        """
        other_sound = of_others_at_this_step(self, sound)
        other_visual = of_others_at_this_step(self, visual)
        seen = self.visual_branch(self.fusion(visual, sound)).attended
        crossed = self.visual_branch(self.fusion(other_visual, sound)).attended
        with_other = seen
        if self.config.query == "pair":
            with_other = self.visual_branch(self.fusion(visual, other_sound)).attended
        heard = self.audio_branch(sound).attended
        other_heard = self.audio_branch(other_sound).attended
        pairs = [(seen, heard), (with_other, other_heard), (crossed, heard)]
        return torch.stack([gram_similarity(*pair) for pair in pairs]).double()

    def figures(self) -> dict[str, float]:
        """Mean similarities in the last epoch, unsupervised."""
        if not self.measured:
            return {}
        names = ("similarity", "similarity_wrong_sounds", "similarity_wrong_frames")
        values = (self.similarity_sums / self.measured).tolist()
        return dict(zip(names, values, strict=True))


def _check(config: AvfbConfig) -> None:
    """Nothing, or a ``BenchError`` for settings that are unknown or do not go together."""
    require_known(config, KNOWN)
    if config.supervision == "unsupervised":
        if config.num_segments < 2:
            raise BenchError(
                f"method.num_segments={config.num_segments}: without labels the loss compares how "
                "segments of a clip go together, and of one segment there is nothing to compare; "
                "set method.num_segments to 2 or more, such as 10"
            )
        if config.modalities != "both" or config.fusion not in ATTENDS:
            raise BenchError(
                f"method.modalities={config.modalities} with method.fusion={config.fusion} gives "
                "no map, and without labels no classes either; set method.modalities=both and "
                "method.fusion=avfb or mfb, or method.supervision=supervised"
            )
    if config.modalities == "audio" and config.fusion != "avfb":
        raise BenchError(
            f"method.fusion={config.fusion} has no meaning with method.modalities=audio, which "
            "fuses nothing; leave method.fusion out"
        )
    if config.pretrained is not None and config.backbone != "small":
        raise BenchError(
            f"method.pretrained={config.pretrained} is for method.backbone=small; with "
            "method.backbone=vgg19_vggish set method.pretrained_vision and method.pretrained_sound"
        )


def _card(card: MethodCard, config: AvfbConfig, *, localises: bool) -> MethodCard:
    """What a run with these settings was taught, started from and answers."""
    taught = {"supervised": "classes of segments", "weak": "classes of clips"}
    from_features = config.backbone == "features"
    given = {
        "vision: ImageNet": config.pretrained_vision is not None or from_features,
        "sound: VGGish": config.pretrained_sound is not None or from_features,
        "streams: warmup on the training clips": config.pretrained == "warmup",
        "streams: another run of warmup": config.pretrained not in (None, "warmup"),
    }
    return replace(
        card,
        supervision=taught.get(config.supervision, "none"),
        pretraining=", ".join(name for name, is_given in given.items() if is_given) or "none",
        map_range=(0.0, 1.0) if config.map_output == "attention" else None,
        localises=localises,
    )


def _streams(config: AvfbConfig) -> tuple[Streams | None, int, int]:
    """The streams, and the sizes d_v and d_a of their features."""
    given = (config.pretrained_vision, config.pretrained_sound)
    if config.backbone != "vgg19_vggish" and given != (None, None):
        raise BenchError(
            "method.pretrained_vision and method.pretrained_sound are for "
            f"method.backbone=vgg19_vggish, not {config.backbone}; leave them out"
        )
    if config.backbone == "small":
        streams = small_streams_with_level(config)
        return streams, SMALL_CHANNELS, SMALL_CHANNELS + 1
    if config.backbone == "features":
        return None, VGG_CHANNELS, EMBEDDING
    vision, sound = given
    patch = VggishLogMel(config.sample_rate_hz, config.segment_seconds)
    vggish = VGGish(pretrained=sound, setting="method.pretrained_sound")
    streams = Streams(
        vgg19_pool5(pretrained=vision, setting="method.pretrained_vision"),
        nn.Sequential(patch, vggish),
        name=config.backbone,
        frozen_visual=vision is not None,
        frozen_audio=sound is not None,
    )
    return streams, VGG_CHANNELS, EMBEDDING


class SoundWithLevel(nn.Sequential):
    """A network's vector of a sound, and the level of the sound beside it.

    The small log-mel is standardised segment by segment, so what it tells of a segment is not how
    loud it is; VGGish hears that, and over time it is what tells which object a sound goes with.
    """

    def forward(self, waveform: Tensor) -> Tensor:
        """``(N, D + 1)`` of ``(N, S)``; the last is 0 at -20 dB of full scale, 1 at -10 dB."""
        level = 10 * (waveform.square().mean(-1, keepdim=True) + 1e-8).log10()  # at least -80 dB
        vector: Tensor = super().forward(waveform)  # type: ignore[no-untyped-call]
        return torch.cat([vector, level / 10 + 2], -1)


def small_streams_with_level(config: AvfbConfig) -> Streams:
    """The streams of `warmup`, whose weights fit, with the level of each sound."""
    require_small_sound(config.sample_rate_hz, config.segment_seconds)
    frozen = config.pretrained is not None
    return Streams(
        small_visual(),
        SoundWithLevel(LogMel(config.sample_rate_hz), small_audio()),
        name="small with level",
        frozen_visual=frozen,
        frozen_audio=frozen,
    )


class Attended(NamedTuple):
    """One modality over time: after its LSTM, and weighted by segment; equal without SWAB."""

    hidden: Tensor  # (B, T, H) h of Eq. 8
    attended: Tensor  # (B, T, H) s of Eq. 11


class Encoded(NamedTuple):
    """What the head gets; None for a modality that is left out."""

    visual: Attended | None
    audio: Attended | None


class Fusion(nn.Module):
    """F^v and F^a to one vector a segment: IF of Eq. 7, or what Tables 1 and 2 put in its place.

    Its size is d_v for all of them. ``multiplication``, ``addition`` and ``concatenation`` join the
    vectors l^v and l^a that the LSTM would get, ``none`` takes l^v alone (not given in the paper).
    """

    def __init__(self, config: AvfbConfig, d_v: int, d_a: int) -> None:
        super().__init__()
        self.kind = config.fusion
        if self.kind in ATTENDS:
            self.mfb = MfbBranch(d_v, d_a, config.mfb_p, config.mfb_q)
        if self.kind not in ("mfb", "none"):
            self.embedded = nn.Sequential(nn.Linear(d_a, d_v), nn.ReLU())  # l^a
        if self.kind in ("avfb", "lstm"):
            self.lstm = LSTM(2 * d_v, d_v)
        if self.kind == "concatenation":
            self.joined = nn.Linear(2 * d_v, d_v)

    def forward(self, visual: Tensor, sound: Tensor) -> Tensor:
        """``(B, T, d_v)`` of ``(B, T, d_v, h, w)`` and ``(B, T, d_a)``."""
        pooled = visual.mean((-2, -1))  # l^v
        if self.kind == "none":
            return pooled
        fused: Tensor
        if self.kind == "mfb":
            fused = self.mfb(visual, sound)
            return fused
        embedded: Tensor = self.embedded(sound)
        if self.kind == "multiplication":
            return pooled * embedded
        if self.kind == "addition":
            return pooled + embedded
        if self.kind == "concatenation":
            fused = self.joined(torch.cat([pooled, embedded], -1))
            return fused
        fused = self.lstm(torch.cat([pooled + embedded, embedded], -1))  # LF of Eq. 1
        return fused if self.kind == "lstm" else fused + self.mfb(visual, sound)

    def place_scores(self, visual: Tensor, sound: Tensor) -> Tensor:
        """W_z z + b_z of Eq. 5 of single segments, ``(N, M)``."""
        return self.mfb.scores(visual.flatten(2).mT, sound)


class MfbBranch(nn.Module):
    """Attention over places by factorised bilinear pooling (Eq. 3-6)."""

    def __init__(self, d_v: int, d_a: int, p: int, q: int) -> None:
        super().__init__()
        self.q = q
        self.u = nn.Linear(d_v, p * q, bias=False)
        self.v = nn.Linear(d_a, p * q, bias=False)
        self.score = nn.Linear(p, 1)

    def scores(self, places: Tensor, sound: Tensor) -> Tensor:
        """``(N, M)`` of places ``(N, M, d_v)`` and sounds ``(N, d_a)``."""
        pooled = mfb(places, sound, self.u.weight.T, self.v.weight.T, self.q)
        with torch.autocast(pooled.device.type, enabled=False):
            score: Tensor = self.score(pooled)
        return score.squeeze(-1)

    def forward(self, visual: Tensor, sound: Tensor) -> Tensor:
        """MF ``(B, T, d_v)`` of ``(B, T, d_v, h, w)`` and ``(B, T, d_a)``."""
        places = visual.flatten(0, 1).flatten(2).mT  # (B T, M, d_v)
        weight = self.scores(places, sound.flatten(0, 1)).softmax(-1)  # lambda
        return (weight.unsqueeze(1) @ places).view(*sound.shape[:2], -1)


class Branch(nn.Module):
    """One modality over time: an LSTM (Eq. 8), then SWAB."""

    def __init__(self, inputs: int, hidden: int, attention: str) -> None:
        super().__init__()
        self.lstm = LSTM(inputs, hidden)
        self.swab = None if attention == "none" else Swab(hidden, attention)

    def forward(self, values: Tensor) -> Attended:
        """Pairs of ``(B, T, hidden)`` of ``(B, T, inputs)``."""
        hidden = self.lstm(values)
        return Attended(hidden, hidden if self.swab is None else self.swab(hidden))


class Swab(nn.Module):
    """Segment-wise attention block (3.4); both poolings share W_g, as printed."""

    def __init__(self, size: int, attention: str) -> None:
        super().__init__()
        self.attention = attention
        self.of_clip = nn.Linear(size, size)  # W_g, b_g
        self.of_segment = nn.Linear(size, size)  # W and b of g-bar
        self.score = nn.Linear(size, 1)  # W_alpha, b_alpha

    def forward(self, hidden: Tensor) -> Tensor:
        """Segments of h weighted, ``(B, T, size)``."""
        return swab(hidden, self.of_clip, self.of_segment, self.score, self.attention)


class Head(nn.Module):
    """Aggregation (3.5) and the layers to the classes, background last.

    Two modalities: sim, h^v, h^a, s^v, s^a; one: its h and s; without SWAB s is h and stands once.
    Without aggregation s alone (not given in the paper: what Table 3 leaves in its place).
    """

    def __init__(self, config: AvfbConfig) -> None:
        super().__init__()
        self.aggregates, self.has_swab = config.aggregation, config.attention != "none"
        modalities = 2 if config.modalities == "both" else 1
        parts = modalities
        if config.aggregation:
            parts = modalities * (1 + self.has_swab) + (modalities == 2)
        self.layers = nn.Sequential(
            nn.Linear(parts * config.temporal_hidden, config.head_hidden),
            nn.ReLU(),
            nn.Linear(config.head_hidden, config.num_classes + 1),
        )

    def forward(self, encoded: Encoded) -> Tensor:
        """Logits ``(B, T, N_c + 1)``."""
        present = [one for one in encoded if one is not None]
        parts = [one.attended for one in present]
        if self.aggregates:
            if self.has_swab:
                parts += [one.hidden for one in present]
            if encoded.visual is not None and encoded.audio is not None:
                seen, heard = encoded.visual, encoded.audio
                parts.append(similarity(heard.hidden, seen.hidden, heard.attended, seen.attended))
        joined = exact(torch.cat(parts, -1))
        with torch.autocast(joined.device.type, enabled=False):
            return cast("Tensor", self.layers(joined))


def mfb(visual: Tensor, sound: Tensor, u: Tensor, v: Tensor, q: int) -> Tensor:
    """Factorised bilinear pooling of each place with the sound (Eq. 3-4).

    sum-pool_q(U^T x * V^T y), its signed root, its l2 norm taken to 1. A root is that of
    |z| + 1e-12, so that gradients stay finite; where the product is zero everywhere, so is z. What
    follows U^T x and V^T y is not in half precision, in which the root's slope is a few steps high.

    Args:
        visual: ``(N, M, d_v)`` features of M places.
        sound: ``(N, d_a)``.
        u: ``(d_v, p q)``; the q columns that are summed stand side by side.
        v: ``(d_a, p q)``.
        q: how many products are summed.

    Returns:
        ``(N, M, p)``.

    >>> mfb(torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1, 4), torch.ones(1, 4), 2).shape
    torch.Size([1, 1, 2])
    """
    seen, heard = visual @ u, (sound @ v).unsqueeze(-2)
    product = exact(seen) * exact(heard)  # (N, M, p q)
    pooled = product.reshape(*product.shape[:-1], -1, q).sum(-1)
    rooted = pooled.sign() * (pooled.abs() + UNDER_THE_ROOT).sqrt()
    return F.normalize(rooted, dim=-1)


def swab(
    hidden: Tensor, of_clip: Affine, of_segment: Affine, score: Affine, attention: str = "both"
) -> Tensor:
    """Segments weighted by what they are beside the whole clip (Eq. 9-11).

    Not in half precision, in which segments that differ little would weigh the same.

    Args:
        hidden: ``(B, T, H)`` h.
        of_clip: W_g . + b_g of both poolings.
        of_segment: the same of single segments.
        score: W_alpha . + b_alpha, to one number.
        attention: ``both``, ``mean`` or ``max``: what the clip is pooled by (Table 3).

    Returns:
        ``(B, T, H)`` s = alpha h, where alpha is a softmax over the T segments.

    >>> swab(torch.ones(1, 4, 1), nn.Identity(), nn.Identity(), nn.Identity()).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    hidden = exact(hidden)
    with torch.autocast(hidden.device.type, enabled=False):
        whole = hidden.new_zeros(())
        if attention in ("both", "mean"):
            whole = whole + of_clip(hidden.mean(1, keepdim=True)).relu()  # (B, 1, H)
        if attention in ("both", "max"):
            whole = whole + of_clip(hidden.amax(1, keepdim=True)).relu()
        weight = score(of_segment(hidden).relu() * whole).softmax(1)  # (B, T, 1)
        attended: Tensor = weight * hidden
    return attended


def similarity(
    audio: Tensor, visual: Tensor, attended_audio: Tensor, attended_visual: Tensor
) -> Tensor:
    """Similarity of Eq. 12, first line: (h^a - h^v) * (s^a - s^v), element by element.

    Args:
        audio: ``(B, T, H)`` h^a.
        visual: ``(B, T, H)`` h^v.
        attended_audio: ``(B, T, H)`` s^a.
        attended_visual: ``(B, T, H)`` s^v.

    Returns:
        ``(B, T, H)``.
    """
    return (audio - visual) * (attended_audio - attended_visual)


def gram(segments: Tensor) -> Tensor:
    """Inner products of all pairs of segments, their Frobenius norm taken to 1 (Eq. 13-14).

    Not in half precision, which would round the differences that the loss is of.

    Args:
        segments: ``(B, T, D)``.

    Returns:
        ``(B, T, T)``; the norm is at least 1e-8, so zero features give zeros.

    >>> gram(torch.tensor([[[2.0], [2.0]]])).tolist()
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    segments = exact(segments)
    with torch.autocast(segments.device.type, enabled=False):
        products = segments @ segments.mT
        norm = torch.linalg.matrix_norm(products, keepdim=True)
        normalised: Tensor = products / norm.clamp(min=SMALLEST_NORM)
    return normalised


def gram_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Frobenius inner product of two normalised Gram matrices (Eq. 15).

    Args:
        first: ``(B, T, D)``.
        second: ``(B, T, D)``.

    Returns:
        ``(B,)`` in [0, 1], 1 where the segments of both go together alike. The paper calls it a
        distance, and uses it as the similarity that it is.
    """
    return (gram(first) * gram(second)).sum((-2, -1))


def avtgml(
    visual: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 0.7,
    *,
    visual_with_negative: Tensor | None = None,
) -> Tensor:
    """Audio Visual Triplet Gram Matrix Loss, mean of max(d_neg - d_pos + margin, 0) (Eq. 16).

    Args:
        visual: ``(B, T, D)`` s^v; in the paper it is made with the positive sound.
        positive: ``(B, T, D)`` s^a of the clip's own sound.
        negative: ``(B, T, D)`` s^a of another sound.
        margin: gamma.
        visual_with_negative: ``(B, T, D)`` s^v made with the other sound, for d_neg; None as
            printed, where ``visual`` serves both. Not of the paper.

    Returns:
        Scalar in [0, 1 + margin].

    Raises:
        ValueError: shapes differ, or T is 1, where every Gram matrix is 1 and nothing is learnt.
    """
    beside = visual if visual_with_negative is None else visual_with_negative
    shapes = [tuple(each.shape) for each in (visual, positive, negative, beside)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 3:
        raise ValueError(f"expected four equal shapes (B, T, D), got {shapes}")
    if shapes[0][1] < 2:
        raise ValueError(f"expected at least 2 segments, got {shapes[0]}")
    d_pos = gram_similarity(visual, positive)
    d_neg = gram_similarity(beside, negative)
    return (d_neg - d_pos + margin).relu().mean()


def class_loss(logits: Tensor, annotation: Annotation, supervision: str) -> Tensor:
    """Negative log-likelihood of the labelled clips (3.6).

    ``supervised``: mean over segments of the cross-entropy of each. ``weak``: of the clip's event
    under the mean over segments of their probabilities.

    Args:
        logits: ``(b, T, N_c + 1)``, background last.
        annotation: labels ``(b, T)``, and which clips have some.
        supervision: one of the two.

    Returns:
        Scalar; its mean over devices is the mean over the labelled clips of the global batch, 0
        where there is none.
    """
    assert annotation.labels is not None, "inputs.labels asked for them"
    has_labels = annotation.has_labels
    labels = annotation.labels.where(has_labels.unsqueeze(1), 0)
    log_p = exact(logits).log_softmax(-1)
    if supervision == "supervised":
        own = log_p.gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(1)  # (b,)
    else:
        own = mean_log_probability(log_p).gather(-1, labels[:, :1]).squeeze(-1)
    count = sum_over_ranks(has_labels.sum().float()).clamp(min=1)
    loss: Tensor = -(own * has_labels).sum() * world_size() / count
    return loss


def mean_log_probability(log_p: Tensor) -> Tensor:
    """Logarithm of the mean probability over segments, ``(B, T, C) -> (B, C)``."""
    return log_p.logsumexp(1) - math.log(log_p.shape[1])
