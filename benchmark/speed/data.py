"""Stage ``data``: from the files of a clip to a batch, and to a spectrogram.

The peer's way is that of the field's public loaders, all of it in the worker and in float. Where
nothing else is said it is that of LVS (``datasets/dataloader.py`` at 8fe8cbb,
https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way): a frame through PIL, ToTensor and
Normalize, the frame once more as it is, 10 s of sound in float64, and scipy's spectrogram of it.
EZ-VSL (``datasets.py`` and ``audio_io.py`` at 95ff5bf, https://github.com/stoneMo/EZ-VSL) squashes
the frame and reads 3 s through PyAV. Ours is the loader of ``--data vggss``: uint8 frames and the
waveform; normalisation and spectrogram are the method's, on its device.

Files are made up: JPEGs of 640 x 360 and 10-s 16-bit WAVs at 16 kHz, as VGG-Sound has them.

A video is prepared by the peers with two calls of the command ``ffmpeg``: one for the frame, one
for the sound. There may be no such command here, so its part is played by two processes of Python
that import nothing but PyAV (the same FFmpeg libraries) and NumPy: the first decodes every frame
from the first to the wanted one, the second all the sound, each on one thread. The same work
without new processes is a line of its own, and so are processes without work, for Python starts
more slowly than ffmpeg does.
"""

import inspect
import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import NamedTuple, TypeVar

import av
import cv2
import numpy as np
import scipy.signal
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.io import write_jpeg

from benchmark.speed.harness import Claim, Comparison, Measurable, Setting, Share, Target
from datamodules.augment import augmented_frames
from datamodules.clip import Clip, Inputs
from datamodules.folder_clips import FolderConfig
from datamodules.media import read_frame, read_windows
from datamodules.vggss import VggSs
from datamodules.video import read_clip
from datamodules.video_frames import EXACT_COLOURS
from methods.frontends import IMAGENET_MEAN, IMAGENET_STD, LogSpectrogram

SIDE = 224
ENLARGED = 246
RATE_HZ = 16000
CLIP_SECONDS, WINDOW_SECONDS = 10, 3
FRAME_SIZE, FRAME_RATE = (640, 360), 25  # width and height; per second
BATCH = 16
LVS_HOP = 238
ALIKE_LEVELS, ALIKE_SHARE = 1, 0.01
ALIKE_SPECTROGRAM = 2e-6

Sound = NDArray[np.float64]
Item = TypeVar("Item", bound=tuple[object, ...])
Each = TypeVar("Each")
Value = TypeVar("Value", bound=np.generic)


class Sizes(NamedTuple):
    """Numbers of clips, and the length of a video."""

    items: int = 48
    spectrograms: int = 24
    video_seconds: int = CLIP_SECONDS


QUICK = Sizes(items=2, spectrograms=1, video_seconds=2)


class Files(NamedTuple):
    """The files of made-up clips, and the data root that they stand in."""

    root: Path
    frames: tuple[Path, ...]
    sounds: tuple[Path, ...]


def comparisons(setting: Setting) -> Iterator[Measurable]:
    """Everything that the stage measures; the files exist while it runs."""
    sizes = QUICK if setting.quick else Sizes()
    with TemporaryDirectory(prefix="bench-speed-") as folder:
        original = written_clips(Path(folder) / "original", sizes.items)
        prepared = written_clips(Path(folder) / "prepared", sizes.items, prepared=True)
        yield from _images(original)
        yield from _sounds(original)
        yield from _spectrograms(original, sizes)
        yield from _items(original, prepared)
        yield from _preparations(Path(folder), sizes)


