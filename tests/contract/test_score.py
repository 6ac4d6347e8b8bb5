"""`bench score`: predictions of any program and run folders, under any protocol, and refusals."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from benchmark.registry import DATA_REGISTRY
from datamodules.ground_truth import READERS, ground_truth
from datamodules.sample_data import write_sample
from metrics.protocols import PROTOCOLS

Bench = Callable[..., Any]
Tiny = Callable[..., tuple[str, ...]]
Objects = list[dict[str, Any]]

SIDE, BAND = 224, 28  # an eighth of a frame is 28 rows of pixels
IDS = [f"AbCdEfGh{row:03d}_000001" for row in range(10)]
MARKED = np.array([1, 2, 3, 4, 5, 6, 7, 8, 4, 2])  # eighths of the frame, from the top
FOUND = np.array([1, 1, 1, 4, 7, 6, 4, 7, 7, 1])  # the same, of the predictions
OVERLAP = np.minimum(MARKED, FOUND) / np.maximum(MARKED, FOUND)
KEYS = {"protocol", "data", "n", "n_expected", "missing", "metrics", "ci95", "floors", "ceiling"}


def bands(eighths: Sequence[int]) -> np.ndarray:
    """Maps ``(N, 224, 224)`` float32 that are 1 in so many eighths from the top, else 0."""
    rows = np.arange(SIDE) < BAND * np.array(eighths)[:, None]  # (N, 224)
    return np.repeat(rows[..., None], SIDE, axis=2).astype(np.float32)


def band_boxes(eighths: Sequence[int]) -> np.ndarray:
    """Boxes ``(N, 4)`` over so many eighths from the top."""
    return np.array([[0, 0, 1, height / 8] for height in eighths])


def area_under(overlap: np.ndarray) -> float:
    """Area under the success curve, by the trapezoids of its 21 points."""
    points = [float(np.mean(overlap >= 0.05 * k)) for k in range(21)]
    return sum((points[k] + points[k + 1]) / 2 * 0.05 for k in range(20))


def write_vggss(path: Path, ids: Sequence[str] = IDS, eighths: Sequence[int] = MARKED) -> Path:
    entries = [
        {"file": sample_id, "class": ("bell", "dog")[row % 2], "bbox": [box]}
        for row, (sample_id, box) in enumerate(zip(ids, band_boxes(eighths).tolist(), strict=True))
    ]
    path.write_text(json.dumps(entries))
    return path


def write_npz(path: Path, ids: Sequence[str] = IDS, **arrays: Any) -> Path:
    np.savez(path, id=np.array(ids), **arrays)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of ten clips, and maps that cover as much of them as ``OVERLAP`` says."""
    folder = tmp_path_factory.mktemp("score")
    write_vggss(folder / "vggss.json")
    write_npz(folder / "maps.npz", heatmap=bands(FOUND))
    write_npz(folder / "both.npz", heatmap=bands(MARKED % 8), boxes=band_boxes(FOUND)[:, None])
    return folder


@pytest.fixture
def vggss(folder: Path) -> tuple[Any, ...]:
    """The words for the ten maps, without floors."""
    return ("--predictions", folder / "maps.npz", "--data", "vggss", "--annotations",
            folder / "vggss.json", "--no-floors")  # fmt: skip


def boards(bench: Bench, *words: object) -> Objects:
    """The objects that a command prints, which must succeed."""
    done = bench("score", *words, "--json")
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def board(bench: Bench, *words: object) -> dict[str, Any]:
    (only,) = boards(bench, *words)
    return only


