import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.clip import Inputs
from datamodules.folder_clips import FolderConfig
from datamodules.is3 import Is3
from metrics.errors import BenchError
from metrics.scoring import score_maps

SOUNDS = ["cat_dog_12_cat", "cat_dog_12_dog", "cat_owl_7_cat", "cat_owl_7_owl"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVLOC_CACHE", str(tmp_path / "cache"))


def write_root(root: Path, ids: Iterable[str], frames: str, sounds: str) -> Path:
    for folder in (frames, sounds):
        (root / folder).mkdir(parents=True)
    entries = []
    for sample_id in ids:
        Image.new("RGB", (32, 24)).save(root / frames / f"{sample_id}.jpg")
        soundfile.write(root / sounds / f"{sample_id}.wav", np.zeros(8000), 8000)
        image = f"/somewhere/{frames}/{sample_id}.jpg"
        entries.append({"image": image, "gt_box": [0, 0, 112, 224]})
    (root / "synthetic3240_bbox.json").write_text(json.dumps(entries))
    return root


def data_of(root: Path) -> Is3:
    inputs = Inputs(image_size=16, sample_rate_hz=8000, segment_seconds=0.5)
    return Is3(FolderConfig(root=str(root), batch_size=2), inputs, seed=0)


@pytest.mark.parametrize("folders", [("visual_frames", "audio_wav"), ("frames", "audio")])
def test_two_sounds_of_a_frame_are_two_rows_of_one_video(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    test = data_of(write_root(tmp_path / "root", SOUNDS, *folders)).report.splits["test"]

    assert test.ids == tuple(SOUNDS)
    assert test.videos == ("cat_dog_12", "cat_dog_12", "cat_owl_7", "cat_owl_7")
    assert test.categories == ("cat", "dog", "cat", "owl")


def test_interactive_iou_has_what_it_needs(tmp_path: Path) -> None:
    data = data_of(write_root(tmp_path / "root", SOUNDS, "frames", "audio"))
    left, right = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])

    scores = score_maps(SOUNDS, np.stack([left, left, left, right]), data.truth(), "lvs")

    assert (scores.metrics["ciou@0.5"], scores.metrics["iiou@0.5"]) == (0.75, 0.5)


def test_without_a_training_list_it_cannot_be_trained_on(tmp_path: Path) -> None:
    data = data_of(write_root(tmp_path / "root", SOUNDS, "frames", "audio"))

    with pytest.raises(BenchError, match="the training list is empty"):
        data.setup("fit")


def test_published_boxes_give_the_published_counts(shared_data: Path, tmp_path: Path) -> None:
    write_root(tmp_path / "root", SOUNDS[:1], "visual_frames", "audio_wav")
    published = shared_data / "annotations" / "is3" / "synthetic3240_bbox.json"
    first = json.loads(published.read_text())[0]["image"].rpartition("/")[2].removesuffix(".jpg")
    for folder, end in (("visual_frames", "jpg"), ("audio_wav", "wav")):
        path = tmp_path / "root" / folder / f"{SOUNDS[0]}.{end}"
        path.rename(path.with_stem(first))

    data = data_of(tmp_path / "root")
    data.config.annotations = str(published)

    assert (data.report.n_expected, len(data.report.missing)) == (6480, 6479)
    assert len({truth.frame for truth in data._ground_truth.truth}) == 3240
