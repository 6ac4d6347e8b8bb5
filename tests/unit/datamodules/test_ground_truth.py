import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from datamodules.ground_truth import READERS, ground_truth
from metrics.errors import BenchError

ROOT = Path(__file__).parents[3]
CLIPS = [f"testvideo_{number}_000010" for number in range(4)]
FRAMES = ["vid_0_1000/frame_000/00001", "vid_0_1000/frame_001/00029"]
SOUNDS = ["cat_dog_12_cat", "cat_dog_12_dog"]
NEGATIVES = "video,audio,label\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def with_vggss(root: Path, ids: Sequence[str] = CLIPS) -> Path:
    root.mkdir(exist_ok=True)
    entries = [{"file": i, "class": f"of {i[10]}", "bbox": [[0.2, 0.2, 0.6, 0.6]]} for i in ids]
    (root / "vggss.json").write_text(json.dumps(entries))
    return root


def with_flickr(root: Path, ids: Sequence[str]) -> Path:
    folder = root / "Annotations"
    folder.mkdir()
    box = "<bbox><id>1</id><a>0</a><b>0</b><c>128</c><d>128</d></bbox>"
    for frame in ids:
        (folder / f"{frame}.xml").write_text(f"<a><x>{box}</x></a>")
    return root


def with_is3(root: Path) -> Path:
    entries = [{"image": f"x/{i}.jpg", "gt_box": [0, 0, 112, 224]} for i in SOUNDS]
    (root / "synthetic3240_bbox.json").write_text(json.dumps(entries))
    return root


def with_music(root: Path, name: str) -> Path:
    box = {"normbox": [0, 0, 0.5, 0.5], "category_id": 12}
    entries = {f"{FRAMES[0]}.jpg": {"bbox": [box]}, f"{FRAMES[1]}.jpg": {"bbox": []}}
    (root / name).write_text(json.dumps(entries))
    return root


def with_ave(root: Path, order: Sequence[int] | None = None) -> Path:
    lines = ["Bark&videovideo1&good&2&5", "Cat&videovideo1&good&0&10", "Cat&videovideo2&good&0&1"]
    (root / "Annotations.txt").write_text("\n".join(lines))
    if order is not None:
        with h5py.File(root / "test_order.h5", "w") as file:
            file["order"] = order
    return root


def with_masks(folder: Path, ids: Sequence[str], size: int = 4) -> Path:
    for number, sample_id in enumerate(ids):
        path = folder / f"{sample_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((size, size), dtype=np.uint8)
        mask[:, :number] = 255
        Image.fromarray(mask).save(path)
    return folder


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def ids_of(data: str, **places: Path) -> list[str]:
    return [sample.id for sample in ground_truth(data, **places).truth]


def test_the_usual_file_of_the_root_is_read(root: Path) -> None:
    found = ground_truth("vggss", root=with_vggss(root))

    assert [sample.id for sample in found.truth] == CLIPS
    assert (found.name, found.notes) == ("vggss", ())


def test_annotations_may_lie_in_metadata(root: Path) -> None:
    with_vggss(root / "metadata")

    assert ids_of("vggss", root=root) == CLIPS


def test_a_given_file_goes_before_that_of_the_root(root: Path, tmp_path: Path) -> None:
    other = with_vggss(tmp_path / "other", CLIPS[2:]) / "vggss.json"

    assert ids_of("vggss", root=with_vggss(root), annotations=other) == CLIPS[2:]


def test_a_given_folder_may_hold_the_usual_file(root: Path) -> None:
    assert ids_of("vggss", annotations=with_vggss(root)) == CLIPS


