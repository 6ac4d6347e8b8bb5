"""``docs/protocols.md``: the same maps under every protocol, so that the rules can be seen at work.

All of it is made here from one seed: boxes as large as those of VGG-SS, and maps by rule. No method
and no data set is needed, and the page is the same wherever it is made.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.markdown import markdown_table
from datamodules.atomic_files import write_atomically
from metrics.ceilings import ceiling
from metrics.floors import floor_scores
from metrics.functional.rasterise import box_union
from metrics.measurement import predicted_mask
from metrics.protocols import PROTOCOLS, Protocol
from metrics.scoring import Scores, score_maps
from metrics.truth import Truth

SEED = 20
SAMPLES = 500
SIDE = (0.15, 0.95)  # of a box, uniform: mean area .30, where VGG-SS has .31
NOISE = 0.25  # standard deviation, against a map of 0 outside and 1 inside the box
RANGE = (0.0, 1.0)
KEYS = ("ciou@0.5", "auc", "mean_iou")
PICTURE = "protocols.png"

RULES = ("protocol", "map to 224 x 224", "normalised", "predicted pixels", "two annotators",
         "nothing marked", "source")  # fmt: skip

Maps = NDArray[np.float32]

INTRODUCTION = """\
<!-- Written by `bench protocols`; edit nothing here. -->

# Protocols

A protocol is everything between a raw map and its score: how the map is resized and normalised, which pixels count as predicted, how annotators vote, and what happens where nothing is marked.
Papers print the same words, "cIoU" and "AUC", for the rules below.
This page applies all of them to the same maps; nothing else differs from row to row.

Every protocol has a name that never changes its meaning: `bench score --predictions maps.npz --data vggss --annotations vggss.json --protocol lvs --protocol ezvsl`, or `--protocol all`, does this for your own maps.
"""  # noqa: E501


def write_page(path: Path) -> None:
    """Writes the page, and its picture beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = made_up_truth()
    write_atomically(path.parent / PICTURE, _picture(truth, made_up_maps(truth)))
    write_atomically(path, page().encode())


def is_current(path: Path) -> bool:
    """Whether the page is there and is what ``write_page`` would write; pictures are not read."""
    return path.is_file() and path.read_bytes() == page().encode()


def page() -> str:
    """The page in Markdown."""
    truth = made_up_truth()
    ids = [sample.id for sample in truth]
    scores = {
        name: {
            protocol: score_maps(ids, maps, truth, rules, map_range=RANGE, ranking=False)
            for protocol, rules in PROTOCOLS.items()
        }
        for name, maps in made_up_maps(truth).items()
    }
    floors = {
        name: {protocol: floor_scores(name, truth, protocol) for protocol in PROTOCOLS}
        for name in ("center", "full")
    }
    tops = {protocol: ceiling(truth, protocol) for protocol in PROTOCOLS}
    blocks = [
        INTRODUCTION,
        "## The rules\n",
        markdown_table(RULES, map(_rules, PROTOCOLS.values())),
        f"## The same {SAMPLES:,} maps\n",
        _explanation(truth),
        f"![The masks of three maps under every protocol]({PICTURE})\n",
    ]  # fmt: skip
    for key in KEYS:
        header = (f"{key}, %", *(f"{name} maps" for name in scores), "centre", "full", "ceiling")
        rows = (
            (
                protocol,
                *(_percent(scores[name][protocol], key) for name in scores),
                *(_percent(floors[name][protocol], key) for name in floors),
                f"{100 * tops[protocol][key]:.1f}",
            )
            for protocol in PROTOCOLS
        )
        blocks.append(markdown_table(header, rows, numbers=True))
    blocks += [
        "Share of samples whose hit at 0.5 is another one than under `lvs`, for the same map:\n",
        markdown_table(("samples that flip, %", *(f"{name} maps" for name in scores)),
                       (_flips(scores, protocol) for protocol in PROTOCOLS if protocol != "lvs"),
                       numbers=True),
        HOW_TO_READ,
    ]  # fmt: skip
    return "\n".join(blocks)


HOW_TO_READ = """\
- A rule that keeps half of the pixels has a ceiling: a box smaller than a quarter of the frame cannot be hit by any map without equal pixels. A disc in the centre, which never hears the sound, comes close to it.
- `lvs`, `ezvsl`, `slavc` and `align` keep the same half; they differ in the interpolation, in one pixel at the median, and in what they make of pixels that are equal: the plateau maps show that.
- `align-adaptive` looks at the size of the answer, so no method can use it; it is listed as an oracle.
- `dsol-solo`, `dsol-synthetic`, `dsol-duet` and `slavc-absolute` go by the values of a map and not by their order, so a method must state the range of its values.
- `dsol-synthetic` and `dsol-duet` average over the sources of a frame where there are several; here there is one.
"""  # noqa: E501


def made_up_truth() -> list[Truth]:
    """One box per sample, with the areas of VGG-SS."""
    rng = np.random.default_rng(SEED)
    sides = rng.uniform(*SIDE, size=(SAMPLES, 2))
    near = rng.random((SAMPLES, 2)) * (1 - sides)
    boxes = np.concatenate([near, near + sides], axis=1)
    return [Truth(f"sample{row:04d}", (box[None],)) for row, box in enumerate(boxes)]


