"""`proposal`: boxes in place of maps, by multiple-instance learning (Xuan et al. 2022).

Three streams meet in one space: the sound, the frame that it attends to, and boxes of whatever may
be an object. What the sound attends to selects the boxes worth looking at; among these the sound
finds its source. No box is ever seen with a label.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from datamodules.base import ClipData
from datamodules.clip import Batch, Clip, Inputs, Localization
from datamodules.features import FrozenExtractor
from methods.attention import distance, distance_ratio_loss, ratio_of_distances
from methods.base import (
    Method,
    MethodCard,
    MethodConfig,
    OptimConfig,
    Stages,
    require_known,
)
from methods.chunks import in_chunks
from methods.frontends import VggishLogMel
from methods.global_norm import ZeroMean, gathered, own_rows, sum_over_ranks
from methods.lstm import LSTM
from methods.negatives import derangement, of_others_at_this_step, require_other_clips
from methods.precision import exact
from methods.streams import Streams, require_own_weights, small_streams, weights_given
from methods.two_stream import SMALL_CHANNELS, SMALL_STRIDE
from methods.vgg import vgg16_map
from methods.vggish import EMBEDDING, VGGish
from methods.warmup import warm
from metrics.errors import BenchError

VGG_CHANNELS, VGG_STRIDE = 512, 8
LEVELS = (1, 2, 4)  # cells per side of the pyramid; not given in the paper, those of He et al. 2014
FINEST_SAMPLES = 2  # per side of a cell of the finest level; not given in the paper
SMALLEST_SUM = 1e-8  # not given in the paper, which divides by the sum of d whatever it is
CELLS_AT_ONCE = 1 << 15  # sequences of the visual LSTM, which has one for each cell
FRAMES_AT_ONCE = 16  # of the sums over boxes
ONSCREEN_PAIRS = 7302  # the stream of draws of clips that m_on is fitted on
KNOWN = {
    "backbone": ("vgg16_vggish", "small"),
    "selection": ("grm", "none"),
    "grm": ("paper", "minmax"),
    "proposal_score": ("sum", "mean"),
    "attention_norm": ("channel", "space"),
    "query": ("positive", "pair"),
    "loss": ("ratio", "infonce"),
    "onscreen": ("either", "distance", "activation"),
}


@dataclass
class ProposalConfig(MethodConfig):
    """Settings of `proposal`."""

    segment_seconds: float = 1.0  # not given in the paper; what VGGish hears
    num_segments: int = 1  # T of a clip; 10 on AVE
    backbone: str = "vgg16_vggish"  # vgg16_vggish | small
    pretrained: str | None = None  # small streams: warmup, a finished run of warmup, or null
    pretrained_vision: str | None = None  # VGG-16: a file, a hub name, or null
    pretrained_sound: str | None = None  # VGGish: a file, or null
    train_streams: bool = True  # false: streams of given weights stay as they are
    embedding: int = 512  # d; not given in the paper
    max_proposals: int = 600  # of a frame; not given in the paper
    selection: str = "grm"  # grm | none: all proposals and no frame stream (Table 3)
    kept_proposals: int = 20  # K of the selection
    grm: str = "paper"  # paper: (m - min) / max | minmax: (m - min) / (max - min)
    proposal_score: str = "sum"  # sum of the GRM in a box (as printed) | mean
    attention_norm: str = "channel"  # softmax over channels (as printed) | space: over the cells
    attention_temperature: float = 1.0  # of that softmax; the paper has none
    euclidean_weight: float = 0.5  # lambda
    query: str = "positive"  # positive (as printed) | pair; not given in the paper
    loss: str = "ratio"  # ratio (as printed) | infonce; not given in the paper
    temperature: float = 0.07  # of infonce; not given in the paper
    sources: int = 1  # 1 | 2 boxes are the answer
    onscreen: str = "either"  # either of distance (m_on) | activation (d_on)
    onscreen_activation: float = 0.2  # a sound is on screen where d_on is above
    onscreen_clips: int = 1000  # of the training list, for m_on; not given in the paper


class Embedded(NamedTuple):
    """The three streams of N frames and sounds in one space, and the proposals that were kept."""

    sound: Tensor  # (N, D) f_s
    frame: Tensor  # (N, D) f_att; zeros without selection
    box: Tensor  # (N, K, D) f_box; zeros where there is no proposal
    exists: Tensor  # (N, K) bool, the mask e
    proposals: Tensor  # (N, K, 4) xyxy in [0, 1], NaN where there is none
    location_map: Tensor | None  # (N, h, w) m on the grid; None without selection


class Proposal(Method):
    """Boxes ranked by their likeness to the sound."""

    Config = ProposalConfig
    config: ProposalConfig
    median_distances: Tensor  # (2,) of own and of other sounds, -1 until they are fitted
    wrong_frames: Tensor  # (2,) int64, near and all of the running epoch
    card = MethodCard(
        paper="Xuan et al. 2022",
        pretraining="streams",
        map_range=(0.0, 1.0),
        tells_on_screen=True,
    )
    recipe: ClassVar = {
        "*": {
            "optim.lr": 1e-3,  # "default parameters" of Adam
            "data.batch_size": 128,
            "trainer.max_epochs": 20,  # not given in the paper
        },
        "ave": {"method.num_segments": 10},
    }
    presets: ClassVar = {
        "small": {
            "method.backbone": "small",
            "method.image_size": 64,
            "method.embedding": 128,
            "method.max_proposals": 64,
            "method.attention_norm": "space",
            "method.attention_temperature": 0.1,
            "method.query": "pair",
            "method.loss": "infonce",
            "optim.lr": 2e-3,
            "optim.schedule": "one_cycle",
            "data.batch_size": 64,
            "data.proposal_width": None,  # frames of 64 px have some 37 boxes, and 490 at 320
            "trainer.max_epochs": 8,
        }
    }

    def __init__(self, config: ProposalConfig, optim: OptimConfig, *, seed: int) -> None:
        super().__init__(config, optim, seed=seed)
        check_settings(config)
        self.card = card_of(self.card, config)
        self.streams, (seen, heard) = streams_of(config)
        self.audio_lstm = LSTM(heard, heard)
        given = (config.pretrained, config.pretrained_vision, config.pretrained_sound)
        size, zero_mean = config.embedding, all(each is None for each in given)
        self.to_sound = Head(heard, size, zero_mean=zero_mean)
        self.to_box = Head(seen * sum(side**2 for side in LEVELS), size, zero_mean=zero_mean)
        if config.selection == "grm":
            self.visual_lstm = LSTM(seen, seen)
            self.u_v = nn.Linear(seen, size, bias=False)
            self.u_s = nn.Linear(heard, size, bias=False)
            self.to_frame = Head(seen, size, zero_mean=zero_mean)
        self.register_buffer("median_distances", torch.full((2,), -1.0))
        self.register_buffer("wrong_frames", torch.zeros(2, dtype=torch.int64))

    @property
    def inputs(self) -> Inputs:
        """T segments, each with its proposals."""
        return replace(
            super().inputs,
            num_segments=self.config.num_segments,
            proposals=self.config.max_proposals,
        )

    def check(self, data: ClipData) -> None:
        """Raises BenchError where a batch would hold no negative."""
        require_other_clips(data.config.batch_size, "the negative is the sound of another clip")

    def prepare(self, stages: Stages, data: ClipData) -> None:
        """The small streams of the shared stage, or of a run."""
        if self.config.pretrained is not None:
            warm(self.streams, self.config.pretrained, self.config, stages, data)

    def extractor(self) -> FrozenExtractor | None:
        """The streams that are not trained."""
        return self.streams.extractor()

    def features(self, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """Maps ``(N, C, h, w)`` before and after the LSTM and sounds ``(N, S)``, N = B T."""
        visual, audio = self.streams(clip)  # (B, T, C, h, w), (B, T, S)
        heard = self.audio_lstm(audio)
        followed = visual
        if self.config.selection == "grm":
            followed = each_cell_over_time(self.visual_lstm, visual)
        return visual.flatten(0, 1), followed.flatten(0, 1), heard.flatten(0, 1)

    def embedded(self, clip: Clip) -> Embedded:
        """Streams of every segment: attention, selection (3.3) and features of what was kept."""
        assert clip.proposals is not None, "inputs asked for them"
        visual, followed, heard = self.features(clip)
        proposals = clip.proposals.flatten(0, 1)  # (N, P, 4)
        sound = self.to_sound(heard)
        frame, location_map = torch.zeros_like(sound), None
        if self.config.selection == "grm":
            location_map = self.attention(followed, heard)
            attended = torch.einsum("nhw,nchw->nc", location_map, followed)  # v_att
            frame = self.to_frame(attended)
            proposals = self.selected(location_map, proposals)
        exists = ~proposals.isnan().any(-1)
        box = self.to_box(pyramid(visual, proposals), exists)
        sound, frame, box = (exact(each) for each in (sound, frame, box))
        return Embedded(sound, frame, box, exists, proposals, location_map)

    def attention(self, visual: Tensor, heard: Tensor) -> Tensor:
        """Weights w of 3.3, ``(N, h, w)``."""
        seen, asked = self.u_v(visual.flatten(2).mT), self.u_s(heard)
        weight = attention_weights(
            seen, asked, self.config.attention_norm, self.config.attention_temperature
        )
        return weight.view(len(visual), *visual.shape[2:])

    @torch.no_grad()
    def selected(self, location_map: Tensor, proposals: Tensor) -> Tensor:
        """The K proposals ``(N, K, 4)`` of the highest confidence, best first.

        Not in half precision, in which many of them would be equal.
        """
        config = self.config
        with torch.autocast(location_map.device.type, enabled=False):
            confidence = proposal_confidence(
                location_map.float(),
                proposals,
                config.image_size,
                grm=config.grm,
                proposal_score=config.proposal_score,
            )
        return best_proposals(confidence, proposals, config.kept_proposals)

    def loss(self, batch: Batch) -> Tensor:
        """Mean over segments and batch of L_tri + lambda L_edu (3.5); not in half precision."""
        streams = self.embedded(batch.clip)
        with torch.autocast(streams.sound.device.type, enabled=False):
            return self.loss_of(streams)

    def loss_of(self, streams: Embedded) -> Tensor:
        """The loss of streams that meet in one space."""
        own = seen_by(streams.sound, streams.box, streams.exists)
        if self.training:
            self.count_wrong_frames(streams)
        if self.config.loss == "infonce":
            loss = self.all_pairs_loss(streams, own)
        else:
            loss = self.triplet_loss(streams, own)
        if self.config.selection == "none":
            return loss
        apart = self.comparable(own) - self.comparable(streams.frame)
        return loss + self.config.euclidean_weight * apart.square().sum(1).mean()

    def triplet_loss(self, streams: Embedded, own: Tensor) -> Tensor:
        """Ratio of the distances of f_v from the own sound and from that of another clip."""
        sound = streams.sound
        other = of_others_at_this_step(self, self.by_clip(sound)).flatten(0, 1)
        if self.config.query == "positive":
            return distance_ratio_loss(own, sound, other)
        under_other = seen_by(other, streams.box, streams.exists)
        return ratio_of_distances(distance(own, sound), distance(under_other, other))

    def all_pairs_loss(self, streams: Embedded, own: Tensor) -> Tensor:
        """Own frames against the sounds of the global batch in the same segment.

        With ``query: pair`` each is seen by the sound that it meets. The proposals stay those that
        the own sound selected: no gradient passes there, and a box is looked at once.
        """
        sounds = gathered(self.by_clip(streams.sound))  # (B, T, D)

        def seen_by_its_own(own: Tensor) -> Tensor:
            return F.cosine_similarity(own.unsqueeze(1), sounds, dim=-1)

        def seen_by_all(box: Tensor, exists: Tensor) -> Tensor:
            return F.cosine_similarity(seen_by_each(sounds, box, exists), sounds, dim=-1)

        cosines: Callable[..., Tensor] = seen_by_its_own
        parts = [self.by_clip(own)]
        if self.config.query == "pair":
            cosines, parts = seen_by_all, [self.by_clip(each) for each in streams[2:4]]
        row_bytes = sounds.numel() * sounds.element_size()  # f_v of a frame under all sounds
        found = in_chunks(cosines, parts, row_bytes, self.memory.maps)  # (b, B, T)
        rows = own_rows(len(sounds)).to(sounds.device)
        target = rows.unsqueeze(1).expand(-1, sounds.shape[1])
        return F.cross_entropy(found / self.config.temperature, target)

    @torch.no_grad()
    def count_wrong_frames(self, streams: Embedded) -> None:
        """Counts how often the frame of another clip, seen by a sound, lies near that sound.

        Nearer than to the sound of the negative, that is. Half of them where the loss has to look
        at the frame; all where the sound that asks gives its own answer away. The boxes of a frame
        stay those that its own sound selected.
        """
        sound = self.by_clip(streams.sound)
        sounds, negatives = (
            gathered(each) for each in (sound, of_others_at_this_step(self, sound))
        )
        asking = ((own_rows(len(sounds)) + 1) % len(sounds)).to(sound.device)
        own, other = (each[asking].flatten(0, 1) for each in (sounds, negatives))
        seen = self.comparable(seen_by(own, streams.box, streams.exists))
        nearer = distance(seen, self.comparable(own)) < distance(seen, self.comparable(other))
        counts = torch.stack([nearer.sum(), torch.ones_like(nearer).sum()])
        self.wrong_frames += sum_over_ranks(counts)

    def on_train_epoch_start(self) -> None:
        """Starts the count of an epoch."""
        self.wrong_frames.zero_()

    def by_clip(self, rows: Tensor) -> Tensor:
        """Rows ``(B T, ...)`` of segments as ``(B, T, ...)``."""
        return rows.reshape(-1, self.config.num_segments, *rows.shape[1:])

    def comparable(self, vectors: Tensor) -> Tensor:
        """Vectors whose distance means something: with InfoNCE, their directions."""
        return F.normalize(vectors, dim=-1) if self.config.loss == "infonce" else vectors

    def localize(self, clip: Clip) -> Localization:
        """Boxes by falling d, the location map, d_on, and whether the sound is on screen.

        Absent boxes are NaN with score 0. A frame without proposals has none, and confidence 0.
        With ``sources: 2`` there are two boxes, see :func:`two_sources`. Boxes are not compared in
        half precision, in which several would be equally like the sound.
        """
        rows = torch.arange(len(clip.target), device=clip.target.device)
        places = rows * self.config.num_segments + clip.target
        streams = self.embedded(clip)
        with torch.autocast(places.device.type, enabled=False):
            return self.answer(streams, places)

    def answer(self, streams: Embedded, places: Tensor) -> Localization:
        """What the segments at the given places ``(B,)`` of the streams answer."""
        sound, box, exists = streams.sound[places], streams.box[places], streams.exists[places]
        proposals, location_map = streams.proposals[places], streams.location_map
        scores = similarity(sound, box, exists)
        apart = self.distances(sound, box, exists)
        if location_map is None:
            heatmap = covered_map(proposals, scores, self.cells)
        else:
            heatmap = location_map[places]
        activation = scores.amax(1) if scores.shape[1] else sound.new_zeros(len(sound))
        boxes, scores = ranked(proposals, scores, exists)
        if self.config.sources == 2:
            boxes, scores = two_sources(boxes, scores)
        return Localization(
            heatmap, activation, boxes, scores, on_screen=self.on_screen(apart, activation)
        )

    @property
    def cells(self) -> int:
        """Cells per side of the map."""
        small = self.config.backbone == "small"
        return self.config.image_size // (SMALL_STRIDE if small else VGG_STRIDE)

    def distances(self, sound: Tensor, box: Tensor, exists: Tensor) -> Tensor:
        """Distances ``(N,)`` of f_v from f_s."""
        seen = seen_by(sound, box, exists)
        return distance(self.comparable(seen), self.comparable(sound))

    def on_screen(self, apart: Tensor, activation: Tensor) -> Tensor:
        """The decision of 4.2 for distances and activations ``(N,)``; bool."""
        near = apart < self.median_distances.mean()
        active = activation > self.config.onscreen_activation
        rules = {"distance": near, "activation": active, "either": near | active}
        return rules[self.config.onscreen]

    @torch.no_grad()
    def conclude(self, data: ClipData) -> None:
        """Fits m_on: medians of the distances of training frames from own and from other sounds.

        m_on is the mean of both medians (4.2). The clips are a sample by seed; each is met by the
        sound of another one of them, which also selects the proposals.
        """
        size = len(data.report.splits["train"])
        rng = np.random.default_rng([ONSCREEN_PAIRS, self.seed])
        rows = rng.permutation(size)[: self.config.onscreen_clips]
        self.eval()
        medians = [self.median_distance(data, rows, rows)]
        if len(rows) > 1:
            other = derangement(len(rows), self.seed, 0, 0).numpy()
            medians.append(self.median_distance(data, rows, rows[other]))
        self.median_distances.copy_(torch.tensor([medians[0], medians[-1]]))

    def median_distance(
        self, data: ClipData, rows: NDArray[np.int64], sounds: NDArray[np.int64]
    ) -> float:
        """Median over training rows of the distance of f_v from f_s in the target segment."""
        found = []
        for batch in data.chosen_loader("train", rows, sounds):
            clip = batch.clip.to(self.device)
            streams = self.embedded(clip)
            apart = self.distances(streams.sound, streams.box, streams.exists)
            by_clip = apart.view(len(clip.target), -1)
            found.append(by_clip.gather(1, clip.target.unsqueeze(1)).cpu())
        return float(torch.cat(found).median())

    def figures(self) -> dict[str, float]:
        """m_on, the medians it is the mean of, and the share of wrong frames of the last epoch."""
        own, other = self.median_distances.tolist()
        near, all_of_them = self.wrong_frames.tolist()
        found = {"wrong_frames_near_own_sound": near / all_of_them} if all_of_them else {}
        if own >= 0:
            found |= {
                "m_on": (own + other) / 2,
                "distance_own_sound": own,
                "distance_other_sound": other,
            }
        return found


class Head(nn.Module):
    """One FC layer, and zero-mean channels where the streams start from nothing."""

    def __init__(self, inputs: int, outputs: int, *, zero_mean: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.norm = ZeroMean(outputs) if zero_mean else None

    def forward(self, values: Tensor, exists: Tensor | None = None) -> Tensor:
        """``(..., outputs)``; with a mask, zeros where it is false, which no statistic counts."""
        if exists is None:
            vectors: Tensor = self.layer(values)
            return vectors if self.norm is None else self.norm(vectors)
        present = self.layer(values[exists])  # (R, outputs)
        if self.norm is not None:
            present = self._normalised(self.norm, present)
        vectors = present.new_zeros(*exists.shape, present.shape[-1])
        vectors[exists] = present
        return vectors

    def _normalised(self, norm: ZeroMean, rows: Tensor) -> Tensor:
        """By the statistics of the rows; by the running ones where all ranks have less than two."""
        if self.training and sum_over_ranks(torch.tensor(len(rows), device=rows.device)) < 2:
            norm.eval()
            rows = norm(rows)
            norm.train()
            return rows
        return cast("Tensor", norm(rows))


def each_cell_over_time(lstm: LSTM, visual: Tensor) -> Tensor:
    """Output ``(B, T, C, h, w)`` of an LSTM that follows each cell of ``(B, T, C, h, w)``."""
    clips, segments, channels, height, width = visual.shape
    cells = visual.permute(0, 3, 4, 1, 2).reshape(-1, segments, channels)  # (B h w, T, C)
    followed = torch.cat([lstm(some) for some in torch.split(cells, CELLS_AT_ONCE)])
    return followed.view(clips, height, width, segments, -1).permute(0, 3, 4, 1, 2)


def attention_weights(seen: Tensor, heard: Tensor, norm: str, temperature: float) -> Tensor:
    """Weight of each cell under a sound (3.3).

    Args:
        seen: ``(N, M, D)`` U_v v.
        heard: ``(N, D)`` U_s s.
        norm: ``channel`` for phi(U_v v)^T phi(U_s s), phi a softmax over the D channels; ``space``
            for a softmax over the M cells of the cosine (not of the paper).
        temperature: of the softmax.

    Returns:
        ``(N, M)`` in [0, 1]; over the cells ``space`` sums to 1, ``channel`` to anything.

    >>> attention_weights(torch.zeros(1, 2, 4), torch.zeros(1, 4), "channel", 1.0).tolist()
    [[0.25, 0.25]]
    """
    seen, heard = exact(seen), exact(heard)
    if norm == "channel":
        phi_v, phi_s = (seen / temperature).softmax(-1), (heard / temperature).softmax(-1)
        return (phi_v * phi_s.unsqueeze(1)).sum(-1)
    cosine = F.cosine_similarity(seen, heard.unsqueeze(1), dim=-1)
    return (cosine / temperature).softmax(-1)


def interpolation_matrix(cells: int, size: int) -> Tensor:
    """Weights ``(size, cells)`` float64 of cells in pixels, bilinear along one axis.

    Pixels lie as in ``torch.nn.functional.interpolate`` with ``align_corners=False``, which the
    paper does not say.

    >>> interpolation_matrix(2, 4)[:, 0].tolist()
    [1.0, 0.75, 0.25, 0.0]
    """
    place = (torch.arange(size, dtype=torch.float64) + 0.5) * cells / size - 0.5
    place = place.clamp(0, cells - 1).unsqueeze(1)
    return (1 - (place - torch.arange(cells)).abs()).clamp(min=0)


class PixelBoxes(NamedTuple):
    """Boxes as int32 pixels ``(N, P)``, each of at least one; x1 and y1 are beyond."""

    x0: Tensor
    y0: Tensor
    x1: Tensor
    y1: Tensor

    @property
    def area(self) -> Tensor:
        """Pixels of each box."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


