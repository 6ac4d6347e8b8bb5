"""The verb predict: maps for pictures, sounds and videos of one's own."""

import argparse
import json
import sys
from pathlib import Path

from benchmark.verbs.parsing import (
    DONE,
    Verbs,
    declared,
    quiet_lightning,
    refuse_given,
    split_settings,
)
from metrics.errors import BenchError


def add_predict(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench predict``."""
    summary = (
        "draw where a trained run sees the source of a sound, in your video, in your picture or in "
        "a test clip"
    )
    parser = declared(verbs, "predict", _predict, summary, takes_settings=True)
    parser.usage = "bench predict [OPTION ...] [VIDEO | FOLDER] [key=value ...]"
    parser.epilog = """Settings are those of the run; give method.key=value where a file of weights
    that the run started from has moved, such as method.pretrained=FILE, and with --id data.root=DIR
    where its data lie elsewhere. An id that begins with a dash is given as --id=ID, a video whose
    name looks like a setting as ./NAME."""
    add = parser.add_argument
    add("words", nargs="*", metavar="VIDEO | FOLDER", help="a video with sound, second by second; "
        "or a folder of videos and of pictures with sounds of their names")  # fmt: skip
    add("--run", required=True, action="append", type=Path, metavar="R",
        help="folder of a finished run; with --id several")  # fmt: skip
    add("--image", type=Path, metavar="F", help="JPEG or PNG")
    add("--sound", default=[], action="append", type=Path, metavar="F",
        help="WAV, FLAC, Ogg or MP3; may be given several times")  # fmt: skip
    add("--at", type=float, metavar="SECONDS", help="time in every sound; its middle if not given")
    add("--id", metavar="ID", help="in place of --image: a test clip, segment by segment")
    add("--sound-of", default=[], action="append", metavar="ID",
        help="hear this test clip too beside the frames of --id; may be given several times"
        )  # fmt: skip
    add("--out", type=Path, metavar="F.png", help="R/predict-<name>.png if not given; the "
        "film of a video lies beside it, as .mp4; of a folder a folder")  # fmt: skip
    add("--npz", type=Path, metavar="F.npz", help="write the maps, as bench score reads them")
    add("--json", action="store_true", help="print JSON on standard output")


def _predict(options: argparse.Namespace) -> int:
    from benchmark.output_files import check_outputs
    from benchmark.predict import draw, predict, write_maps
    from benchmark.recorded import extractor_for, load_trained

    quiet_lightning()
    videos = _videos(options)
    if len(videos) == 1 and Path(videos[0]).is_dir():
        return _predict_folder(options, Path(videos[0]))
    if len(videos) == 1 and not Path(videos[0]).exists() and not Path(videos[0]).suffix:
        raise BenchError(f"{videos[0]} is no folder and no video; check the path")
    if videos:
        return _predict_video(options, videos)
    if options.id is not None:
        return _predict_clip(options)
    if options.image is None or not options.sound:
        raise BenchError(
            "what is to be localised? Give a video, a folder, --image F and --sound F, or --id ID"
        )
    if len(options.run) > 1 or options.sound_of:
        raise BenchError("several --run and --sound-of go with --id; give one --run without it")
    (run,) = options.run
    out = options.out or run / f"predict-{options.image.stem}.png"
    of_data, of_method = split_settings(options.overrides)
    trained = load_trained(run, of_method)
    check_outputs(out, options.npz, [options.image, *options.sound])
    extractor = extractor_for(trained, of_data)
    found = predict(
        trained.method, options.image, options.sound, at_seconds=options.at, extractor=extractor
    )
    draw(out, found, trained.record.id, num_boxes=trained.num_boxes)
    if options.npz is not None:
        ids = [answer.id for answer in found.answers]
        write_maps(options.npz, ids, [answer.place for answer in found.answers])
    if options.json:
        print(json.dumps({"run": trained.record.id, **found.to_dict(), "picture": str(out)}))
        return DONE
    if found.cropped:
        print("bench: the run sees the middle square alone; maps and places are of it",
              file=sys.stderr)  # fmt: skip
    for answer in found.answers:
        print(f"{answer.id}: {answer.place}")
    print(f"Picture: {out}")
    if options.npz is not None:
        print(f"Maps:    {options.npz}")
    return DONE


def _videos(options: argparse.Namespace) -> list[str]:
    """The words that are no settings; argparse gives some of either to the first positional."""
    from benchmark.config import OVERRIDE

    words = [*options.words, *options.overrides]
    options.overrides = [word for word in words if OVERRIDE.match(word)]
    return [word for word in words if not OVERRIDE.match(word)]


def _predict_video(options: argparse.Namespace, videos: list[str]) -> int:
    from benchmark.output_files import check_outputs
    from benchmark.predict import write_maps
    from benchmark.recorded import extractor_for, load_trained
    from benchmark.video_strips import draw_video, video_strip

    given = {"--image": options.image, "--sound": options.sound, "--at": options.at,
             "--id": options.id, "--sound-of": options.sound_of}  # fmt: skip
    refuse_given(given, f"with a video ({videos[0]})")
    if len(videos) > 1 or len(options.run) > 1:
        raise BenchError(f"give one video and one --run, got {', '.join(videos)} and "
                         f"{len(options.run)} runs")  # fmt: skip
    (run,), video = options.run, Path(videos[0])
    out = options.out or run / f"predict-{video.stem}.png"
    film = out.with_suffix(".mp4")
    of_data, of_method = split_settings(options.overrides)
    trained = load_trained(run, of_method)
    check_outputs(out, options.npz, [video], film=film)
    found = video_strip(trained, video, extractor_for(trained, of_data))
    note = draw_video(out, film, found, trained)
    if note is not None:
        print(f"bench: {note}", file=sys.stderr)
    if options.npz is not None:
        write_maps(options.npz, found.ids, found.places)
    if options.json:
        written = {"picture": str(out), "film": str(film)}
        print(json.dumps({"run": trained.record.id, **found.to_dict(), **written}))
        return DONE
    print("\n".join([*found.lines(), f"Picture: {out}", f"Film:    {film}"]))
    if options.npz is not None:
        print(f"Maps:    {options.npz}")
    return DONE


def _predict_folder(options: argparse.Namespace, folder: Path) -> int:
    from benchmark.predict_folder import files_of, predict_folder
    from benchmark.recorded import extractor_for, load_trained

    given = {"--image": options.image, "--sound": options.sound, "--at": options.at,
             "--id": options.id, "--sound-of": options.sound_of, "--npz": options.npz}  # fmt: skip
    refuse_given(given, f"with a folder ({folder})")
    if len(options.run) > 1:
        raise BenchError(f"give one --run with a folder, got {len(options.run)}")
    (run,) = options.run
    files = files_of(folder)
    of_data, of_method = split_settings(options.overrides)
    trained = load_trained(run, of_method)
    out = options.out or run / f"predict-{folder.resolve().name}"
    found = predict_folder(trained, files, out, extractor_for(trained, of_data))
    for name, reason in found.refused.items():
        print(f"bench: {name} is left out: {reason}", file=sys.stderr)
    if found.alone:
        print(f"bench: without a partner of the same name: {', '.join(found.alone)}",
              file=sys.stderr)  # fmt: skip
    if options.json:
        print(json.dumps({"run": trained.record.id, **found.to_dict(), "out": str(out)}))
        return DONE
    asked = len(found.answers) + len(found.refused)
    print(f"{len(found.answers)} of {asked} files answered: {out}")
    return DONE


def _predict_clip(options: argparse.Namespace) -> int:
    from benchmark.file_names import file_name
    from benchmark.output_files import check_outputs
    from benchmark.recorded import load_trained
    from benchmark.strips import draw_strip, strip_lines, strip_of

    given = {"--image": options.image, "--sound": options.sound, "--at": options.at,
             "--npz": options.npz}  # fmt: skip
    refuse_given(given, "with --id, which shows a test clip")
    out = options.out or options.run[0] / f"predict-{file_name(options.id)}.png"
    of_data, of_method = split_settings(options.overrides)
    runs = [load_trained(run, of_method) for run in options.run]
    check_outputs(out, None, [])
    found = strip_of(runs, options.id, options.sound_of, of_data)
    draw_strip(out, found)
    if options.json:
        print(json.dumps({**found.to_dict(), "picture": str(out)}))
        return DONE
    for line in strip_lines(found):
        print(line)
    print(f"Picture: {out}")
    return DONE