def table_of(path: Path) -> dict[str, np.ndarray]:
    """Columns of a CSV; an empty cell is NaN."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {
        name: np.array([row[name] if name == "id" else float(row[name] or "nan") for row in rows])
        for name in rows[0]
    }


def test_maps_score_what_their_overlaps_say(bench: Bench, vggss: tuple[Any, ...]) -> None:
    found = board(bench, *vggss)

    both = np.minimum(MARKED, FOUND)
    ranked = both / MARKED * both / FOUND + (MARKED - both) / MARKED * MARKED / 8
    assert (found["protocol"], found["n"], found["n_expected"]) == ("bench-v1", 10, 10)
    assert found["metrics"] == pytest.approx(
        {
            "ciou@0.5": 0.9, "iou@0.5": 0.9, "ciou@0.3": 1.0, "mean_iou": OVERLAP.mean(),
            "auc": area_under(OVERLAP), "pixel_ap": ranked.mean(), "pointing": 1.0,
        },
        abs=1e-12,
    )  # fmt: skip


def test_boxes_alone_score_the_same_as_maps_of_them(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    boxes = write_npz(tmp_path / "boxes.npz", boxes=band_boxes(FOUND)[:, None])

    found = board(bench, "--predictions", boxes, "--data", "vggss", "--root", folder, "--no-floors")

    assert found["metrics"]["mean_iou"] == pytest.approx(OVERLAP.mean(), abs=1e-12)


@pytest.mark.parametrize(("option", "row_7"), [((), 0.0), (("--boxes",), 7 / 8)])
def test_of_maps_and_boxes_the_option_chooses(
    option: tuple[str, ...], row_7: float, bench: Bench, folder: Path, tmp_path: Path
) -> None:
    words = ("--predictions", folder / "both.npz", "--data", "vggss", "--root", folder)
    board(bench, *words, "--no-floors", *option, "--per-sample", tmp_path / "scores.csv")

    expected = OVERLAP if option else np.where(MARKED < 8, 1.0, 0.0)  # an even map finds nothing
    assert table_of(tmp_path / "scores.csv")["ciou"].tolist() == pytest.approx(expected)
    assert row_7 == expected[7]


@pytest.fixture
def extended(folder: Path, tmp_path: Path) -> tuple[Any, ...]:
    """Words for ten positives, of which three are hits, and two negatives, with confidences."""
    root = tmp_path / "extended"
    root.mkdir()
    write_vggss(root / "vggss.json")
    pairs = [(IDS[0], IDS[1]), (IDS[2], IDS[5])]
    rows = [f"{frame},{sound},non-sounding" for frame, sound in pairs]
    (root / "vggss_test_plus_silent.csv").write_text("\n".join(["video,audio,label", *rows]))
    maps = bands([*([8 - 2] * 3), *([1] * 7), 3, 3])
    predictions = write_npz(
        root / "maps.npz",
        [*IDS, *("+".join(pair) for pair in pairs)],
        heatmap=maps,
        confidence=np.array([0.9, 0.8, 0.1, *[0.7] * 7, 0.2, 0.75]),
    )
    return ("--predictions", predictions, "--data", "vggss_extended", "--root", root, "--no-floors")


def test_confidence_tells_the_negatives_of_an_extended_set_apart(
    bench: Bench, extended: tuple[Any, ...]
) -> None:
    found = board(bench, *extended)

    positive, negative = [0.9, 0.8, 0.1, *[0.7] * 7], [0.2, 0.75]
    pairs = [high > low for high in positive for low in negative]
    assert (found["n"], found["n_expected"], found["negatives"]) == (12, 12, 2)
    assert found["metrics"]["onscreen_auc"] == pytest.approx(np.mean(pairs), abs=1e-12)
    assert found["metrics"]["loc_acc"] == found["metrics"]["ciou@0.5"]
    assert {"onscreen_acc", "slavc_ap", "slavc_max_f1", "ap", "max_f1"} <= set(found["metrics"])


def test_a_set_without_negatives_has_no_on_screen_metrics(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    maps = write_npz(tmp_path / "maps.npz", heatmap=bands(FOUND), confidence=np.arange(10.0))

    found = board(bench, "--predictions", maps, "--data", "vggss", "--root", folder, "--no-floors")

    assert {"onscreen_acc", "onscreen_auc", "slavc_ap", "ap", "loc_acc"}.isdisjoint(
        found["metrics"]
    )


def test_maps_of_each_source_are_scored_against_their_own_instrument(
    bench: Bench, tmp_path: Path
) -> None:
    top, bottom = [0, 0, 1, 0.5], [0, 0.5, 1, 0.5]  # x, y, width, height
    entries = {
        f"v/f/{row}.jpg": {"bbox": [{"normbox": top, "category_id": 1},
                                    {"normbox": bottom, "category_id": 12}]}
        for row in range(3)
    }  # fmt: skip
    (tmp_path / "duettest.json").write_text(json.dumps(entries))
    upper = bands([4])[0]
    right = np.stack([upper, 1 - upper, upper])  # the third map is padding
    swapped = np.stack([1 - upper, upper, upper])
    predictions = write_npz(
        tmp_path / "duet.npz",
        [f"v/f/{row}" for row in range(3)],
        source_heatmap=np.stack([right, right, swapped]),
        source_count=np.array([2, 2, 2]),
        map_range=np.array([0.0, 1.0]),
    )

    found = board(bench, "--predictions", predictions, "--data", "music_duet", "--root", tmp_path,
                  "--protocol", "dsol-duet", "--no-floors")  # fmt: skip

    metrics = found["metrics"]
    assert metrics["ciou@0.3"] == metrics["mean_iou"] == pytest.approx(2 / 3, abs=1e-12)
    assert metrics["piap"] == pytest.approx(1.0, abs=1e-12)  # whichever map is whose
    assert metrics["cap"] == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-12)


@pytest.mark.parametrize("where", ["file", "option"])
@pytest.mark.parametrize(
    ("low", "overlap"), [(-1, OVERLAP), (-3, MARKED / 8)], ids=["from zero", "from one half"]
)
def test_the_range_of_the_maps_decides_under_an_absolute_rule(
    low: int, overlap: np.ndarray, where: str, bench: Bench, folder: Path, tmp_path: Path
) -> None:
    stated = {"map_range": np.array([low, 1])} if where == "file" else {}
    maps = write_npz(tmp_path / "maps.npz", heatmap=2 * bands(FOUND) - 1, **stated)
    option = ("--map-range", low, 1) if where == "option" else ()

    found = board(bench, "--predictions", maps, "--data", "vggss", "--root", folder,
                  "--protocol", "dsol-solo", "--no-floors", *option)  # fmt: skip

    # pixels above a tenth of the maximum: those of the band, or with the range -3..1 all
    assert found["metrics"]["mean_iou"] == pytest.approx(overlap.mean(), abs=1e-12)


def test_maps_between_0_and_1_are_taken_at_their_word_with_a_warning(
    bench: Bench, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    maps = write_npz(tmp_path / "maps.npz", heatmap=0.6 * bands(FOUND))

    found = board(bench, "--predictions", maps, "--data", "vggss", "--root", folder,
                  "--protocol", "slavc-absolute", "--no-floors")  # fmt: skip

    assert found["metrics"]["mean_iou"] == pytest.approx(OVERLAP.mean(), abs=1e-12)
    (warning,) = caplog.messages
    assert "the maps lie in [0, 1], which is taken for their range (slavc-absolute)" in warning


SQUARE = slice(56, 168)  # a quarter of the frame in its middle, whatever the unit of a file
FRACTIONS = [0.25, 0.25, 0.75, 0.75]


def vggss_files(root: Path) -> list[str]:
    entries = [{"file": each, "class": "bell", "bbox": [FRACTIONS]} for each in IDS[:2]]
    (root / "vggss.json").write_text(json.dumps(entries))
    return IDS[:2]


def flickr_files(root: Path) -> list[str]:
    (root / "Annotations").mkdir()
    corners = "".join(f"<p>{pixel}</p>" for pixel in (64, 64, 192, 192))  # of 256
    annotator = f"<object><bbox><tag>1</tag>{corners}</bbox></object>"
    for frame in ("1001", "1002"):
        (root / "Annotations" / f"{frame}.xml").write_text(f"<a>{annotator * 3}</a>")
    return ["1001", "1002"]


def with_negative(files: Callable[[Path], list[str]], name: str) -> Callable[[Path], list[str]]:
    def written(root: Path) -> list[str]:
        frame, sound = files(root)
        pairs = [(frame, sound), (sound, frame)]
        rows = "".join(f"{one},{other},non-sounding\n" for one, other in pairs)
        (root / name).write_text(f"video,audio,label\n{rows}")
        return [frame, sound, *(f"{one}+{other}" for one, other in pairs)]

    return written


def is3_files(root: Path) -> list[str]:
    ids = ["cat_dog_7_cat", "cat_dog_7_dog"]
    entries = [{"image": f"images/{each}.png", "gt_box": [56, 56, 168, 168]} for each in ids]
    (root / "IS3_annotation.json").write_text(json.dumps(entries))
    return ids


def music_files(name: str) -> Callable[[Path], list[str]]:
    def written(root: Path) -> list[str]:
        box = {"normbox": [0.25, 0.25, 0.5, 0.5], "category_id": 1}
        entries = {f"video/part/{row}.jpg": {"bbox": [box]} for row in range(2)}
        (root / name).write_text(json.dumps(entries))
        return ["video/part/0", "video/part/1"]

    return written


def mixture_files(root: Path) -> list[str]:
    (root / "box").mkdir()
    for name in ("0001", "0002"):
        np.save(root / "box" / f"{name}.npy", np.array([[0.25, 0.25, 0.5, 0.5, 1.0]]))
    return ["0001", "0002"]


def ave_files(root: Path) -> list[str]:
    """Ten clips, of which the last four are tested: background, then 4 to 1 seconds of Bark."""
    lines = [f"Bark&testvideo{row:02d}&good&{row}&10" for row in range(10)]
    (root / "Annotations.txt").write_text("\n".join(lines))
    with h5py.File(root / "test_order.h5", "w") as file:
        file["order"] = [6, 7, 8, 9]
    return [f"testvideo{row:02d}@2" for row in (6, 7, 8, 9)]


FILES: dict[str, Callable[[Path], list[str]]] = {
    "vggss": vggss_files,
    "vggss_extended": with_negative(vggss_files, "vggss_test_plus_silent.csv"),
    "flickr": flickr_files,
    "flickr_extended": with_negative(flickr_files, "flickr_test_plus_silent.csv"),
    "is3": is3_files,
    "ave": ave_files,
    "music_solo": music_files("solotest.json"),
    "music_duet": music_files("duettest.json"),
    "music_synthetic": mixture_files,
}


@pytest.mark.parametrize("data", [name for name in FILES if name != "ave"])  # it has no boxes
def test_the_box_itself_is_found_whatever_the_annotation_format(
    data: str, bench: Bench, tmp_path: Path
) -> None:
    ids = FILES[data](tmp_path)
    maps = np.zeros((len(ids), SIDE, SIDE), dtype=np.float32)
    maps[:, SQUARE, SQUARE] = 1
    predictions = write_npz(tmp_path / "maps.npz", ids, heatmap=maps)

    found = board(bench, "--predictions", predictions, "--data", data, "--root", tmp_path,
                  "--protocol", "senocak", "--no-floors")  # fmt: skip

    assert (found["data"], found["n"], found["missing"]) == (data, len(ids), [])
    assert (found["metrics"]["mean_iou"], found["metrics"]["auc"]) == (1.0, pytest.approx(1.0))


def test_masks_stand_in_for_boxes(bench: Bench, folder: Path, tmp_path: Path) -> None:
    masks, height = tmp_path / "masks", 6
    masks.mkdir()
    for sample_id in IDS[:4]:
        cv2.imwrite(str(masks / f"{sample_id}.png"), (255 * bands([height])[0]).astype(np.uint8))
    maps = write_npz(tmp_path / "maps.npz", IDS[:4], heatmap=bands([6, 3, 6, 4]))

    found = board(bench, "--predictions", maps, "--data", "vggss", "--annotations", masks,
                  "--no-floors")  # fmt: skip

    assert found["n_expected"] == 4
    assert found["metrics"]["mean_iou"] == pytest.approx((1 + 1 / 2 + 1 + 2 / 3) / 4, abs=1e-12)
    assert any("in place of boxes" in note for note in found["notes"])


def test_a_list_chooses_the_samples_and_their_order(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = [IDS[4], IDS[1], IDS[2]]
    (tmp_path / "short.txt").write_text("\n".join(chosen))

    found = board(bench, *vggss, "--list", tmp_path / "short.txt",
                  "--per-sample", tmp_path / "scores.csv")  # fmt: skip

    assert (found["n"], found["n_expected"], found["missing"]) == (3, 3, [])
    assert found["metrics"]["mean_iou"] == pytest.approx(OVERLAP[[4, 1, 2]].mean(), abs=1e-12)
    assert table_of(tmp_path / "scores.csv")["id"].tolist() == chosen
    (warning,) = caplog.messages
    assert f"7 of 10 predictions left out, not on the list short, the first is {IDS[0]}" in warning


def test_several_protocols_stand_in_the_order_of_the_command(
    bench: Bench, vggss: tuple[Any, ...]
) -> None:
    words = ("--protocol", "sspl", "--protocol", "lvs", "--protocol", "sspl")

    found = boards(bench, *vggss, *words)

    assert [each["protocol"] for each in found] == ["sspl", "lvs"]
    assert found[0] == board(bench, *vggss, "--protocol", "sspl")
    assert found[1] == board(bench, *vggss, "--protocol", "lvs")


def test_all_stands_for_every_protocol(bench: Bench, vggss: tuple[Any, ...]) -> None:
    found = boards(bench, *vggss, "--protocol", "all", "--map-range", 0, 1)

    assert [each["protocol"] for each in found] == list(PROTOCOLS)
    assert [each["oracle"] for each in found] == [name == "align-adaptive" for name in PROTOCOLS]


def test_json_holds_the_promised_keys_and_the_means_of_the_table(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    found = board(bench, *vggss, "--protocol", "lvs", "--per-sample", tmp_path / "scores.csv")

    table = table_of(tmp_path / "scores.csv")
    columns = {"ciou@0.5": "hit@0.5", "ciou@0.3": "hit@0.3", "iou@0.5": "hit@0.5",
               "mean_iou": "ciou"}  # fmt: skip
    means = {key: table[columns.get(key, key)].mean() for key in found["metrics"]}
    assert set(found) >= KEYS
    assert table["hit@0.5"].tolist() == (table["ciou"] >= 0.5).tolist()
    assert table["auc"].mean() == pytest.approx(area_under(table["ciou"]), abs=1e-12)
    assert found["metrics"] == pytest.approx(means, abs=1e-12)
    assert found["ci95"].keys() == means.keys()
    assert all(low <= means[key] + 1e-12 <= high + 2e-12 for key, (low, high)
               in found["ci95"].items())  # fmt: skip


def test_the_table_of_samples_has_a_row_each_and_the_id_first(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    done = bench("score", *vggss, "--per-sample", tmp_path / "scores.csv")

    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("id,ciou,hit@0.5,hit@0.3,auc,")
    assert [line.split(",")[0] for line in lines[1:]] == IDS
    assert f"Per sample: {tmp_path / 'scores.csv'}" in done.out


def test_several_protocols_write_a_table_each(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    found = boards(bench, *vggss, "--protocol", "lvs", "--protocol", "ezvsl", "--per-sample",
                   tmp_path / "scores.csv")  # fmt: skip

    tables = {each["protocol"]: table_of(tmp_path / f"scores.{each['protocol']}.csv")
              for each in found}  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.ezvsl.csv",
                                                                "scores.lvs.csv"]  # fmt: skip
    for each in found:
        expected = tables[each["protocol"]]["ciou"].mean()
        assert each["metrics"]["mean_iou"] == pytest.approx(expected, abs=1e-12)


def test_a_further_bar_is_a_further_key(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    words = ("--success", 0.75, "--success", 1, "--per-sample", tmp_path / "scores.csv")

    found = board(bench, *vggss, *words)

    assert found["metrics"]["ciou@0.75"] == pytest.approx(np.mean(OVERLAP >= 0.75), abs=1e-12)
    assert found["metrics"]["ciou@1.0"] == pytest.approx(np.mean(OVERLAP == 1), abs=1e-12)
    assert table_of(tmp_path / "scores.csv")["hit@0.75"].tolist() == (OVERLAP >= 0.75).tolist()


def test_parts_are_scored_on_their_own(bench: Bench, vggss: tuple[Any, ...]) -> None:
    found = board(bench, *vggss, "--by", "size", "--by", "category")["groups"]

    parts = {
        "size": {"medium": MARKED < 2, "large": (MARKED > 1) & (MARKED < 4), "huge": MARKED > 3},
        "category": {"bell": np.arange(10) % 2 == 0, "dog": np.arange(10) % 2 == 1},
    }
    assert {kind: [part["name"] for part in found[kind]] for kind in found} == {
        kind: list(names) for kind, names in parts.items()
    }
    for kind, names in parts.items():
        for part in found[kind]:
            overlap = OVERLAP[names[part["name"]]]
            assert part["n"] == len(overlap)
            assert part["metrics"]["mean_iou"] == pytest.approx(overlap.mean(), abs=1e-12)


def constant_logits(count: int, label: int) -> np.ndarray:
    """Logits ``(count, 10, 29)`` of a program that answers one class for every second."""
    return np.broadcast_to(np.eye(29, dtype=np.float32)[label], (count, 10, 29))


def test_seconds_of_ave_are_scored_from_logits_alone(bench: Bench, tmp_path: Path) -> None:
    ids = ave_files(tmp_path)
    path = write_npz(tmp_path / "bark.npz", ids, segment_logits=constant_logits(4, 2))
    given = ("--predictions", path, "--data", "ave", "--root", tmp_path)

    of_bench, of_slavc = boards(bench, *given, "--protocol", "bench-v1", "--protocol",
                                "slavc-absolute")  # fmt: skip

    assert of_bench["metrics"] == {"segment_acc": pytest.approx(0.25)}  # 4, 3, 2, 1 of 10
    assert of_slavc["metrics"] == of_bench["metrics"]
    assert (of_bench["n"], of_bench["n_expected"], of_bench["excluded"]) == (4, 4, [])
    assert of_bench["floors"] == {  # 7, 7, 8 and 8 of 10 are background
        "background": {"segment_acc": pytest.approx(0.75)},
        "clip_label": {"segment_acc": pytest.approx(0.25)},
    }
    assert (of_bench["ceiling"], of_bench["partial"]) == ({"segment_acc": 1.0}, False)
    assert "segment_acc" in bench("score", *given, "--by", "category").out


def test_maps_alone_are_refused_for_ave(bench: Bench, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "maps.npz", ave_files(tmp_path), heatmap=np.ones((4, 7, 7)))
    given = ("--predictions", path, "--data", "ave", "--root", tmp_path)

    done, by_size = bench("score", *given), bench("score", *given, "--by", "size")

    assert (done.code, done.out, by_size.code) == (2, "", 2)
    assert "'testvideo06@2' has no box, only classes of its segments" in done.err
    assert "has no boxes or masks; leave --by size out" in by_size.err


def test_all_background_is_right_in_715_of_the_4020_test_seconds_of_ave(
    bench: Bench, shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "annotations" / "ave"
    ids = [truth.id for truth in ground_truth("ave", root=root).truth]
    path = write_npz(tmp_path / "none.npz", ids, segment_logits=constant_logits(402, 28))

    found = board(bench, "--predictions", path, "--data", "ave", "--root", root)

    assert (found["n"], found["n_expected"]) == (402, 402)
    assert found["metrics"] == {"segment_acc": pytest.approx(715 / 4020, abs=1e-12)}  # 17.8 %


def test_the_help_tells_the_arrays_and_the_data_sets(bench: Bench) -> None:
    words = bench("score", "--help").out.split()

    told = {word.strip(",;.") for word in words}
    assert {"id", "heatmap", "confidence", "boxes", "source_heatmap", "map_range"} <= told
    assert set(READERS) <= told


@pytest.fixture
def with_floors(folder: Path) -> tuple[Any, ...]:
    return ("--predictions", folder / "maps.npz", "--data", "vggss", "--root", folder,
            "--protocol", "lvs")  # fmt: skip


def test_floors_and_ceiling_stand_beside_the_scores(
    bench: Bench, with_floors: tuple[Any, ...]
) -> None:
    found = board(bench, *with_floors)

    truth = bands(MARKED) > 0
    offset = np.arange(SIDE) - (SIDE - 1) / 2
    nearness = -np.hypot(offset[:, None], offset)
    disc = nearness > np.sort(nearness, axis=None)[SIDE * SIDE // 2]
    of_disc = [(disc & mask).sum() / (disc | mask).sum() for mask in truth]
    kept, area = SIDE * SIDE // 2 - 1, truth.sum(axis=(1, 2))
    best = np.minimum(kept, area) / np.maximum(kept, area)
    assert set(found["floors"]) == {"full", "center", "mean_box", "random"}
    assert found["floors"]["full"]["ciou@0.5"] == pytest.approx(np.mean(MARKED >= 4))
    assert found["floors"]["full"]["mean_iou"] == pytest.approx(np.mean(MARKED / 8), abs=1e-12)
    assert found["floors"]["center"]["mean_iou"] == pytest.approx(np.mean(of_disc), abs=1e-3)
    assert found["ceiling"]["ciou@0.5"] == pytest.approx(np.mean(best >= 0.5))
    assert found["ceiling"]["mean_iou"] == pytest.approx(best.mean(), abs=1e-12)
    assert found["skill"]["ciou@0.3"] is None  # the floor is as high as the ceiling


def test_plateaus_above_the_ceiling_have_no_skill_and_are_told(
    bench: Bench, with_floors: tuple[Any, ...]
) -> None:
    found = board(bench, *with_floors)

    assert found["metrics"]["mean_iou"] > found["ceiling"]["mean_iou"]
    assert found["skill"]["mean_iou"] is None
    assert any("equal pixels" in note and "mean_iou" in note for note in found["notes"])


def test_the_skill_of_distinct_pixels_is_the_way_from_floor_to_ceiling(
    bench: Bench, with_floors: tuple[Any, ...], folder: Path, tmp_path: Path
) -> None:
    with np.load(folder / "maps.npz") as given:
        ids, maps = given["id"], given["heatmap"]
    noise = np.random.default_rng(0).random((len(maps), 14, 14), dtype=np.float32)
    np.savez(tmp_path / "noise.npz", id=ids, heatmap=noise)
    words = [
        tmp_path / "noise.npz" if word == folder / "maps.npz" else word for word in with_floors
    ]

    found = board(bench, *words)

    floor = max(each["mean_iou"] for each in found["floors"].values())
    gap = found["ceiling"]["mean_iou"] - floor
    expected = (found["metrics"]["mean_iou"] - floor) / gap if gap > 0 else None
    assert found["skill"]["mean_iou"] == pytest.approx(expected, abs=1e-9)


def test_without_floors_nothing_of_them_is_shown(bench: Bench, vggss: tuple[Any, ...]) -> None:
    found, shown = board(bench, *vggss), bench("score", *vggss)

    assert (found["floors"], found["ceiling"]) == ({}, {})
    assert [word for word in ("floor", "ceiling", "skill") if word in shown.out] == []


def test_the_same_command_twice_gives_the_same_bytes(
    bench: Bench, with_floors: tuple[Any, ...], tmp_path: Path
) -> None:
    words = ("score", *with_floors, "--by", "size", "--json", "--per-sample")

    first = bench(*words, tmp_path / "first.csv")
    second = bench(*words, tmp_path / "second.csv")

    assert first == second
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


def test_the_order_of_the_rows_changes_no_byte(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    order = np.random.default_rng(0).permutation(10)
    write_npz(tmp_path / "maps.npz", np.array(IDS)[order], heatmap=bands(FOUND)[order])
    words = ("--protocol", "bench-v1", "--protocol", "lvs", "--by", "size", "--json")
    in_order = bench("score", *vggss, *words, "--per-sample", tmp_path / "a.csv")

    mixed = bench("score", *vggss, "--predictions", tmp_path / "maps.npz", *words, "--per-sample",
                  tmp_path / "b.csv")  # fmt: skip

    assert in_order.out == mixed.out
    for name in ("bench-v1", "lvs"):
        written = [(tmp_path / f"{file}.{name}.csv").read_bytes() for file in "ab"]
        assert written[0] == written[1]


def test_another_seed_moves_the_intervals_alone(bench: Bench, vggss: tuple[Any, ...]) -> None:
    first, other = board(bench, *vggss), board(bench, *vggss, "--seed", 1)

    assert first["metrics"] == other["metrics"]
    assert first["ci95"]["mean_iou"] != other["ci95"]["mean_iou"]


def cached(folder: Path) -> dict[str, int]:
    """Files of the cache of floors and the time of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cache").rglob("*.json")}