def written_clips(root: Path, n: int, *, prepared: bool = False) -> Files:
    """A data root of ``n`` made-up clips in the layout of VGG-SS.

    Args:
        root: is created.
        n: how many.
        prepared: whether frames are squashed to the size of training before they are stored.
    """
    for below in ("frames", "audio"):
        (root / below).mkdir(parents=True)
    ids = [f"made_up_{row:03d}_000000" for row in range(n)]
    frames = tuple(root / "frames" / f"{clip_id}.jpg" for clip_id in ids)
    sounds = tuple(root / "audio" / f"{clip_id}.wav" for clip_id in ids)
    for row, (frame, sound) in enumerate(zip(frames, sounds, strict=True)):
        picture = made_up_picture(row)
        picture.save(frame, quality=90)
        if prepared:
            write_jpeg(read_frame(frame, SIDE), str(frame), quality=95)
        soundfile.write(sound, made_up_sound(row), RATE_HZ)
    annotated = [{"file": i, "class": "noise", "bbox": [[0.2, 0.2, 0.8, 0.8]]} for i in ids]
    (root / "vggss.json").write_text(json.dumps(annotated), encoding="utf-8")
    return Files(root, frames, sounds)


def made_up_picture(seed: int) -> Image.Image:
    """640 x 360 of blobs and grain, which take about 85 kB as a JPEG of quality 90."""
    rng = np.random.default_rng([seed, 0])
    cells = rng.integers(0, 256, (36, 64, 3), np.uint8)
    blobs = cv2.resize(cells, FRAME_SIZE, interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 6, blobs.shape)
    return Image.fromarray((blobs + grain).clip(0, 255).astype(np.uint8))


def made_up_sound(seed: int) -> NDArray[np.int16]:
    """10 s of noise that swells and fades, ``(160000,)`` int16."""
    rng = np.random.default_rng([seed, 1])
    time = np.arange(CLIP_SECONDS * RATE_HZ) / RATE_HZ
    level = 0.1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.1, 2) * time)
    return np.rint(rng.standard_normal(len(time)) * level * 8192).astype(np.int16)