def made_up_maps(truth: Sequence[Truth]) -> dict[str, Maps]:
    """Maps of each kind by name, ``(N, h, w)`` float32 in [0, 1]."""
    return {
        "7x7": _noisy(truth, 7),
        "14x14": _noisy(truth, 14),
        "plateau": np.minimum(_noisy(truth, 14), np.float32(0.5)),
        "constant": np.full((len(truth), 7, 7), 0.5, dtype=np.float32),
    }


def _noisy(truth: Sequence[Truth], cells: int) -> Maps:
    """How much of each cell the box covers, with noise, and clipped to [0, 1]."""
    rng = np.random.default_rng([SEED, cells])
    covered = np.stack([_coverage(sample, cells) for sample in truth])
    noise = rng.normal(scale=NOISE, size=covered.shape)
    return (0.25 + 0.5 * covered + noise).clip(0, 1).astype(np.float32)


def _coverage(sample: Truth, cells: int) -> Maps:
    mask = box_union(sample.boxes[0], 224).astype(np.float32)
    return np.asarray(cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA))


def _rules(protocol: Protocol) -> Sequence[str]:
    others = f"; {', '.join(protocol.interpolation_on)}: " if protocol.interpolation_on else ""
    elsewhere = next(iter(protocol.interpolation_on.values()), "").replace("_", " ")
    return (
        f"`{protocol.name}`" + (" (oracle)" if protocol.oracle else ""),
        protocol.interpolation.replace("_", " ") + others + elsewhere,
        _normalised(protocol),
        _predicted(protocol),
        "each annotator votes" if protocol.truth_rule == "annotator" else "each box votes",
        "a miss" if protocol.empty_truth == "miss" else "left out, counted",
        protocol.source,
    )


def _normalised(protocol: Protocol) -> str:
    words = {"min_max": "min-max", "double_negation": "1 - min-max of the negated map",
             "none": "no"}[protocol.normalisation]  # fmt: skip
    if not protocol.calibrated:
        return words
    return (
        "no, but the method's range to [0, 1]" if words == "no" else f"the method's range, {words}"
    )


def _predicted(protocol: Protocol) -> str:
    comparison = protocol.comparison
    rule = {
        "upper_median": f"{comparison} the upper median",
        "truth_size": f"{comparison} the k-th highest, k pixels being marked",
        "fixed": f"{comparison} {protocol.threshold}",
        "share_of_maximum": f"{comparison} {protocol.threshold} of the maximum",
        "cross_fitted": f"{comparison} the best of 0.05..0.95 for the other four folds",
    }[protocol.threshold_rule]
    return rule + (", and what equals 1" if protocol.keep_ones else "")


def _explanation(truth: Sequence[Truth]) -> str:
    areas = [float(np.prod(box[0, 2:] - box[0, :2])) for box, *_ in (s.boxes for s in truth)]
    return (
        f"The boxes are drawn at random, one per sample, with a mean area of {np.mean(areas):.3f} "
        f"and a median of {np.median(areas):.3f} of the frame.\n"
        f"A map of 7 x 7 or 14 x 14 cells is half the share of each cell that the box covers, plus "
        f"a quarter, plus noise (standard deviation {NOISE}), clipped to [0, 1].\n"
        "The plateau maps are the 14 x 14 ones with everything above 0.5 cut down to 0.5; the "
        "constant maps are 0.5 everywhere.\n"
    )


def _percent(scores: Scores, key: str) -> str:
    return f"{100 * scores.metrics[key]:.1f}"


def _flips(scores: Mapping[str, Mapping[str, Scores]], protocol: str) -> Sequence[str]:
    cells = [protocol]
    for of_protocol in scores.values():
        differ = of_protocol[protocol].column("ciou@0.5") != of_protocol["lvs"].column("ciou@0.5")
        cells.append(f"{100 * float(np.mean(differ)):.1f}")
    return cells


def _picture(truth: Sequence[Truth], maps: Mapping[str, Maps]) -> bytes:
    """The masks that every protocol makes of one map of each kind, with the box, as a PNG."""
    shown = {name: maps[name][0] for name in ("7x7", "14x14", "plateau")}
    threshold = 0.5  # of bench-v1, whose own depends on the other samples
    figure = Figure(figsize=(1.25 * (1 + len(PROTOCOLS)), 1.4 * len(shown)), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), 1 + len(PROTOCOLS), squeeze=False)
    left, top, right, bottom = (truth[0].boxes[0][0] * 224).tolist()
    for row, (name, heatmap) in enumerate(shown.items()):
        axes[row, 0].imshow(heatmap, cmap="inferno", vmin=0, vmax=1, extent=(0, 224, 224, 0))
        axes[row, 0].set_ylabel(name, fontsize=8)
        for axis, protocol in zip(axes[row, 1:], PROTOCOLS.values(), strict=True):
            own = threshold if protocol.threshold_rule == "cross_fitted" else None
            mask = predicted_mask(heatmap, protocol, own, truth=truth[0], map_range=RANGE)
            axis.imshow(mask, cmap="gray_r", vmin=0, vmax=2, extent=(0, 224, 224, 0))
            if row == 0:
                axis.set_title(protocol.name, fontsize=8)
        for axis in axes[row]:
            outline = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axis.plot(*outline, color="#56b4e9", linewidth=1.5)
            axis.set(xticks=[], yticks=[], xlim=(0, 224), ylim=(224, 0))
    axes[0, 0].set_title("map", fontsize=8)
    figure.tight_layout(pad=0.3)
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