def test_floors_are_computed_once_per_truth_and_protocol(
    bench: Bench, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))
    maps = write_npz(tmp_path / "maps.npz", IDS[:3], heatmap=bands(FOUND[:3]))
    write_vggss(tmp_path / "vggss.json", IDS[:3], MARKED[:3])
    words = ("--predictions", maps, "--data", "vggss", "--root", tmp_path, "--protocol")
    first = board(bench, *words, "lvs")
    cold = cached(tmp_path)

    again = board(bench, *words, "lvs")
    warm = cached(tmp_path)
    board(bench, *words, "ezvsl")
    write_vggss(tmp_path / "vggss.json", IDS[:3], MARKED[3:6])
    changed = board(bench, *words, "lvs")

    assert len(cold) == 5  # four floors and the ceiling
    assert (first, cold) == (again, warm)
    assert len(cached(tmp_path)) == 15
    assert changed["floors"]["full"]["mean_iou"] == pytest.approx(MARKED[3:6].mean() / 8)


def test_the_table_says_how_long_scores_and_floors_took(
    bench: Bench, with_floors: tuple[Any, ...]
) -> None:
    done = bench("score", *with_floors)

    (line,) = [line for line in done.out.splitlines() if line.startswith("seconds")]
    assert "for scores" in line
    assert "for floors and ceiling, kept for the next time" in line