class PeerImage:
    """A frame by PIL and some steps, then ToTensor and Normalize: ``(3, 224, 224)`` float32."""

    def __init__(self, *steps: Callable[[Image.Image], Image.Image]) -> None:
        self.transform = transforms.Compose(
            [*steps, transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        )

    def __call__(self, path: Path) -> Tensor:
        """The frame of a file."""
        frame: Tensor = self.transform(Image.open(path).convert("RGB"))
        return frame


BICUBIC = transforms.InterpolationMode.BICUBIC
read_as_ezvsl = PeerImage(transforms.Resize((SIDE, SIDE), BICUBIC))
read_as_lvs = PeerImage(transforms.Resize(SIDE, BICUBIC), transforms.CenterCrop(SIDE))
read_for_training = PeerImage(
    transforms.Resize(ENLARGED, BICUBIC),
    transforms.RandomCrop(SIDE),
    transforms.RandomHorizontalFlip(),
)


def lvs_sound(path: Path) -> Sound:
    """All of a file as float64, repeated to 10 s, cut and clamped."""
    samples, rate_hz = soundfile.read(path)
    length = CLIP_SECONDS * rate_hz
    if len(samples) < length:
        samples = np.tile(samples, length // len(samples) + 1)
    kept: Sound = samples[:length]
    kept[kept > 1.0] = 1.0
    kept[kept < -1.0] = -1.0
    return kept


def ezvsl_sound(path: Path) -> Sound:
    """The middle 3 s of a file through PyAV, in 16 bits on the way."""
    with av.open(str(path)) as container:
        rate_hz = container.streams.audio[0].rate
        start = max((container.duration or 0) / av.time_base / 2 - WINDOW_SECONDS / 2, 0.0)
        resampler = av.AudioResampler(format="s16p", layout="mono", rate=rate_hz)
        container.seek(int(start * av.time_base))
        begins, chunks = [], []
        for frame in container.decode(audio=0):
            begin = frame.time or 0.0
            if begin + frame.samples / frame.rate < start:
                continue
            if begin > start + WINDOW_SECONDS:
                break
            begins.append(begin)
            frame.pts = None
            chunks += [chunk.to_ndarray() for chunk in resampler.resample(frame)]
    skipped = round((start - begins[0]) * rate_hz)
    window: Sound = np.concatenate(chunks, axis=1)[0, skipped:].astype(np.float64)
    return np.clip(window[: WINDOW_SECONDS * rate_hz] / 32767, -1.0, 1.0)


def peer_spectrogram(samples: Sound) -> NDArray[np.float64]:
    """``(257, frames)`` float64 log power spectral density by scipy, over 12."""
    _, _, power = scipy.signal.spectrogram(samples, RATE_HZ, nperseg=512, noverlap=512 - LVS_HOP)
    level: NDArray[np.float64] = np.log(power + 1e-7) / 12
    return level


class LvsItem(NamedTuple):
    """What the loader of LVS hands over."""

    frame: Tensor  # (3, 224, 224) float32
    spectrogram: Tensor  # (1, 257, 671) float64
    samples: Tensor  # (160000,) float64
    original: Tensor  # (360, 640, 3) uint8


class EzvslItem(NamedTuple):
    """What the loader of EZ-VSL hands over."""

    frame: Tensor  # (3, 224, 224) float32
    spectrogram: Tensor  # (1, 257, 200) float64


class PeerItems(Dataset[Item]):
    """Items of a peer's loader."""

    def __init__(self, files: Files, item: Callable[[Path, Path], Item]) -> None:
        self.files, self.item = files, item

    def __len__(self) -> int:
        return len(self.files.frames)

    def __getitem__(self, row: int) -> Item:
        return self.item(self.files.frames[row], self.files.sounds[row])


def lvs_item(frame: Path, sound: Path) -> LvsItem:
    """As LVS at test; the frame is decoded twice there."""
    samples = lvs_sound(sound)
    spectrogram = torch.from_numpy(peer_spectrogram(samples)).unsqueeze(0)
    original = torch.tensor(np.array(Image.open(frame).convert("RGB")))
    return LvsItem(read_as_lvs(frame), spectrogram, torch.from_numpy(samples), original)


def ezvsl_item(frame: Path, sound: Path) -> EzvslItem:
    """As EZ-VSL at test."""
    spectrogram = torch.from_numpy(peer_spectrogram(ezvsl_sound(sound))).unsqueeze(0)
    return EzvslItem(read_as_ezvsl(frame), spectrogram)


def image_claim(peer: Tensor, ours: Tensor) -> Claim:
    """That frames ``(N, 3, H, W)`` are those of PIL, which the peer has normalised."""
    mean, spread = (torch.tensor(one).view(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    levels = ((peer * spread + mean) * 255).round()
    gap = (levels - ours.float()).abs()
    largest, share = int(gap.max()), float((gap > 0).float().mean())
    return Claim(
        f"{share:.2%} of values differ, by {largest} of 255 at most",
        largest <= ALIKE_LEVELS and share <= ALIKE_SHARE,
    )


def sound_claim(peer: Tensor, ours: Tensor) -> Claim:
    """That sounds are the same samples, to the last bit of float32."""
    gap = float((peer - ours).abs().max())
    return Claim(f"same samples within 1e-7, {gap:.1e} apart", gap <= 1e-7)


def spectrogram_claim(peer: Tensor, ours: Tensor) -> Claim:
    """That spectrograms are those of scipy in float64."""
    gap = float((peer - ours).abs().max())
    return Claim(
        f"spectrograms within {ALIKE_SPECTROGRAM:g}, {gap:.1e} apart", gap <= ALIKE_SPECTROGRAM
    )


class Pair(NamedTuple):
    """Two ways of making something of an input, and what must be true of what they make."""

    peer: Callable[[int], Tensor]
    ours: Callable[[int], Tensor]
    claim: Callable[[Tensor, Tensor], Claim] | None = None

    def comparison(
        self, name: str, item: str, items: int, *, target: Target | None = None, note: str = ""
    ) -> Comparison[Tensor]:
        """Both ways on all inputs; each result is let go before the next, as a loader does.

        The claim is on all of them, made once more.
        """
        rows = range(items)

        def claims(peer: Tensor, ours: Tensor) -> Iterator[Claim]:
            if self.claim is not None:
                yield self.claim(
                    torch.stack([self.peer(row) for row in rows]),
                    torch.stack([self.ours(row) for row in rows]),
                )

        return Comparison(
            name=name,
            item=item,
            items=items,
            peer=lambda: _last(map(self.peer, rows)),
            ours=lambda: _last(map(self.ours, rows)),
            claims=claims,
            target=target,
            note=note,
        )


def _images(files: Files) -> Iterator[Measurable]:
    frames = files.frames

    def augmented(row: int) -> Tensor:
        batch = read_frame(frames[row], SIDE)[None, None]
        return augmented_frames(batch, "crop_flip", [np.random.default_rng(row)])[0]

    squashed = Pair(
        lambda row: read_as_ezvsl(frames[row]),
        lambda row: read_frame(frames[row], SIDE),
        image_claim,
    )
    yield squashed.comparison(
        f"image, {SIDE} px of a JPEG of 640 x 360",
        "image",
        len(frames),
        target=Target("at least", 2.5, "x"),
        note="peer: EZ-VSL at test, by PIL, bicubic, ToTensor and Normalize",
    )
    yield Pair(lambda row: read_for_training(frames[row]), augmented).comparison(
        "image, cropped and mirrored for training",
        "image",
        len(frames),
        note=f"peer: LVS and EZ-VSL, short side to {ENLARGED}; ours enlarges the squashed frame",
    )


def _sounds(files: Files) -> Iterator[Measurable]:
    samples = WINDOW_SECONDS * RATE_HZ
    first = (CLIP_SECONDS - WINDOW_SECONDS) * RATE_HZ // 2
    sounds = files.sounds

    def whole(row: int) -> Tensor:
        return torch.from_numpy(lvs_sound(sounds[row])[first : first + samples])

    def window(row: int) -> Tensor:
        return read_windows(sounds[row], RATE_HZ, samples)[0]

    sought = Pair(lambda row: torch.from_numpy(ezvsl_sound(sounds[row])), window)
    yield sought.comparison(
        "3 s of a WAV of 10 s",
        "sound",
        len(sounds),
        target=Target("at least", 10.0, "x"),
        note="peer: EZ-VSL, which seeks and decodes through PyAV",
    )
    yield Pair(whole, window, sound_claim).comparison(
        "3 s of a WAV of 10 s, read whole",
        "sound",
        len(sounds),
        note="peer: LVS, which reads all 10 s as float64 and clamps them",
    )


def _spectrograms(files: Files, sizes: Sizes) -> Iterator[Measurable]:
    targets = {CLIP_SECONDS: Target("at least", 3.5, "x"), WINDOW_SECONDS: None}
    for seconds, target in targets.items():
        sounds = [lvs_sound(path)[: seconds * RATE_HZ] for path in files.sounds]
        sounds = sounds[: sizes.spectrograms]
        yield _spectrogram_pair(sounds, seconds).comparison(
            f"log-spectrogram of {seconds} s, one by one",
            "sound",
            len(sounds),
            target=target,
            note="peer: scipy in float64",
        )


def _spectrogram_pair(sounds: Sequence[Sound], seconds: int) -> Pair:
    module = LogSpectrogram(RATE_HZ, seconds, hop=LVS_HOP, centred=False)
    waveforms = torch.from_numpy(np.stack(sounds)).float()
    return Pair(
        lambda row: torch.from_numpy(peer_spectrogram(sounds[row])),
        lambda row: module(waveforms[row][None])[0, 0],
        spectrogram_claim,
    )


def _items(original: Files, prepared: Files) -> Iterator[Measurable]:
    lvs, ezvsl = peer_batches(original, lvs_item), peer_batches(original, ezvsl_item)
    items = len(original.frames)
    for name, files, least in (("original", original, 6.0), ("prepared", prepared, 15.0)):
        yield Comparison(
            name=f"whole item of 3 s from {name} files",
            item="item",
            items=items,
            peer=lambda: ezvsl().spectrogram,
            ours=_sounds_of(our_batches(files, WINDOW_SECONDS)),
            target=Target("at least", least, "x"),
            note="peer: EZ-VSL from original files; our spectrogram is left to the device",
        )
    for name, files in (("original", original), ("prepared", prepared)):
        yield Comparison(
            name=f"whole item of 10 s from {name} files",
            item="item",
            items=items,
            peer=lambda: lvs().samples,
            ours=_sounds_of(our_batches(files, CLIP_SECONDS)),
            claims=lambda peer, ours: [sound_claim(peer, ours)],
            note="peer: LVS from original files; our spectrogram is left to the device",
        )
    yield Comparison(
        name="whole item of 10 s from original files, with its spectrogram",
        item="item",
        items=items,
        peer=lambda: lvs().samples,
        ours=_sounds_of(our_batches(original, CLIP_SECONDS, spectrogram=True)),
        note="peer: LVS; our spectrogram is made on this CPU, a batch at a time",
    )
    yield Share(
        name="bytes of an item of 10 s",
        unit="B/item",
        peer=lambda: item_bytes(lvs()),
        ours=lambda: item_bytes(our_batches(original, CLIP_SECONDS)()),
        target=Target("at most", 0.26, "x"),
        note="as collated; peer: LVS",
    )
    yield Share(
        name="bytes of an item of 3 s",
        unit="B/item",
        peer=lambda: item_bytes(ezvsl()),
        ours=lambda: item_bytes(our_batches(original, WINDOW_SECONDS)()),
        note="as collated; peer: EZ-VSL, without the frame and the sound themselves",
    )


def peer_batches(files: Files, item: Callable[[Path, Path], Item]) -> Callable[[], Item]:
    """What loads every item of a peer, in this process, and gives the last batch."""
    loader = DataLoader(PeerItems(files, item), batch_size=BATCH)
    return lambda: _last(loader)


def our_batches(files: Files, seconds: int, *, spectrogram: bool = False) -> Callable[[], Clip]:
    """What loads every clip by the loader of ``--data vggss`` and gives the last batch.

    Args:
        files: of a data root.
        seconds: of sound.
        spectrogram: whether that of each batch is made too.
    """
    config = FolderConfig(root=str(files.root), batch_size=BATCH, verify=False)
    inputs = Inputs(image_size=SIDE, sample_rate_hz=RATE_HZ, segment_seconds=seconds)
    loader = VggSs(config, inputs, seed=0).ordered_loader("test")
    module = LogSpectrogram(RATE_HZ, seconds, hop=LVS_HOP, centred=False)

    def clips() -> Iterator[Clip]:
        for batch in loader:
            if spectrogram:
                module(batch.clip.waveform.squeeze(1))
            yield batch.clip

    return lambda: _last(clips())


def item_bytes(batch: Sequence[object]) -> float:
    """Bytes of the tensors of a batch, per item."""
    tensors = [part for part in batch if isinstance(part, Tensor)]
    return sum(part.nbytes for part in tensors) / len(tensors[0])


def _sounds_of(batches: Callable[[], Clip]) -> Callable[[], Tensor]:
    return lambda: batches().waveform.squeeze(1)  # (B, S)


def _last(batches: Iterable[Each]) -> Each:
    """The last batch of all; each is let go before the next is made."""
    (batch,) = deque(batches, maxlen=1)
    return batch


class Prepared(NamedTuple):
    """What is taken from a video."""

    frame: NDArray[np.uint8]  # (360, 640, 3)
    sound: NDArray[np.float32]  # (S,) mono


def written_video(path: Path, seconds: int) -> Path:
    """A moving picture of 640 x 360 at 25 fps with noise as its sound: H.264 and AAC in MP4.

    Encoders are left at their defaults: one keyframe in 250, three pictures between others.
    """
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (15, 25, 3), np.uint8)
    scene = cv2.resize(cells, (800, 480), interpolation=cv2.INTER_CUBIC)
    noise = (rng.standard_normal((1, seconds * RATE_HZ)) * 3000).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width, video.height = FRAME_SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for place in range(seconds * FRAME_RATE):
            left, top = round(80 + 70 * np.sin(place / 20)), round(60 + 50 * np.cos(place / 31))
            view = scene[top : top + FRAME_SIZE[1], left : left + FRAME_SIZE[0]]
            grain = rng.integers(-6, 7, (FRAME_SIZE[1], FRAME_SIZE[0], 1))
            frame = av.VideoFrame.from_ndarray((view + grain).clip(0, 255).astype(np.uint8))
            frame.pts = place
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for first in range(0, noise.shape[1], 1024):
            samples = np.ascontiguousarray(noise[:, first : first + 1024])
            chunk = av.AudioFrame.from_ndarray(samples, format="s16p", layout="mono")
            chunk.rate, chunk.pts = RATE_HZ, first
            container.mux(audio.encode(chunk))
        container.mux(audio.encode(None))
    return path


def decoded_frame(video: str, number: int, colours: int) -> NDArray[np.uint8]:
    """A frame by its number, after all before it; alone it is the program of a new process."""
    with av.open(video) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for place, frame in enumerate(container.decode(stream)):
            if place == number:
                shown = frame.reformat(format="rgb24", interpolation=colours, threads=1)
                picture: NDArray[np.uint8] = shown.to_ndarray()  # type: ignore[assignment]
                return picture
    raise EOFError(video)


def decoded_sound(video: str) -> NDArray[np.float32]:
    """All the sound, the mean of its channels; alone it is the program of a new process."""
    with av.open(video) as container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
    sound: NDArray[np.float32] = np.concatenate(frames, axis=1).mean(axis=0)
    return sound


def in_new_process(function: Callable[..., NDArray[Value]], *inputs: str | int) -> NDArray[Value]:
    """What a function of this module gives in a process that imports PyAV and NumPy alone."""
    program = (
        "from __future__ import annotations\nimport sys, av, numpy as np\n"
        f"{inspect.getsource(function)}\n"
        f"np.save(sys.argv[1], {function.__name__}(*{inputs!r}))"
    )
    with NamedTemporaryFile(suffix=".npy") as result:
        subprocess.run([sys.executable, "-c", program, result.name], check=True)
        made: NDArray[Value] = np.load(result.name, allow_pickle=False)
        return made


def in_this_process(function: Callable[..., NDArray[Value]], *inputs: str | int) -> NDArray[Value]:
    """What a function gives here."""
    return function(*inputs)


def preparation_claims(peer: Prepared, ours: Prepared) -> Iterator[Claim]:
    """That the same frame and the same sound are taken from a video."""
    same = np.array_equal(peer.frame, ours.frame)
    yield Claim("same frame, bit for bit", same)
    length = min(len(peer.sound), len(ours.sound))
    gap = float(np.abs(peer.sound[:length] - ours.sound[:length]).max())
    yield Claim(f"same samples within 1e-6, {gap:.1e} apart", gap <= 1e-6)


def _preparations(folder: Path, sizes: Sizes) -> Iterator[Measurable]:
    video = written_video(folder / "video.mp4", sizes.video_seconds)
    number = sizes.video_seconds * FRAME_RATE // 2

    def by_peer(*, anew: bool) -> Prepared:
        call = in_new_process if anew else in_this_process
        frame = call(decoded_frame, str(video), number, int(EXACT_COLOURS))
        return Prepared(frame, call(decoded_sound, str(video)))

    def ours() -> Prepared:
        clip = read_clip(
            video,
            [Fraction(number, FRAME_RATE)],
            lambda picture: picture,
            seconds=sizes.video_seconds,
        )
        (frame,) = clip.frames
        assert frame is not None, "the frame in the middle is there"
        return Prepared(frame, clip.sound)

    name = f"frame {number} and the sound of a video"
    yield Comparison(
        name=name,
        item="clip",
        items=1,
        peer=lambda: by_peer(anew=True),
        ours=ours,
        claims=preparation_claims,
        target=Target("at least", 3.5, "x"),
        note="peer: two new processes, of Python and PyAV in place of ffmpeg, which decode all "
        f"frames up to number {number}, and all the sound",
        rounds=3,
    )
    yield Comparison(
        name=f"{name}, without new processes",
        item="clip",
        items=1,
        peer=lambda: by_peer(anew=False),
        ours=ours,
        claims=preparation_claims,
        note="peer: the same decoding in this process",
    )
    yield Comparison(
        name="start and end of two such processes",
        item="clip",
        items=1,
        ours=lambda: [in_new_process(nothing), in_new_process(nothing)],
        note="peer: what two processes take that decode nothing; ffmpeg starts faster",
        rounds=3,
    )


def nothing() -> NDArray[np.uint8]:
    """An empty array; alone it is the program of a new process."""
    return np.empty(0, np.uint8)
