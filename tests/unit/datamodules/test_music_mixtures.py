import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.ground_truth import ground_truth
from datamodules.music_mixtures import Mixture, mixture, mixture_truth, read_mixtures, read_solos
from metrics.errors import BenchError
from metrics.truth import Source

POOL = {name: [f"{name}_{n}" for n in range(3)] for name in ("a", "b", "c", "d", "e")}
NUMBERS = {"cello": 1, "acoustic_guitar": 3, "saxophone": 8, "trumpet": 10, "violin": 11}


def write_solos(path: Path, instruments: list[str], frames: int = 2) -> Path:
    entries = {
        f"{name}_0_1000/frame_{second:03d}/00000.jpg": {
            "bbox": [{"normbox": [0.1, 0.2, 0.4, 0.6], "category_id": NUMBERS[name]}]
        }
        for name in instruments
        for second in range(frames)
    }
    path.write_text(json.dumps(entries))
    return path


def test_a_mixture_is_a_function_of_seed_split_and_row() -> None:
    first = mixture(POOL, 0, "test", 7)

    assert first == mixture(POOL, 0, "test", 7)
    others = [
        mixture(POOL, 1, "test", 7),
        mixture(POOL, 0, "train", 7),
        mixture(POOL, 0, "test", 8),
    ]
    assert all(each[1:] != first[1:] for each in others)


def test_the_id_tells_mixtures_of_other_solos_apart() -> None:
    other = {**POOL, "a": ["x_0", "x_1", "x_2"]}
    pairs = [(mixture(POOL, 0, "test", row), mixture(other, 0, "test", row)) for row in range(20)]

    assert all((one.id == two.id) == (one.clips == two.clips) for one, two in pairs)
    assert {one.id == two.id for one, two in pairs} == {True, False}
    assert pairs[3][0].id.startswith("test-0-000003-")


def test_four_instruments_differ_and_two_of_them_sound() -> None:
    for row in range(50):
        made = mixture(POOL, 0, "train", row)
        assert len({clip[0] for clip in made.clips}) == 4
        assert sorted(made.order) == [0, 1, 2, 3]
        assert made.order[0] < made.order[1]
        assert made.order[2] < made.order[3]


def test_instruments_clips_and_quadrants_are_drawn_without_preference() -> None:
    rare = {**POOL, "a": ["a_0"] * 1, "b": [f"b_{n}" for n in range(100)]}
    made = [mixture(rare, 0, "train", row) for row in range(2000)]

    instruments = Counter(clip[0] for each in made for clip in each.clips)
    heard = Counter(quadrant for each in made for quadrant in each.order[:2])
    corners = Counter(each.clips[0][0] for each in made)
    assert all(abs(count / 2000 - 0.8) < 0.05 for count in instruments.values())
    assert all(abs(count / 2000 - 0.5) < 0.05 for count in heard.values())
    assert all(abs(count / 2000 - 0.2) < 0.05 for count in corners.values())
    assert len({clip for each in made for clip in each.clips if clip[0] == "b"}) == 100


def test_jitter_fills_its_range() -> None:
    drawn = np.array([(*made.shifts, *made.levels) for made in
                      (mixture(POOL, 0, "train", row) for row in range(500))])  # fmt: skip

    assert ((drawn >= -1) & (drawn < 1)).all()
    assert (drawn.min(0) < -0.95).all()
    assert (drawn.max(0) > 0.95).all()


def test_a_mixture_is_the_same_on_every_machine() -> None:
    made = mixture(POOL, 3, "test", 12)  # frozen on the day that music-synthetic-v1 was named

    assert made == Mixture(
        "test-3-000012-bf082c94",
        ("a_0", "d_0", "e_2", "c_1"),
        (0, 3, 1, 2),
        (-0.6458776936598105, 0.0789628607512185),
        (0.34606321068684265, -0.8716828745078247),
    )


def test_boxes_move_into_their_quadrants_and_sounding_ones_come_first() -> None:
    boxes = [
        [[0.0, 0.0, 0.5, 1.0]],
        [[0.2, 0.4, 0.6, 0.8], [0.0, 0.9, 1.2, 1.0]],
        [[0.5, 0.5, 1.0, 1.0]],
        [[0.0, 0.0, 1.0, 1.0]],
    ]
    solos = [Source(np.array(each), f"instrument {n}") for n, each in enumerate(boxes)]
    made = Mixture("test-0-000000-00000000", ("",) * 4, (1, 3, 0, 2), (0.0, 0.0), (0.0, 0.0))

    truth = mixture_truth(made, solos)

    placed = [source.boxes.tolist() for source in truth.sources]
    assert placed == [
        [[0.6, 0.2, 0.8, 0.4], [0.5, 0.45, 1.0, 0.5]],
        [[0.5, 0.5, 1.0, 1.0]],
        [[0.0, 0.0, 0.25, 0.5]],
        [[0.25, 0.75, 0.5, 1.0]],
    ]
    assert [source.category for source in truth.sources] == [
        "instrument 1", "instrument 3", "instrument 0", "instrument 2",
    ]  # fmt: skip
    assert [source.sounding for source in truth.sources] == [True, True, False, False]
    assert [each.tolist() for each in truth.boxes] == [placed[0] + placed[1]]
    assert truth.objects is not None
    assert truth.objects.tolist() == [box for each in placed for box in each]
    assert truth.category is None