def test_missing_samples_are_listed_counted_and_warned_of_in_one_line(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = write_npz(tmp_path / "part.npz", IDS[2:9], heatmap=bands(FOUND[2:9]))
    words = ("--predictions", part, "--protocol", "bench-v1", "--protocol", "lvs")

    found = boards(bench, *vggss, *words)

    for each in found:
        assert (each["n"], each["n_expected"]) == (7, 10)
        assert each["missing"] == [IDS[0], IDS[1], IDS[9]]
    assert found[0]["metrics"]["mean_iou"] == pytest.approx(OVERLAP[2:9].mean(), abs=1e-12)
    assert caplog.messages == [f"{part}: 3 of 10 samples have no prediction, the first is {IDS[0]}"]


MODULES_AFTER_SCORING = """
import contextlib, io, json, sys
from benchmark.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    code = main(sys.argv[1:])
print(json.dumps([code, out.getvalue(), sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_scoring_by_an_annotation_file_is_light_and_quiet(
    vggss: tuple[Any, ...], python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    done = python("-c", MODULES_AFTER_SCORING, "score", *vggss, "--json", cwd=tmp_path)

    code, out, loaded = json.loads(done.stdout)
    assert (code, done.stderr) == (0, "")
    assert json.loads(out)["n"] == 10
    assert {"torch", "pandas", "pytorch_lightning", "torchmetrics", "omegaconf", "timm",
            "matplotlib", "faiss"}.isdisjoint(loaded)  # fmt: skip


def test_warnings_go_to_standard_error(
    vggss: tuple[Any, ...], python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    part = write_npz(tmp_path / "part.npz", IDS[1:], heatmap=bands(FOUND[1:]), other=np.ones(9))
    words = (*vggss, "--predictions", part, "--json")

    done = python("-m", "benchmark.cli", "score", *words, cwd=tmp_path)

    assert done.stderr.splitlines() == [
        f"{part}: arrays left out, not known: other",
        f"{part}: 1 of 10 samples have no prediction, the first is {IDS[0]}",
    ]
    assert json.loads(done.stdout)["n"] == 9


@pytest.fixture(scope="module")
def runs(bench: Bench, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a trained run and of a floor's run on 60 clips of `synthetic`."""
    place = tmp_path_factory.mktemp("runs")
    trained = tiny("data.test_clips=60", "trainer.max_epochs=1")
    settings = {
        "lvs_vanilla": trained,
        "center": tuple(word for word in trained if not word.startswith("method.")),
    }
    for method, words in settings.items():
        done = bench("run", "--method", method, "--data", "synthetic", *words,
                     f"logging.runs={place}")  # fmt: skip
        assert done.code == 0, done.err
    return {method: next(place.glob(f"*-{method}-synthetic-*")) for method in settings}


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return record


@pytest.mark.parametrize("method", ["lvs_vanilla", "center"])
def test_a_run_scored_again_gives_its_own_record_to_the_last_digit(
    method: str, bench: Bench, runs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    record = record_of(runs[method])

    found = board(bench, "--predictions", runs[method])

    assert (found["data"], found["n"], found["n_expected"]) == ("synthetic", 60, 60)
    assert found["list_sha256"] == record["splits"]["test"]["sha256"]
    assert record["metrics"].items() <= found["metrics"].items()
    assert record["ci95"].items() <= found["ci95"].items()
    assert record["ceiling"] == found["ceiling"]
    assert found["floors"] == {
        name: figures["metrics"] for name, figures in record["floors"].items()
    }
    assert any(key.startswith("swap_") for key in record["metrics"]) == (method != "center")
    assert caplog.messages == []


@pytest.mark.parametrize("method", ["lvs_vanilla", "center"])
def test_a_run_scored_again_gives_its_recorded_figures_under_rules_of_the_field(
    method: str, bench: Bench, runs: dict[str, Path]
) -> None:
    recorded = record_of(runs[method])["protocols"]

    found = boards(bench, "--predictions", runs[method], "--protocol", "lvs", "--protocol",
                   "ezvsl", "--no-floors")  # fmt: skip

    assert set(recorded) == {each["protocol"] for each in found}
    for each in found:
        figures = recorded[each["protocol"]]
        assert figures["metrics"].items() <= each["metrics"].items()
        assert figures["ci95"].items() <= each["ci95"].items()


def test_a_run_scored_on_more_clips_than_it_was_tested_on_is_warned_of(
    bench: Bench, runs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    found = board(bench, "--predictions", runs["lvs_vanilla"], "--no-floors", "data.test_clips=64")

    assert (found["n"], found["n_expected"], len(found["missing"])) == (60, 64, 4)
    assert any("was to be tested on 60 samples" in message for message in caplog.messages)


def test_a_run_on_a_miniature_is_scored_from_its_annotations_and_its_own_list(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, annotations = tmp_path / "vggss", tmp_path / "annotations"
    write_sample("vggss", root, clips=24)
    annotations.mkdir()
    shutil.copy(root / "vggss.json", annotations)
    tested = [entry["file"] for entry in json.loads((root / "vggss.json").read_text())][1:]
    for place in (root, annotations):
        (place / "part.txt").write_text("\n".join(tested))
    done = bench("run", "--method", "lvs_vanilla", "--data", "vggss", "--preset", "small",
                 f"data.root={root}", "data.test_list=part.txt", "method.image_size=32",
                 "data.batch_size=4", "trainer.max_epochs=1",
                 f"logging.runs={tmp_path / 'runs'}")  # fmt: skip
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "runs").glob("*-lvs_vanilla-vggss-*")
    shutil.rmtree(root)
    caplog.clear()

    found = board(bench, "--predictions", folder, "--root", annotations, "--no-floors")

    assert (found["data"], found["n"], found["n_expected"]) == ("vggss", 5, 5)
    assert record_of(folder)["metrics"].items() <= found["metrics"].items()
    assert caplog.messages == []


Refused = Callable[..., str]


@pytest.fixture
def refused(bench: Bench, folder: Path, tmp_path: Path) -> Refused:
    """The message of a command that must be refused and write nothing, without its prefix."""

    def files() -> dict[Path, bytes]:
        places = (tmp_path, folder)
        return {path: path.read_bytes() for each in places for path in each.rglob("*")
                if path.is_file()}  # fmt: skip

    def message(*words: object) -> str:
        before = files()
        done = bench("score", *words)
        (line,) = done.err.splitlines()
        assert (done.code, done.out) == (2, "")
        assert line.startswith("bench: ")
        assert files() == before
        return line.removeprefix("bench: ")

    return message


@pytest.fixture
def refused_file(refused: Refused, vggss: tuple[Any, ...], tmp_path: Path) -> Refused:
    """The message about a file of the given arrays; they replace those of the ten maps."""

    def message(**changed: Any) -> str:
        arrays = {"id": np.array(IDS), "heatmap": bands(FOUND)[:, ::32, ::32], **changed}
        path = tmp_path / "spoilt.npz"
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        words = ("--per-sample", tmp_path / "scores.csv", "--protocol", "lvs", "--protocol", "sspl")
        said = refused(*vggss, "--predictions", path, *words)
        assert said.startswith(f"{path}")
        return said.removeprefix(f"{path}").removeprefix(":").strip()

    return message


def with_cell(value: float) -> np.ndarray:
    maps = bands(FOUND)[:, ::32, ::32].astype(np.float64)
    maps[3, 2, 1] = value
    return maps


def with_box(*corners: float) -> np.ndarray:
    boxes = np.repeat(np.array([[[0.0, 0.0, 1.0, 0.5]]]), 10, axis=0)
    boxes[3, 0] = corners
    return boxes


def with_confidence(value: float) -> np.ndarray:
    confidence = np.arange(10.0)
    confidence[3] = value
    return confidence


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"heatmap": with_cell(np.nan)}, f"map of {IDS[3]!r} holds NaN, infinity or"),
        ({"heatmap": with_cell(np.inf)}, f"map of {IDS[3]!r} holds NaN, infinity or"),
        ({"heatmap": with_cell(1e39)}, f"map of {IDS[3]!r} holds NaN, infinity or a range beyond"),
        ({"heatmap": np.ones((10, 49))}, "heatmap must be (10, h, w), a row per id, got (10, 49)"),
        ({"heatmap": np.ones((10, 0, 7))}, "heatmap must be (10, h, w), a row per id, got (10, 0"),
        ({"heatmap": np.ones((9, 7, 7))}, "heatmap must be (10, h, w), a row per id, got (9, 7, 7"),
        ({"heatmap": np.full((10, 7, 7), 1j)}, "heatmap must hold real numbers, got complex128"),
        ({"heatmap": np.full((10, 7, 7), "1")}, "heatmap must hold real numbers, got <U1"),
        ({"heatmap": None}, "predictions hold no maps; write heatmap (N, h, w) or boxes"),
        ({"id": None}, "holds no array 'id'; write id (N,) of text"),
        ({"id": np.arange(10)}, "id must be (N,) of text, got (10,) of int64; write"),
        ({"id": np.array(IDS, dtype=np.bytes_)}, "id must be (N,) of text, got (10,) of |S18"),
        ({"id": np.array([IDS])}, "id must be (N,) of text, got (1, 10) of <U18"),
        ({"id": np.array(IDS[:0], str), "heatmap": np.ones((0, 7, 7))}, "holds no row; write a"),
        ({"id": np.array([*IDS[:9], "nobody"])}, "predictions hold 'nobody', which is not among"),
        ({"id": np.array([*IDS[:9], IDS[0]])}, f"{IDS[0]!r} occurs more than once; keep one row"),
        ({"confidence": with_confidence(np.nan)}, f"confidence of {IDS[3]!r} is NaN; write finite"),
        ({"confidence": with_confidence(np.inf)}, f"confidence of {IDS[3]!r} must be finite"),
        ({"confidence": np.ones((10, 1))}, "confidence must be (10,), a row per id, got (10, 1)"),
        ({"boxes": np.ones((10, 4))}, "boxes must be (10, K, 4), a row per id, got (10, 4)"),
        ({"boxes": with_box(0, 0, 1, 1), "box_scores": np.ones(10)}, "box_scores must be (N, K)"),
        ({"source_heatmap": np.ones((10, 2, 7, 7)), "source_count": np.full(10, 3)},
         f"source_count of {IDS[0]!r} must be in [1, 2], got 3"),
        ({"segment_logits": np.full((10, 2, 3), np.nan)}, f"segment_logits of {IDS[0]!r} holds"),
        ({"map_range": np.array([1.0, 0.0])}, "map_range must be (2,) finite numbers, low < high"),
        ({"map_range": np.array([0.0, np.nan])}, "map_range must be (2,) finite numbers, low <"),
        ({"map_range": np.array(1.0)}, "map_range must be (2,) finite numbers, low < high, got 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_an_array_that_cannot_be_scored(
    arrays: dict[str, Any], words: str, refused_file: Refused
) -> None:
    assert refused_file(**arrays).startswith(words)


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ((0, 0, 112, 112), "lies outside the frame, got [0.0, 0.0, 112.0, 112.0]; write xyxy in"),
        ((-0.1, 0, 1, 1), "lies outside the frame, got [-0.1, 0.0, 1.0, 1.0]"),
        ((0, 0, np.nan, 1), "lies outside the frame, got [0.0, 0.0, nan, 1.0]"),
        ((0, 0, np.inf, 1), "lies outside the frame, got [0.0, 0.0, inf, 1.0]"),
        ((0.6, 0, 0.4, 1), "must be xyxy with x1 <= x2 and y1 <= y2, got [0.6, 0.0, 0.4, 1.0]"),
    ],
)
def test_a_box_that_cannot_be(
    corners: tuple[float, ...], words: str, refused_file: Refused
) -> None:
    message = refused_file(heatmap=None, boxes=with_box(*corners))

    assert message.startswith(f"a box of {IDS[3]!r} {words}")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["heatmap", "id", "confidence", "map_range"])