def test_a_list_chooses_ids_in_its_order(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", CLIPS[3], CLIPS[0])

    found = ground_truth("vggss", root=with_vggss(root), test_list=mine)

    assert [sample.id for sample in found.truth] == [CLIPS[3], CLIPS[0]]
    assert found.name == "mine"


def test_repeated_ids_of_a_list_are_counted(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", CLIPS[0], CLIPS[1], CLIPS[0])

    found = ground_truth("vggss", root=with_vggss(root), test_list=mine)

    assert (len(found.truth), found.notes) == (2, ("mine.txt: 1 repeated ids left out",))


def test_a_list_may_be_named_as_a_file_of_the_root(root: Path) -> None:
    written(with_vggss(root) / "short.txt", CLIPS[1])

    assert ids_of("vggss", root=root, test_list=Path("short")) == [CLIPS[1]]


def test_the_first_listed_id_without_annotation_is_named(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", CLIPS[0], "othervideo1_000001", "othervideo2_000001")

    with pytest.raises(
        BenchError,
        match=r"mine\.txt: 2 of 3 ids are not annotated in .*vggss\.json, the first is "
        r"othervideo1_000001; correct --list FILE",
    ):
        ground_truth("vggss", root=with_vggss(root), test_list=mine)


def test_the_flickr_list_is_used_where_it_is_found(root: Path) -> None:
    with_flickr(root, ["1", "22", "333"])
    written(root / "flickr_test.csv", "333,7", "1,0")

    found = ground_truth("flickr", root=root)

    assert [sample.id for sample in found.truth] == ["333", "1"]
    assert [len(boxes) for boxes in found.truth[0].boxes] == [1, 0, 0]


def test_the_flickr_list_is_also_found_beside_the_annotations(root: Path) -> None:
    with_flickr(root, ["1", "22", "333"])
    written(root / "flickr_test.csv", "22,7")

    assert ids_of("flickr", annotations=root / "Annotations") == ["22"]


def test_without_a_list_every_flickr_frame_is_tested_and_that_is_told(root: Path) -> None:
    found = ground_truth("flickr", root=with_flickr(root, ["22", "1"]))

    assert [sample.id for sample in found.truth] == ["1", "22"]
    assert found.notes[0] == "no flickr_test.csv was found, so every annotated frame is tested"


def test_suffixes_of_listed_frames_are_dropped(root: Path, tmp_path: Path) -> None:
    with_flickr(root, ["1", "22"])

    assert ids_of("flickr", root=root, test_list=written(tmp_path / "l.txt", "22.png")) == ["22"]


def test_a_sound_of_is3_knows_its_frame(root: Path) -> None:
    truth = ground_truth("is3", root=with_is3(root)).truth

    assert [(each.id, each.frame) for each in truth] == [(i, "cat_dog_12") for i in SOUNDS]


@pytest.mark.parametrize(
    ("data", "name"), [("music_solo", "solotest.json"), ("music_duet", "duettest.json")]
)
def test_frames_of_music_without_a_box_are_left_out(root: Path, data: str, name: str) -> None:
    found = ground_truth(data, root=with_music(root, name))

    assert [sample.id for sample in found.truth] == [FRAMES[0]]
    assert found.notes == (f"1 of 2 frames have no box in {name} and are left out",)


def test_listed_frames_of_music_may_end_in_jpg(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", f"{FRAMES[0]}.jpg")

    assert (
        ids_of("music_solo", root=with_music(root, "solotest.json"), test_list=mine) == FRAMES[:1]
    )


def test_a_listed_video_of_music_stands_for_its_annotated_frames(
    root: Path, tmp_path: Path
) -> None:
    mine = written(tmp_path / "mine.txt", "vid_0_1000.flac vid_0_1000.mp4", "other_0_1000")

    found = ground_truth("music_solo", root=with_music(root, "solotest.json"), test_list=mine)

    assert [sample.id for sample in found.truth] == FRAMES[:1]
    assert found.notes[0] == "mine.txt: 1 of 2 videos have no annotated frame"


def test_a_list_of_videos_that_are_not_annotated_is_named(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", "other_0_1000.flac other_0_1000.mp4")

    with pytest.raises(BenchError, match=r"mine\.txt: none of its 1 videos has an annotated frame"):
        ground_truth("music_solo", root=with_music(root, "solotest.json"), test_list=mine)


def test_only_masks_of_listed_videos_are_decoded(tmp_path: Path) -> None:
    folder = with_masks(tmp_path / "m", FRAMES)
    (folder / "broken_0_1000" / "frame_000").mkdir(parents=True)
    (folder / "broken_0_1000" / "frame_000" / "00000.png").write_bytes(b"no image")
    mine = written(tmp_path / "mine.txt", "vid_0_1000")

    assert ids_of("music_solo", annotations=folder, test_list=mine) == FRAMES


def test_negatives_follow_the_positives(root: Path) -> None:
    pairs = f"{CLIPS[0]},{CLIPS[1]},non-sounding\n"
    (with_vggss(root) / "vggss_test_plus_silent.csv").write_text(NEGATIVES + pairs)

    found = ground_truth("vggss_extended", root=root)

    assert [each.id for each in found.truth] == [*CLIPS, f"{CLIPS[0]}+{CLIPS[1]}"]
    assert [each.on_screen for each in found.truth] == [True] * 4 + [False]
    assert found.notes == ("1 negatives",)


def test_negatives_are_also_sought_beside_the_annotations(root: Path) -> None:
    pairs = f"{CLIPS[0]},{CLIPS[0]},non-sounding\n"
    (with_vggss(root) / "vggss_test_plus_silent.csv").write_text(NEGATIVES + pairs)

    found = ground_truth("vggss_extended", annotations=root / "vggss.json")

    assert len(found.truth) == 5


def test_a_list_may_mix_positives_and_negatives(root: Path, tmp_path: Path) -> None:
    with_flickr(root, ["1", "2"])
    (root / "flickr_test_plus_silent.csv").write_text(f"{NEGATIVES}1,2,non-sounding\n")
    mine = written(tmp_path / "mine.txt", "1+2", "2")

    assert ids_of("flickr_extended", root=root, test_list=mine) == ["1+2", "2"]


def test_the_extended_list_of_flickr_is_the_frames_of_its_negatives_and_these(root: Path) -> None:
    with_flickr(root, ["1", "2", "3"])
    rows = "1,2,non-sounding\n3,2,non-sounding\n"
    (root / "flickr_test_plus_silent.csv").write_text(NEGATIVES + rows)
    written(root / "flickr_test.csv", "1,0")

    assert ids_of("flickr_extended", root=root) == ["1", "3", "1+2", "3+2"]


def test_a_chosen_list_brings_the_negatives_of_its_frames(root: Path, tmp_path: Path) -> None:
    rows = "".join(f"{CLIPS[row]},{CLIPS[3]},non-sounding\n" for row in range(3))
    (with_vggss(root) / "vggss_test_plus_silent.csv").write_text(NEGATIVES + rows)
    mine = written(tmp_path / "mine.txt", CLIPS[2], CLIPS[0])

    found = ground_truth("vggss_extended", root=root, test_list=mine)

    negatives = [f"{CLIPS[row]}+{CLIPS[3]}" for row in (0, 2)]
    assert [each.id for each in found.truth] == [CLIPS[2], CLIPS[0], *negatives]
    assert found.notes == (
        "mine.txt is tested with 2 of 3 negatives, those of its frames",
        "2 negatives",
    )


def test_a_pair_is_no_id_of_a_plain_set(root: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.txt", f"{CLIPS[0]}+{CLIPS[1]}")

    with pytest.raises(BenchError, match=r"mine\.txt, line 1: the id .* is no <11-character"):
        ground_truth("vggss", root=with_vggss(root), test_list=mine)


def test_a_missing_list_of_negatives_is_named(root: Path) -> None:
    with pytest.raises(
        BenchError, match=r"vggss_test_plus_silent\.csv, which is neither beside .*--root DIR"
    ):
        ground_truth("vggss_extended", root=with_vggss(root))


def test_masks_stand_in_for_boxes_with_the_classes_of_the_root(root: Path, tmp_path: Path) -> None:
    masks = with_masks(tmp_path / "masks", [CLIPS[1], CLIPS[3]])

    found = ground_truth("vggss", root=with_vggss(root), annotations=masks)

    assert [(each.id, each.category) for each in found.truth] == [
        (CLIPS[1], "of 1"),
        (CLIPS[3], "of 3"),
    ]
    assert [each.mask is not None and each.mask.sum() for each in found.truth] == [0, 4]
    assert [each.boxes for each in found.truth] == [(), ()]
    assert found.notes == (
        f"masks of {masks} in place of boxes",
        f"1 of 2 masks mark nothing, the first is {CLIPS[1]}",
    )


def test_masks_need_no_root(tmp_path: Path) -> None:
    (sample,) = ground_truth("vggss", annotations=with_masks(tmp_path / "m", CLIPS[:1])).truth

    assert sample.category is None


def test_masks_of_is3_know_frame_and_class_by_their_names(tmp_path: Path) -> None:
    truth = ground_truth("is3", annotations=with_masks(tmp_path / "m", SOUNDS)).truth

    assert [(each.frame, each.category) for each in truth] == [
        ("cat_dog_12", "cat"),
        ("cat_dog_12", "dog"),
    ]


def test_masks_of_ids_with_slashes_lie_in_folders(tmp_path: Path) -> None:
    assert ids_of("music_solo", annotations=with_masks(tmp_path / "m", FRAMES)) == FRAMES


def test_masks_of_flickr_are_not_cut_by_its_usual_list(root: Path, tmp_path: Path) -> None:
    written(root / "flickr_test.csv", "7,0")

    assert ids_of("flickr", root=root, annotations=with_masks(tmp_path / "m", ["1"])) == ["1"]


def test_a_listed_id_without_a_mask_is_named(tmp_path: Path) -> None:
    masks = with_masks(tmp_path / "m", CLIPS[:2])
    mine = written(tmp_path / "mine.txt", CLIPS[1], CLIPS[2])

    with pytest.raises(BenchError, match=rf"1 of 2 ids are not .* the first is {CLIPS[2]}"):
        ground_truth("vggss", annotations=masks, test_list=mine)


def test_only_masks_of_the_list_are_decoded(tmp_path: Path) -> None:
    masks = with_masks(tmp_path / "m", CLIPS[:2])
    (masks / f"{CLIPS[0]}.png").write_bytes(b"")

    mine = written(tmp_path / "mine.txt", CLIPS[1])

    assert ids_of("vggss", annotations=masks, test_list=mine) == [CLIPS[1]]


def test_a_mask_whose_name_is_no_id_is_named(tmp_path: Path) -> None:
    masks = with_masks(tmp_path / "m", ["frames/zpWuikVorYg_000032"])

    with pytest.raises(BenchError, match=r"000032\.png: the id 'frames/zp.*' is no <11-character"):
        ground_truth("vggss", annotations=masks)


def test_the_seconds_of_ave_are_those_of_its_order_file(root: Path) -> None:
    found = ground_truth("ave", root=with_ave(root, order=[2, 0]))

    assert [each.id for each in found.truth] == ["videovideo2@22", "videovideo1@2"]
    assert [each.segments.tolist() for each in found.truth if each.segments is not None] == [
        [22] + [28] * 9, [28, 28, 2, 2, 2, 28, 28, 28, 28, 28],
    ]  # fmt: skip
    assert (found.list_name, found.annotations, found.notes) == (
        "test_order", root / "Annotations.txt", (),
    )  # fmt: skip


def test_a_list_of_ave_may_be_text_or_a_short_name(root: Path, tmp_path: Path) -> None:
    with_ave(root, order=[1])
    mine = tmp_path / "mine.txt"
    mine.write_text("videovideo2@22\nBark&videovideo1&good&2&5\n")

    of_text = ground_truth("ave", root=root, test_list=mine)
    of_name = ground_truth("ave", root=root, test_list=Path("test"))

    assert [each.id for each in of_text.truth] == ["videovideo2@22", "videovideo1@2"]
    assert [each.id for each in of_name.truth] == ["videovideo1@22"]


def test_ave_is_not_tested_on_its_training_clips(root: Path) -> None:
    with pytest.raises(BenchError, match=r"holds training clips too, .*test_order\.h5.*--list F"):
        ground_truth("ave", root=with_ave(root))


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(
        BenchError,
        match=r"data set 'vggs'\. Did you mean vggss\? Known: .*, music_synthetic\.",
    ):
        ground_truth("vggs")


@pytest.mark.parametrize("data", READERS)
def test_nothing_to_read_is_named_with_the_options(data: str) -> None:
    with pytest.raises(BenchError, match=rf"--data {data} is scored .* --annotations FILE or DIR"):
        ground_truth(data)


@pytest.mark.parametrize("data", READERS)
def test_a_root_without_annotations_is_named(data: str, root: Path) -> None:
    with pytest.raises(BenchError, match=rf"{root} holds none; give --annotations FILE"):
        ground_truth(data, root=root)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="none is not a folder; give --root DIR"):
        ground_truth("vggss", root=tmp_path / "none")


def test_a_missing_annotation_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.json does not exist; give --annotations FILE"):
        ground_truth("vggss", annotations=tmp_path / "none.json")


def test_a_folder_that_holds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"holds neither vggss\.json nor <id>\.png masks"):
        ground_truth("vggss", annotations=tmp_path)


def test_a_file_in_place_of_the_flickr_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match=r"1\.xml is a file; --data flickr needs --annotations DIR"
    ):
        ground_truth("flickr", annotations=written(tmp_path / "1.xml", "<a/>"))


def test_a_missing_list_is_named(root: Path) -> None:
    with pytest.raises(BenchError, match="--list=none names no list file .*give --list=FILE"):
        ground_truth("vggss", root=with_vggss(root), test_list=Path("none"))


def test_reading_the_truth_imports_no_torch(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from datamodules.ground_truth import ground_truth\n"
        "ground_truth('vggss', root=Path(sys.argv[1])); print('torch' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(with_vggss(root))],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("data", "folder", "count"),
    [
        ("vggss", "vggss", 5158),
        ("vggss_extended", "vggss", 10316),
        ("is3", "is3", 6480),
        ("music_solo", "music", 12356),
        ("music_duet", "music", 10284),
        ("ave", "ave", 402),
    ],
)
def test_the_published_files_load(shared_data: Path, data: str, folder: str, count: int) -> None:
    truth = ground_truth(data, root=shared_data / "annotations" / folder).truth

    assert (len(truth), len({sample.id for sample in truth})) == (count, count)


@pytest.mark.parametrize(
    ("data", "split", "frames", "told"),
    [
        ("music_solo", "solo/solo_testing.txt", 12356, ()),
        (
            "music_duet",
            "duet/duet_pairs_val.txt",
            10284,
            ("duet_pairs_val.txt: 1 of 17 videos have no annotated frame",),
        ),
    ],
)
def test_the_published_test_lists_of_music_stand_for_every_annotated_frame(
    shared_data: Path, data: str, split: str, frames: int, told: tuple[str, ...]
) -> None:
    folder = shared_data / "annotations" / "music"

    found = ground_truth(data, root=folder, test_list=folder / "splits" / split)

    assert len(found.truth) == frames
    assert found.notes[: len(told)] == told


def test_the_published_flickr_list_asks_for_its_frames(shared_data: Path, tmp_path: Path) -> None:
    published = shared_data / "annotations" / "flickr"
    ids = [row.split(",")[0] for row in (published / "flickr_test.csv").read_text().split()]
    annotations = with_flickr(tmp_path, [*ids, "3908875350", "1"]) / "Annotations"

    plain = ids_of("flickr", root=published, annotations=annotations)
    extended = ids_of("flickr_extended", root=published, annotations=annotations)

    assert (len(plain), plain) == (249, ids)
    assert (len(extended), len(set(extended))) == (500, 500)
    assert {each.partition("+")[0] for each in extended[250:]} == set(extended[:250])
    assert set(extended[:250]) == {*ids, "3908875350"}


def test_the_heard_list_keeps_the_negatives_of_its_frames(shared_data: Path) -> None:
    folder = shared_data / "annotations" / "vggss"

    found = ground_truth("vggss_extended", root=folder, test_list=Path("vggss_heard_test.csv"))

    assert len(found.truth) == 2564 + 2380
    assert found.notes[0].startswith("vggss_heard_test.csv is tested with 2380 of 5158 negatives")