def test_frames_with_several_instruments_are_no_solos(tmp_path: Path) -> None:
    path = write_solos(tmp_path / "solotest.json", list(NUMBERS))
    entries = json.loads(path.read_text())
    first = next(iter(entries))
    entries[first]["bbox"].append({"normbox": [0, 0, 1, 1], "category_id": 12})
    path.write_text(json.dumps(entries))

    solos = read_solos(path)

    assert first.removesuffix(".jpg") not in solos.truth
    assert {name: len(clips) for name, clips in solos.pool.items()} == {
        **dict.fromkeys(NUMBERS, 2), "cello": 1,
    }  # fmt: skip


def test_fewer_than_four_instruments_are_refused(tmp_path: Path) -> None:
    path = write_solos(tmp_path / "solotest.json", ["cello", "violin", "trumpet"])

    with pytest.raises(BenchError, match=r"boxes are of 3 \(cello, trumpet, violin\)"):
        read_solos(path)


def test_scoring_reads_five_hundred_mixtures_out_of_the_boxes_of_solos(tmp_path: Path) -> None:
    write_solos(tmp_path / "solotest.json", list(NUMBERS), frames=20)

    found = ground_truth("music_synthetic", root=tmp_path)

    assert len(found.truth) == len({truth.id for truth in found.truth}) == 500
    assert all(len(truth.boxes[0]) == 2 for truth in found.truth)


def test_listed_mixtures_of_any_seed_are_made_again(tmp_path: Path) -> None:
    path = write_solos(tmp_path / "solotest.json", list(NUMBERS))
    solos = read_solos(path)
    ids = [solos.mixture(4, 700).id, solos.mixture(0, 1).id]
    (tmp_path / "mine.txt").write_text("\n".join(ids))

    found = ground_truth("music_synthetic", root=tmp_path, test_list=tmp_path / "mine.txt")

    assert [truth.id for truth in found.truth] == ids


def test_settings_choose_seed_and_number_of_the_mixtures(tmp_path: Path) -> None:
    path = write_solos(tmp_path / "solotest.json", list(NUMBERS))
    settings = {"data.generator_seed": "4", "data.test_clips": 3}

    found = ground_truth("music_synthetic", root=tmp_path, settings=settings)

    solos = read_solos(path)
    assert [truth.id for truth in found.truth] == [solos.mixture(4, row).id for row in range(3)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.generator_seed": "x"}, r"data\.generator_seed=x must be a whole number, 0 or more"),
        ({"data.test_clips": "0"}, r"data\.test_clips=0 must be a whole number, 1 or more"),
        ({"data.test_clips": "-5"}, r"data\.test_clips=-5 must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    write_solos(tmp_path / "solotest.json", list(NUMBERS))

    with pytest.raises(BenchError, match=words):
        ground_truth("music_synthetic", root=tmp_path, settings=settings)


@pytest.mark.parametrize(
    ("mixture_id", "words"),
    [
        ("test-0-000000-00000000", "was made of other solos than those of .* which give test-0-0"),
        ("train-0-000000-00000000", "is no test mixture of music-synthetic-v1, test-<seed>-<row>-"),
        ("0001", "is no test mixture"),
    ],
)
def test_ids_of_other_mixtures_are_refused(tmp_path: Path, mixture_id: str, words: str) -> None:
    path = write_solos(tmp_path / "solotest.json", list(NUMBERS))

    with pytest.raises(BenchError, match=words):
        read_mixtures(path, [mixture_id])


def test_the_published_boxes_of_solos_make_balanced_mixtures(shared_data: Path) -> None:
    solos = read_solos(shared_data / "annotations" / "music" / "solotest.json")

    made = [solos.mixture(0, row) for row in range(500)]

    assert {name: len(clips) for name, clips in solos.pool.items()} == {
        "accordion": 2113, "acoustic_guitar": 3695, "cello": 2312, "flute": 918,
        "saxophone": 1403, "trumpet": 1114, "violin": 801,
    }  # fmt: skip
    heard = Counter(source.category for each in made for source in solos.truth_of(each).sources[:2])
    assert len(heard) == 7
    assert all(0.6 < count / (500 * 2 / 7) < 1.4 for count in heard.values())