def pixel_boxes(boxes: Tensor, size: int) -> PixelBoxes:
    """Boxes ``(N, P, 4)`` xyxy in [0, 1] on a frame of so many pixels per side.

    Corners are rounded to the nearest edge of a pixel; a box keeps at least one pixel. Absent boxes
    (NaN) become the first pixel.

    >>> [int(edge) for edge in pixel_boxes(torch.tensor([[[0.0, 0.5, 1.0, 0.5]]]), 4)]
    [0, 2, 4, 3]
    """
    edges = (boxes.movedim(-1, 0).nan_to_num(0.0) * size).round_().to(torch.int32).contiguous()
    x0, y0 = edges[:2].clamp_(0, size - 1)
    x1, y1 = torch.maximum(edges[2:].clamp_(max=size), edges[:2] + 1)
    return PixelBoxes(x0, y0, x1, y1)


def box_sums(location_map: Tensor, boxes: PixelBoxes, size: int) -> Tensor:
    """Sums over boxes of the map that bilinear interpolation makes of a grid, in closed form.

    With W the cumulated :func:`interpolation_matrix` a sum is (W[y1] - W[y0]) m (W[x1] - W[x0])^T,
    so no pixel is ever made.

    Args:
        location_map: ``(N, h, w)``.
        boxes: of N frames, P each.
        size: of the frame, pixels per side.

    Returns:
        ``(N, P)``.
    """
    height, width = location_map.shape[1:]
    of_rows, of_columns = (cumulated_weights(cells, size, location_map)
                           for cells in (height, width))  # fmt: skip
    count = boxes.x0.shape[1]
    # Buffers that are filled again and again: new ones, which the system gives as empty pages,
    # would take four times as long as all the sums.
    buffers = location_map.new_empty(3, FRAMES_AT_ONCE * count, width)
    parts = zip(
        *(torch.split(each, FRAMES_AT_ONCE) for each in (location_map, *boxes)), strict=True
    )
    found = [
        _sums((of_rows @ grid).flatten(0, 1), of_columns, PixelBoxes(*edges), buffers)
        for grid, *edges in parts
    ]
    return torch.cat(found).view(-1, count)


