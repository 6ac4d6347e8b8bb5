import math
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from av.video.frame import PictureType
from PIL import Image

from benchmark.speed import data as stage
from benchmark.speed.harness import Report, Setting, run_stages
from datamodules.media import read_windows
from datamodules.video_frames import EXACT_COLOURS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stage puts its files."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def quick(place: Path) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(place))
        return run_stages(["data"], Setting(quick=True))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> stage.Files:
    return stage.written_clips(tmp_path_factory.mktemp("speed") / "root", 2)


def test_all_claims_of_the_data_stage_are_true(quick: Report) -> None:
    claims = [claim.text for line in quick.lines["data"] for claim in line.claims]

    assert quick.unequal == ()
    for words in ("values differ, by 1 of 255", "same samples within", "spectrograms within 2e-06",
                  "same frame, bit for bit"):  # fmt: skip
        assert any(words in claim for claim in claims), words


def test_the_targets_of_the_data_stage_are_those_that_were_set(quick: Report) -> None:
    targets = {line.name: str(line.target) for line in quick.lines["data"] if line.target}

    assert targets == {
        "image, 224 px of a JPEG of 640 x 360": "at least 2.5x",
        "3 s of a WAV of 10 s": "at least 10x",
        "log-spectrogram of 10 s, one by one": "at least 3.5x",
        "whole item of 3 s from original files": "at least 6x",
        "whole item of 3 s from prepared files": "at least 15x",
        "bytes of an item of 10 s": "at most 0.26x",
        "frame 25 and the sound of a video": "at least 3.5x",
    }
    assert {line.verdict for line in quick.lines["data"] if line.target} == {"not judged"}


def test_the_stage_leaves_no_files(quick: Report, place: Path) -> None:
    assert [] == list(place.iterdir())


def test_every_line_names_its_peer(quick: Report) -> None:
    assert [] == [line.name for line in quick.lines["data"] if "peer: " not in line.note]


def test_made_up_files_are_as_those_of_vgg_sound(files: stage.Files) -> None:
    frame, sound = Image.open(files.frames[0]), soundfile.info(files.sounds[0])

    assert (frame.size, frame.mode) == ((640, 360), "RGB")
    assert 60_000 < files.frames[0].stat().st_size < 110_000
    assert (sound.samplerate, sound.frames, sound.subtype) == (16000, 160000, "PCM_16")