def test_an_array_of_objects_is_refused_and_never_unpickled(
    name: str, refused_file: Refused, tmp_path: Path
) -> None:
    objects = np.empty(10, dtype=object)
    objects[:] = [Trap(tmp_path / "sprung") for _ in IDS]

    message = refused_file(**{name: objects})

    assert message.startswith("cannot be read as .npz (it holds Python objects); write plain")
    assert not (tmp_path / "sprung").exists()


def test_objects_of_an_unknown_name_are_not_unpickled_either(
    bench: Bench, vggss: tuple[Any, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = np.array([Trap(tmp_path / "sprung")], dtype=object)
    path = write_npz(tmp_path / "maps.npz", heatmap=bands(FOUND), notes=objects)

    assert board(bench, *vggss, "--predictions", path)["n"] == 10
    assert caplog.messages == [f"{path}: arrays left out, not known: notes"]
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.95, 0.9999])
def test_a_truncated_file_of_predictions(
    share: float, refused: Refused, vggss: tuple[Any, ...], folder: Path, tmp_path: Path
) -> None:
    content = (folder / "maps.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(share * len(content))])

    message = refused(*vggss, "--predictions", tmp_path / "cut.npz")

    assert message.startswith(f"{tmp_path / 'cut.npz'} cannot be read as .npz (it is no archive of "
                              "arrays, or a part of it is missing)")  # fmt: skip


def test_files_that_are_no_archives(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    np.save(tmp_path / "maps.npy", bands(FOUND))
    (tmp_path / "text.npz").write_text("id,heatmap\n")

    for name in ("maps.npy", "text.npz"):
        message = refused(*vggss, "--predictions", tmp_path / name)
        assert message.startswith(f"{tmp_path / name} cannot be read as .npz (it is no archive of")
        assert message.endswith("; write plain arrays with numpy.savez")


def test_predictions_that_are_not_there(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    (tmp_path / "unfinished").mkdir()

    nothing = refused(*vggss, "--predictions", tmp_path / "none.npz")
    unfinished = refused(*vggss, "--predictions", tmp_path / "unfinished")

    assert nothing.startswith(f"{tmp_path / 'none.npz'} does not exist; give --predictions")
    assert unfinished.startswith(f"{tmp_path / 'unfinished' / 'record.json'} does not exist; a run")


def test_no_list_is_named_by_none_of_the_ids(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path, folder: Path
) -> None:
    other = "ZZZZZZZZZZZ_000009"
    write_vggss(tmp_path / "vggss.json", [*IDS, other], [*MARKED, 4])
    (tmp_path / "other.txt").write_text(other)

    message = refused(*vggss, "--annotations", tmp_path / "vggss.json", "--list",
                      tmp_path / "other.txt")  # fmt: skip

    assert message == f"{folder / 'maps.npz'}: none of its 10 ids is on the list other"


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        ("vggss", "vggss.json", "is not readable JSON"),
        ("is3", "IS3_annotation.json", "is not readable JSON"),
        ("music_duet", "duettest.json", "is not readable JSON"),
        ("flickr", "Annotations/1002.xml", "is not readable XML"),
    ],
)
def test_truncated_annotations(
    data: str, name: str, words: str, refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    FILES[data](tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])

    message = refused(*vggss[:2], "--data", data, "--root", tmp_path)

    assert message.startswith(f"{tmp_path / name} {words}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "vgss"), "unknown data set 'vgss'. Did you mean vggss? Ids can be scored of:"),
        (("--protocol", "lsv"), "unknown protocol 'lsv'. Did you mean lvs? Run bench list"),
        (("--by", "siz"), "unknown kind --by 'siz'. Did you mean size? Use category or size."),
        (("--by", "colour"), "unknown kind --by 'colour'. Use category or size."),
        (("--map-range", 1, 0), "--map-range must be LOW < HIGH, got 1.0 0.0"),
        (("--map-range", 1, 1), "--map-range must be LOW < HIGH, got 1.0 1.0"),
        (("--map-range", 0, "nan"), "--map-range must be LOW < HIGH, got 0.0 nan"),
        (("--map-range", 0, "inf"), "--map-range must be LOW < HIGH, got 0.0 inf"),
        (("--success", 0), "--success must lie in (0, 1], got 0.0"),
        (("--success", 2), "--success must lie in (0, 1], got 2.0"),
        (("--success", "nan"), "--success must lie in (0, 1], got nan"),
        (("--seed", -1), "--seed must be at least 0, got -1"),
        (("--boxes",), "predictions hold no boxes; write boxes (N, K, 4) or score the maps"),
        (("data.root=x",), "'data.root=x' is no setting of --data vggss, which is read from its"),
        (("--list", "nowhere.txt"), "--list=nowhere.txt names no list file (tried"),
        (("--annotations", "nowhere.json"), "nowhere.json does not exist; give --annotations"),
        (("--root", "nowhere"), "nowhere is not a folder; give --root DIR"),
        (("--data", "synthetic"), "data set 'synthetic' makes its own truth; leave --annotations"),
    ],
    ids=lambda value: None if isinstance(value, str) else "_".join(map(str, value)),
)  # fmt: skip
def test_an_option_that_cannot_be(
    words: tuple[object, ...], message: str, refused: Refused, vggss: tuple[Any, ...]
) -> None:
    assert message in refused(*vggss, *words)