def _sums(above: Tensor, of_columns: Tensor, boxes: PixelBoxes, buffers: Tensor) -> Tensor:
    """Sums ``(N P,)``; ``above`` is W m of N frames, ``(N (size + 1), w)``."""
    frame = torch.arange(len(boxes.x0), device=above.device).unsqueeze(1) * len(of_columns)
    rows, columns, other = buffers[:, : boxes.x0.numel()].unbind()
    _subtracted(above, boxes.y1 + frame, boxes.y0 + frame, rows, other)
    _subtracted(of_columns, boxes.x1, boxes.x0, columns, other)
    return rows.mul_(columns).sum(1)


def _subtracted(table: Tensor, last: Tensor, first: Tensor, found: Tensor, other: Tensor) -> None:
    """Fills ``found`` with table[last] - table[first], and ``other`` with the latter."""
    torch.index_select(table, 0, last.flatten(), out=found)
    torch.index_select(table, 0, first.flatten(), out=other)
    found.sub_(other)


def cumulated_weights(cells: int, size: int, like: Tensor) -> Tensor:
    """Weights ``(size + 1, cells)`` of cells in the pixels before each edge."""
    cumulated = F.pad(interpolation_matrix(cells, size).cumsum(0), (0, 0, 1, 0))
    return cumulated.to(like)