def test_made_up_files_are_a_function_of_their_number(files: stage.Files, tmp_path: Path) -> None:
    again = stage.written_clips(tmp_path / "again", 2)

    for one, other in zip(files.frames + files.sounds, again.frames + again.sounds, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert files.frames[0].read_bytes() != files.frames[1].read_bytes()


def test_prepared_frames_have_the_size_of_training_and_the_same_sound(
    files: stage.Files, tmp_path: Path
) -> None:
    prepared = stage.written_clips(tmp_path / "prepared", 1, prepared=True)

    assert Image.open(prepared.frames[0]).size == (224, 224)
    assert prepared.sounds[0].read_bytes() == files.sounds[0].read_bytes()


def test_lvs_repeats_cuts_and_clamps_what_it_reads(tmp_path: Path) -> None:
    wave = np.linspace(-2, 2, 3 * 16000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="DOUBLE")

    samples = stage.lvs_sound(tmp_path / "a.wav")

    assert (samples.dtype, len(samples)) == (np.float64, 160000)
    np.testing.assert_array_equal(samples, np.tile(wave.clip(-1, 1), 4)[:160000])


def test_ezvsl_hears_the_same_3_s_as_we_do_in_its_own_scale(files: stage.Files) -> None:
    ours = read_windows(files.sounds[1], 16000, 48000)[0].numpy()

    samples = stage.ezvsl_sound(files.sounds[1])

    assert (samples.dtype, len(samples)) == (np.float64, 48000)
    np.testing.assert_allclose(samples, ours * 32768 / 32767, rtol=0, atol=1e-6)


def test_the_peers_spectrogram_has_its_size_and_its_silence() -> None:
    silent = stage.peer_spectrogram(np.zeros(160000))

    assert silent.shape == (257, 671)
    np.testing.assert_allclose(silent, math.log(1e-7) / 12)


def test_the_items_of_the_peers_weigh_what_their_code_hands_over(files: stage.Files) -> None:
    """1.0 and 4.0 MB: float32 frames, float64 spectrograms; LVS adds the sound and the frame."""
    frame = 3 * 224 * 224 * 4
    lvs = stage.peer_batches(files, stage.lvs_item)()
    ezvsl = stage.peer_batches(files, stage.ezvsl_item)()

    assert stage.item_bytes(ezvsl) == frame + 257 * 200 * 8
    assert stage.item_bytes(lvs) == frame + 257 * 671 * 8 + 160000 * 8 + 640 * 360 * 3


def test_our_item_is_what_the_loader_of_vggss_delivers(files: stage.Files) -> None:
    clip = stage.our_batches(files, 3)()

    assert clip.frames.shape == (2, 1, 3, 224, 224)
    assert stage.item_bytes(clip) == 3 * 224 * 224 + 48000 * 4 + 8 + 8  # row and target
    assert clip.waveform[1, 0].equal(read_windows(files.sounds[1], 16000, 48000)[0])


def test_the_peers_frame_is_pils(files: stage.Files) -> None:
    picture = Image.open(files.frames[0]).resize((224, 224), Image.Resampling.BICUBIC)
    expected = (np.asarray(picture) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]

    frame = stage.read_as_ezvsl(files.frames[0])

    np.testing.assert_allclose(frame.permute(1, 2, 0).numpy(), expected, rtol=0, atol=1e-6)


def normalised(levels: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    return (levels / 255 - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


@pytest.mark.parametrize(
    ("share", "levels", "holds"),
    [(0.0, 0, True), (0.01, 1, True), (0.02, 1, False), (0.001, 2, False)],
)
def test_frames_are_alike_up_to_one_level_in_one_value_of_a_hundred(
    share: float, levels: int, holds: bool
) -> None:
    ours = torch.full((1, 3, 100, 100), 100, dtype=torch.uint8)
    peer = ours.clone()
    peer.view(-1)[: int(share * peer.numel())] += levels

    claim = stage.image_claim(normalised(peer.float()), ours)

    assert claim.holds == holds
    assert claim.text.startswith(f"{share:.2%} of values differ, by {levels} of 255")


@pytest.mark.parametrize(("gap", "holds"), [(0.0, True), (2**-15, False)])
def test_a_sample_that_differs_by_one_step_makes_the_claim_untrue(gap: float, holds: bool) -> None:
    ours = torch.zeros(2, 100)
    peer = ours.double()
    peer[1, 70] += gap

    assert stage.sound_claim(peer, ours).holds == holds


@pytest.mark.parametrize(("gap", "holds"), [(1e-6, True), (3e-6, False)])
def test_a_spectrogram_may_differ_by_2e_6(gap: float, holds: bool) -> None:
    ours = torch.full((1, 257, 200), -1.0)
    peer = ours.double()
    peer[0, 3, 7] += gap

    assert stage.spectrogram_claim(peer, ours).holds == holds


def test_the_claim_of_a_pair_is_made_on_every_input() -> None:
    pair = stage.Pair(lambda row: torch.tensor(row), lambda row: torch.tensor(row + (row == 1)),
                      stage.sound_claim)  # fmt: skip

    claims = pair.comparison("numbers", "row", 4).claims

    assert claims is not None
    assert [False] == [one.holds for one in claims(torch.tensor(3), torch.tensor(3))]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage.written_video(tmp_path_factory.mktemp("speed") / "video.mp4", 1)


def test_the_made_up_video_has_pictures_between_others_and_one_keyframe(video: Path) -> None:
    with av.open(str(video)) as container:
        pictures = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
        audio = container.streams.audio[0]

    assert len(pictures) == 25
    assert (pictures[0], pictures.count("I"), pictures.count("B") > 5) == ("I", 1, True)
    assert (audio.rate, audio.layout.name, audio.codec.name) == (16000, "mono", "aac")


def test_a_frame_is_counted_from_the_first_one(video: Path) -> None:
    with av.open(str(video)) as container:
        frames = [
            frame.reformat(format="rgb24", interpolation=EXACT_COLOURS).to_ndarray()
            for frame in container.decode(video=0)
        ]

    counted = stage.decoded_frame(str(video), 7, int(EXACT_COLOURS))

    assert [np.array_equal(counted, frame) for frame in frames].index(True) == 7
    with pytest.raises(EOFError):
        stage.decoded_frame(str(video), 25, int(EXACT_COLOURS))


def test_a_new_process_gives_what_this_one_gives(video: Path) -> None:
    there = stage.in_new_process(stage.decoded_sound, str(video))

    np.testing.assert_array_equal(there, stage.in_this_process(stage.decoded_sound, str(video)))


def test_a_new_process_that_fails_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        stage.in_new_process(stage.decoded_sound, str(tmp_path / "nowhere.mp4"))


@pytest.mark.parametrize("part", [None, "frame", "sound"])
def test_a_frame_or_a_sound_that_differs_makes_its_claim_untrue(part: str | None) -> None:
    peer = stage.Prepared(np.zeros((4, 4, 3), np.uint8), np.zeros(10, np.float32))
    ours = stage.Prepared(peer.frame.copy(), peer.sound.copy())
    if part is not None:
        getattr(ours, part).flat[3] = 1

    claims = list(stage.preparation_claims(peer, ours))

    assert [part != "frame", part != "sound"] == [claim.holds for claim in claims]