def test_ids_of_an_unknown_data_set(refused: Refused, folder: Path) -> None:
    message = refused("--predictions", folder / "maps.npz")

    assert message == "whose ids are these? Give --data D (see: bench list data)"


def test_maps_of_unknown_range_under_a_rule_that_goes_by_values(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    maps = write_npz(tmp_path / "maps.npz", heatmap=2 * bands(FOUND) - 1)

    message = refused(*vggss, "--predictions", maps, "--protocol", "slavc-absolute")

    assert message.startswith(f"{maps}: slavc-absolute goes by the values of a map, and these lie "
                              "in [-1, 1]; state the lowest")  # fmt: skip
    assert message.endswith("with --map-range LOW HIGH")


def test_groups_of_a_data_set_without_classes(refused: Refused, tmp_path: Path) -> None:
    ids = FILES["flickr"](tmp_path)
    maps = write_npz(tmp_path / "maps.npz", ids, heatmap=np.ones((2, 7, 7)))

    message = refused("--predictions", maps, "--data", "flickr", "--root", tmp_path, "--by",
                      "category")  # fmt: skip

    assert message == "flickr has no classes; leave --by category out"


def test_what_is_said_of_the_maps_of_a_floor(refused: Refused, runs: dict[str, Path]) -> None:
    for words in (("--boxes",), ("--map-range", 0, 1)):
        message = refused("--predictions", runs["center"], *words)
        assert message.startswith(f"{runs['center']} is a run of the floor 'center', which stores")


def test_settings_that_change_no_truth(refused: Refused, runs: dict[str, Path]) -> None:
    message = refused("--predictions", runs["center"], "optim.lr=1")

    assert message == (
        "optim.lr=1 is no setting of the data; only data.* settings may be given here"
    )


def test_a_table_of_samples_that_cannot_be_written(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "scores.sspl.csv").mkdir()  # of the second protocol
    two = ("--protocol", "lvs", "--protocol", "sspl")
    cases = {
        tmp_path / "nowhere" / "scores.csv": (f"({tmp_path / 'nowhere'} is no folder)", ()),
        tmp_path / "file" / "scores.csv": (f"({tmp_path / 'file'} is no folder)", ()),
        tmp_path / "folder.csv": ("(it is no file)", ()),
        tmp_path / "scores.csv": ("(it is no file)", two),
        tmp_path / f"{'x' * 250}.csv": ("(File name too long)", ()),
        Path(os.devnull): ("(it is no file)", ()),
    }

    for path, (reason, words) in cases.items():
        message = refused(*vggss, *words, "--per-sample", path)
        assert reason in message
        assert message.endswith("give --per-sample FILE in a folder that exists and that you may "
                                "write to")  # fmt: skip


def test_a_table_of_samples_in_place_of_what_is_read(
    refused: Refused, vggss: tuple[Any, ...], tmp_path: Path
) -> None:
    lists = tmp_path / "list.csv"
    lists.write_text("\n".join(IDS))
    maps = write_npz(tmp_path / "maps.npz", np.array(IDS), heatmap=bands(FOUND))
    before = maps.read_bytes()

    for path in (maps, lists):
        words = ("--predictions", maps, "--list", lists, "--per-sample", path)
        message = refused(*vggss, *words)
        assert message == f"{path} is not written (it is read); give --per-sample another FILE"
    assert (maps.read_bytes(), lists.read_text()) == (before, "\n".join(IDS))


def test_every_data_set_that_can_be_scored_has_files_here() -> None:
    assert set(READERS) == set(FILES)
    assert "synthetic" in DATA_REGISTRY.names()