def map_extremes(location_map: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Least and largest pixel ``(N,)`` of the maps interpolated from grids ``(N, h, w)``.

    Between four cells the map is bilinear, so its extremes lie at the outermost pixels there: of
    224 rows over 28 cells those are 56.
    """
    rows, columns = (outermost_weights(cells, size).to(location_map)
                     for cells in location_map.shape[1:])  # fmt: skip
    pixels = F.linear(F.linear(location_map, columns).mT, rows)  # (N, columns, rows)
    return pixels.amin((1, 2)), pixels.amax((1, 2))  # aminmax takes ten times as long


def outermost_weights(cells: int, size: int) -> Tensor:
    """The rows of the interpolation matrix next to the centres of the cells, on both sides."""
    weights = interpolation_matrix(cells, size)
    interval = (weights @ torch.arange(cells, dtype=torch.float64)).floor()
    differs = torch.ones(size + 1, dtype=torch.bool)
    differs[1:-1] = interval[1:] != interval[:-1]
    return weights[differs[1:] | differs[:-1]]


def proposal_confidence(
    location_map: Tensor,
    proposals: Tensor,
    size: int,
    *,
    grm: str = "paper",
    proposal_score: str = "sum",
) -> Tensor:
    """How well proposals cover the global response map g (3.3).

    g = (m - min m) / max m as printed, or over (max m - min m); m is the location map interpolated
    to the frame. Both rank the proposals of a frame alike, for they differ by a factor. ``sum``
    grows with every pixel that a box takes in, so it prefers large boxes whatever the sound.

    Args:
        location_map: ``(N, h, w)``, at least 0.
        proposals: ``(N, P, 4)`` xyxy in [0, 1], NaN where there is none.
        size: of the frame, pixels per side.
        grm: ``paper`` or ``minmax``.
        proposal_score: ``sum`` (as printed) or ``mean`` over the pixels of a box.

    Returns:
        ``(N, P)``, at least 0; without meaning where there is no proposal, 0 where a map is
        constant.
    """
    boxes = pixel_boxes(proposals, size)
    # Weights of a pixel add up to 1, so the lowest may be taken off the cells first: taken off the
    # sums, it would leave of a map that is almost constant little but their rounding.
    base = location_map.amin((1, 2))
    risen = location_map - base.view(-1, 1, 1)
    lowest, highest = (each.unsqueeze(1) for each in map_extremes(risen, size))
    above = box_sums(risen - lowest.unsqueeze(2), boxes, size).clamp(min=0)
    scale = base.unsqueeze(1) + highest if grm == "paper" else highest - lowest
    confidence = torch.where(highest > lowest, above / scale, 0.0)
    return confidence if proposal_score == "sum" else confidence / boxes.area


def best_proposals(confidence: Tensor, proposals: Tensor, k: int) -> Tensor:
    """The K proposals of each frame with the highest confidence.

    Args:
        confidence: ``(N, P)`` float32, at least 0.
        proposals: ``(N, P, 4)``, NaN where there is none.
        k: at most so many are kept.

    Returns:
        ``(N, min(K, P), 4)`` best first, equal ones as they stood; NaN where a frame has fewer.
    """
    count = proposals.shape[1]
    # Of equal ones topk may take any. The bits of floats that are not negative rank as they do, and
    # with the place behind them no two are equal; a stable sort would take six times as long.
    key = (confidence + 0.0).view(torch.int32).long() * count
    key += torch.arange(count - 1, -1, -1, device=key.device)
    key.masked_fill_(proposals[..., 0].isnan(), -1)
    order = key.topk(min(k, count), 1).indices
    return proposals.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))


def pyramid(visual: Tensor, proposals: Tensor) -> Tensor:
    """Features of proposals as means over 1, 4 and 16 parts of each, by RoI-align.

    All levels are means of the samples of the finest one, which is what RoI-align gives for each of
    them with as many samples.

    Args:
        visual: ``(N, C, h, w)``.
        proposals: ``(N, K, 4)`` xyxy in [0, 1], NaN where there is none.

    Returns:
        ``(N, K, 21 C)``: the whole, then the quarters, then the sixteenths; of an absent proposal
        without meaning, but finite.
    """
    height, width = visual.shape[2:]
    exact = torch.promote_types(visual.dtype, proposals.dtype)  # places are none of half precision
    x0, y0, x1, y1 = proposals.nan_to_num(0.0).to(exact).unbind(-1)
    rows, columns = (sampled_parts(y0, y1, height), sampled_parts(x0, x1, width))
    cells = torch.einsum("nkih,nkjw->nkijhw", rows, columns).flatten(4)  # (N, K, 4, 4, h w)
    weights = torch.cat([_means_of_parts(cells, side) for side in LEVELS], 2)  # (N, K, 21, h w)
    found = (weights.to(visual).flatten(1, 2) @ visual.flatten(2).mT).view(*weights.shape[:3], -1)
    levels = torch.split(found, [side**2 for side in LEVELS], 2)  # (N, K, parts, C) each
    return torch.cat([each.mT.flatten(2) for each in levels], 2)


def sampled_parts(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """Weights of cells in the parts of the finest level along one axis.

    A part is the mean of ``FINEST_SAMPLES`` bilinear samples, as in ``torchvision.ops.roi_align``
    with ``aligned=True``.

    Args:
        low: ``(N, K)`` ends of boxes in [0, 1].
        high: ``(N, K)``.
        cells: along the axis.

    Returns:
        ``(N, K, 4, cells)``, each part adding up to 1.

    >>> sampled_parts(torch.zeros(1, 1), torch.ones(1, 1), 2)[0, 0, :, 0].tolist()
    [1.0, 0.75, 0.25, 0.0]
    """
    count = LEVELS[-1] * FINEST_SAMPLES
    share = (torch.arange(count, device=low.device) + 0.5) / count
    place = torch.lerp(low.unsqueeze(-1), high.unsqueeze(-1), share.to(low)) * cells - 0.5
    place = place.clamp(0, cells - 1).unsqueeze(-1)  # (N, K, 4 * samples, 1)
    near = (1 - (place - torch.arange(cells, device=low.device)).abs()).clamp(min=0)
    return near.view(*low.shape, LEVELS[-1], FINEST_SAMPLES, cells).mean(3)


def _means_of_parts(cells: Tensor, side: int) -> Tensor:
    """Weights ``(N, K, side^2, h w)`` of parts that hold several of ``(N, K, 4, 4, h w)``."""
    each = LEVELS[-1] // side
    blocks = cells.view(*cells.shape[:2], side, each, side, each, -1)
    return blocks.mean((3, 5)).flatten(2, 3)


def similarity(sound: Tensor, box: Tensor, exists: Tensor) -> Tensor:
    """Likeness d of Eq. 3: ReLU(cos(f_s, f_box)) e.

    Args:
        sound: ``(..., D)``.
        box: ``(..., K, D)``.
        exists: ``(..., K)`` bool, e.

    Returns:
        ``(..., K)`` in [0, 1].

    >>> similarity(torch.tensor([3.0, 0.0]), torch.tensor([[4.0, 4.0], [-1.0, 0.0]]),
    ...            torch.tensor([True, True]))
    tensor([0.7071, 0.0000])
    """
    cosine = (F.normalize(box, dim=-1) @ F.normalize(sound, dim=-1).unsqueeze(-1)).squeeze(-1)
    return cosine.relu() * exists


def seen_by(sound: Tensor, box: Tensor, exists: Tensor) -> Tensor:
    """Vector f_v of 3.4: the mean of f_box weighted by d.

    Args:
        sound: ``(..., D)``.
        box: ``(..., K, D)``.
        exists: ``(..., K)`` bool, e.

    Returns:
        ``(..., D)``; the plain mean of what exists where d is 0 throughout, 0 where nothing does.
    """
    alpha = normalised_likeness(similarity(sound, box, exists), exists)
    return (alpha.unsqueeze(-2) @ box).squeeze(-2)


def seen_by_each(sounds: Tensor, box: Tensor, exists: Tensor) -> Tensor:
    """:func:`seen_by` of every frame under the sound of every clip, segment by segment.

    Args:
        sounds: ``(B, T, D)``.
        box: ``(b, T, K, D)``.
        exists: ``(b, T, K)`` bool, e.

    Returns:
        ``(b, B, T, D)``.
    """
    directions = F.normalize(box, dim=-1), F.normalize(sounds, dim=-1)
    exists = exists.unsqueeze(1)
    d = torch.einsum("btkd,gtd->bgtk", *directions).relu() * exists
    return torch.einsum("bgtk,btkd->bgtd", normalised_likeness(d, exists), box)


def normalised_likeness(d: Tensor, exists: Tensor) -> Tensor:
    """Weights alpha of 3.4: d over its sum, or equal ones of what exists where all d are 0.

    Args:
        d: ``(..., K)``.
        exists: ``(..., K)`` bool, e.
    """
    total = d.sum(-1, keepdim=True)
    plain = exists / exists.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(total > SMALLEST_SUM, d / total.clamp(min=SMALLEST_SUM), plain.to(d))


def ranked(proposals: Tensor, scores: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """Proposals ``(N, K, 4)`` and d ``(N, K)`` by falling d, those that do not exist last."""
    order = scores.where(exists, -1.0).sort(dim=1, descending=True, stable=True).indices
    return proposals.gather(1, order.unsqueeze(-1).expand(-1, -1, 4)), scores.gather(1, order)


def two_sources(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The best box and the next best that does not overlap it (4.3).

    Where all others overlap it, the one with the least IoU, the best of equal ones (not given in
    the paper).

    Args:
        boxes: ``(N, K, 4)`` best first, NaN where there is none.
        scores: ``(N, K)``.

    Returns:
        Boxes ``(N, 2, 4)``, NaN where a frame has fewer proposals, and their scores ``(N, 2)``.
    """
    boxes, scores = (F.pad(boxes, (0, 0, 0, 2), value=torch.nan), F.pad(scores, (0, 2)))
    if boxes.shape[0] == 0:
        return boxes[:, :2], scores[:, :2]
    iou = torch.stack([box_iou(one[:1], one)[0] for one in boxes])  # (N, K + 2), NaN if absent
    iou[:, 0] = torch.inf
    second = iou.nan_to_num(2.0, posinf=3.0).argmin(1)  # the first of equal ones
    places = torch.stack([torch.zeros_like(second), second], 1)
    pair = boxes.gather(1, places.unsqueeze(-1).expand(-1, -1, 4))
    return pair, scores.gather(1, places)


def covered_map(proposals: Tensor, scores: Tensor, cells: int) -> Tensor:
    """Highest score of the proposals over the centre of each cell, 0 under none.

    The map of a method that has boxes alone.

    Args:
        proposals: ``(N, K, 4)``, NaN where there is none.
        scores: ``(N, K)``, at least 0.
        cells: per side.

    Returns:
        ``(N, cells, cells)``.
    """
    centre = (torch.arange(cells, device=scores.device) + 0.5) / cells
    x0, y0, x1, y1 = proposals.unsqueeze(-1).unbind(-2)  # (N, K, 1)
    columns, rows = (x0 <= centre) & (centre < x1), (y0 <= centre) & (centre < y1)
    heights = scores.unsqueeze(-1) * rows  # (N, K, cells)
    found = scores.new_zeros(len(scores), cells, cells)
    for k in range(scores.shape[1]):
        found = torch.maximum(found, heights[:, k].unsqueeze(2) * columns[:, k].unsqueeze(1))
    return found


def check_settings(config: ProposalConfig) -> None:
    """Nothing, or a ``BenchError`` for settings that are unknown or mean nothing."""
    require_known(config, KNOWN)
    if config.sources not in (1, 2):
        raise BenchError(f"method.sources={config.sources} must be 1 or 2")
    for name in ("max_proposals", "kept_proposals", "num_segments", "onscreen_clips"):
        if getattr(config, name) < 1:
            raise BenchError(f"method.{name}={getattr(config, name)} must be at least 1")
    require_own_weights(config)


def card_of(card: MethodCard, config: ProposalConfig) -> MethodCard:
    """The card of the method under settings that change how its number is read."""
    given = weights_given(config)
    return replace(card, pretraining=", ".join(given) or "none", boxes=config.sources)


def streams_of(config: ProposalConfig) -> tuple[Streams, tuple[int, int]]:
    """Both streams and the widths of what they give.

    Raises:
        BenchError: weights cannot be read, or the sound does not fit.
    """

    def frozen(given: str | None) -> bool:
        return given is not None and not config.train_streams

    if config.backbone == "small":
        streams = small_streams(
            config.sample_rate_hz, config.segment_seconds, frozen=frozen(config.pretrained)
        )
        return streams, (SMALL_CHANNELS, SMALL_CHANNELS)
    vision, sound = config.pretrained_vision, config.pretrained_sound
    patch = VggishLogMel(config.sample_rate_hz, config.segment_seconds)
    streams = Streams(
        vgg16_map(pretrained=vision, setting="method.pretrained_vision", stride=VGG_STRIDE),
        nn.Sequential(patch, VGGish(pretrained=sound, setting="method.pretrained_sound")),
        name=config.backbone,
        frozen_visual=frozen(vision),
        frozen_audio=frozen(sound),
    )
    return streams, (VGG_CHANNELS, EMBEDDING)
