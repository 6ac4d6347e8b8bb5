"""Verbs that make data, look at them, and keep what is computed of them."""

import argparse
import json
import sys
from pathlib import Path

from benchmark.verbs.parsing import (
    CHECK_SAYS_NO,
    DONE,
    Verbs,
    add_composition,
    composed,
    declared,
    print_table,
    quiet_lightning,
    refuse_given,
)
from metrics.errors import BenchError


def add_doctor(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench doctor``."""
    summary = "say what of a data set is missing, broken, silent, repeated or leaked"
    parser = declared(verbs, "doctor", _doctor, summary, takes_settings=True)
    parser.epilog = """Exit code 1 where the test set is not complete. Lists and annotations are
    enough; settings such as data.train_list=FILE are those of bench run."""
    parser.add_argument("name", metavar="D", help="data set; see bench list data")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the same as data.root=DIR")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _doctor(options: argparse.Namespace) -> int:
    from benchmark.config import data_alone
    from benchmark.doctor import inspection_dict, inspection_tables
    from datamodules.clip import Inputs
    from datamodules.inspection import inspected

    root = () if options.root is None else (f"data.root={options.root}",)
    kind, config = data_alone(options.name, (*root, *options.overrides))
    found = inspected(options.name, kind(config, Inputs(), seed=0))
    if options.json:
        print(json.dumps(inspection_dict(found), sort_keys=True))
    else:
        print_table(inspection_tables(found))
    return DONE if found.is_complete else CHECK_SAYS_NO


def add_sample_data(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench sample-data``."""
    parser = declared(verbs, "sample-data", _sample_data,
                   "write a miniature of a data set in its own layout")  # fmt: skip
    parser.add_argument("name", metavar="D", help="data set, such as vggss; see bench list data")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR")
    parser.add_argument("--clips", type=int, default=240, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")


def _sample_data(options: argparse.Namespace) -> int:
    from datamodules.sample_data import write_sample

    written = write_sample(options.name, options.root, clips=options.clips, seed=options.seed)
    print(f"{written.root}: {written.num_train} training and {written.num_test} test clips")
    if written.has_places:
        print(f"Try it: bench run --method hardpos --data {options.name} --preset small "
              f"data.root={written.root}")  # fmt: skip
    else:
        print(f"Look at it: bench doctor {options.name} --root {written.root}")
    return DONE


def add_features(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench features``."""
    summary = "keep the features of a method's frozen streams, for all runs that could use them"
    parser = declared(verbs, "features", _features, summary, takes_settings=True)
    add_composition(parser)
    parser.add_argument("--root", metavar="DIR", help="the same as data.root=DIR")
    parser.add_argument("--max-gb", metavar="GB", help="the same as data.feature_cache_gb=GB")


def _features(options: argparse.Namespace) -> int:
    for option, setting in (("root", "data.root"), ("max_gb", "data.feature_cache_gb")):
        given = getattr(options, option)
        options.overrides += [] if given is None else [f"{setting}={given}"]
    config = composed(options, options.seed)
    from benchmark.ranks import is_first_rank
    from benchmark.runner import keep_features

    quiet_lightning()
    kept = keep_features(config, lambda line: print(line, file=sys.stderr))
    if not is_first_rank():
        return DONE
    method = config.method_name
    if options.json:
        print(json.dumps({"method": method, "data": config.data_name, "features": kept}))
    elif kept:
        print(f"{kept} features are kept; runs of {method} on these data take them.")
    else:
        print(f"{method} has no frozen streams, so there is nothing to keep.")
    return DONE


def add_proposals(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench proposals``."""
    summary = "search the pictures of a data set for object boxes, for all runs that ask for them"
    parser = declared(verbs, "proposals", _proposals, summary, takes_settings=True)
    add = parser.add_argument
    add("data", metavar="D", help="data set; see bench list data")
    add("--root", type=Path, metavar="DIR", help="the same as data.root=DIR")
    add("--workers", type=int, metavar="N", help="threads; one per core if not given")
    add("--json", action="store_true", help="print JSON on standard output")


def _proposals(options: argparse.Namespace) -> int:
    from benchmark.config import data_alone
    from datamodules.clip import Inputs
    from datamodules.proposal_store import make_proposals

    if options.workers is not None and options.workers < 1:
        raise BenchError(f"--workers must be at least 1, got {options.workers}")
    root = () if options.root is None else (f"data.root={options.root}",)
    kind, config = data_alone(options.data, (*root, *options.overrides))
    inputs = Inputs(num_segments=kind.segments_of(config), proposals=1)
    data = kind(config, inputs, seed=0)
    made = make_proposals(data.pictures(), data.extractor, workers=options.workers)
    report = data.report
    missing = [*report.missing, *report.train_missing]
    unreadable = {**report.unreadable, **report.train_unreadable}
    if options.json:
        absent = {"missing": missing, "unreadable": unreadable}
        print(json.dumps({"data": options.data, **made.to_dict(), **absent}, sort_keys=True))
        return DONE
    print(made)
    if missing:
        print(f"clips without files, which stay out: {len(missing)}, such as {missing[0]}")
    for clip_id, reason in unreadable.items():
        print(f"{clip_id} cannot be read and stays out: {reason}")
    return DONE


def add_mine(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench mine``."""
    summary = "find the K nearest neighbours of every training clip of a run, or of your features"
    parser = declared(verbs, "mine", _mine, summary, takes_settings=True)
    parser.epilog = """Exact, by inner product, without the row itself: (n, K) int32, best first. A
    mining that was stopped goes on where it was. OMP_NUM_THREADS=N bounds the threads. Settings are
    those of the run, such as data.root=DIR where its data lie elsewhere."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="R", help="folder of a finished run of "
                        "lvs_vanilla, lvs or hardpos")  # fmt: skip
    source.add_argument("--features", type=Path, metavar="F.npy", help="(n, D) float32")
    add = parser.add_argument
    add("--out", type=Path, metavar="PATH", help="file, F-neighbours.npy if not given; with --run "
        "folder, R/mined if not given")  # fmt: skip
    add("--k", type=int, metavar="K", help="neighbours; 1000, or a twentieth of a short list")
    add("--pool", choices=("mean", "response"), help="of images, with --run; as the run had it")
    add("--json", action="store_true", help="print JSON on standard output")


def _mine(options: argparse.Namespace) -> int:
    from benchmark.mine import mine_features, mine_run
    from benchmark.ranks import is_first_rank, joined

    quiet_lightning()
    with joined() as device:
        if options.features is not None:
            refuse_given({"--pool": options.pool, "settings": options.overrides}, "with --features")
            mined = [mine_features(options.features, options.out, options.k, device)]
        else:
            given = (options.k, options.pool, options.overrides)
            mined = mine_run(options.run, options.out, *given, device)
    if not is_first_rank():
        return DONE
    if options.json:
        print(json.dumps([each.to_dict() for each in mined]))
    else:
        print("\n".join(map(str, mined)))
    return DONE


def add_shards(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench shards``."""
    summary = "pack frames, sounds and lists into shards, to train from a disk or object store"
    parser = declared(verbs, "shards", _shards, summary, takes_settings=True)
    add = parser.add_argument
    add("data", metavar="D", help="data set of files under a root, such as vggss")
    add("--root", required=True, type=Path, metavar="DIR", help="its data root")
    add("--out", required=True, type=Path, metavar="DIR", help="a new folder, or an unfinished one")
    add("--size", type=int, default=256, metavar="MB", help="of a shard; 256 if not given")


def _shards(options: argparse.Namespace) -> int:
    from benchmark.config import data_alone
    from datamodules.clip import Inputs
    from datamodules.folder_clips import FolderClips, FolderConfig
    from datamodules.shard_writer import plan_of, write_shards
    from datamodules.storage import GB

    if options.size < 1:
        raise BenchError(f"--size must be at least 1 MB, got {options.size}")
    if options.out.resolve().is_relative_to(options.root.resolve()):
        raise BenchError(
            f"--out {options.out} lies in the data root, whose lists and annotations go into the "
            "shards; give --out a folder outside it"
        )
    kind, config = data_alone(options.data, (*options.overrides, f"data.root={options.root}"))
    if not (issubclass(kind, FolderClips) and isinstance(config, FolderConfig)):
        raise BenchError(f"data {options.data} has no files under a root that shards could hold")
    plan = plan_of(kind(config, Inputs(), seed=0), options.root, shard_bytes=options.size * 10**6)
    print(f"{plan.clips} clips: {plan.bytes / GB:.3g} GB in {len(plan.shards)} shards; "
          f"{len(plan.unreadable)} files cannot be read and stay out", file=sys.stderr)  # fmt: skip
    manifest = write_shards(plan, options.out)
    print(f"{options.out}: {manifest['clips']} clips in {len(manifest['shards'])} shards")
    print(f"Read them from there, or from a copy in an object store: --data {options.data} "
          f"data.shards={options.out}")  # fmt: skip
    return DONE


def add_prepare(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench prepare``."""
    summary = "make a data root out of a folder of raw videos; goes on where it was stopped"
    parser = declared(verbs, "prepare", _prepare, summary)
    add = parser.add_argument
    add("name", metavar="D", help="vggss, flickr, ave, music_solo or music_duet")
    add("--videos", required=True, type=Path, metavar="DIR", help="raw videos, in any container")
    add("--root", required=True, type=Path, metavar="DIR", help="data root that is to be made")
    add("--list", type=Path, metavar="F", help="ids of the clips to make; else those of the lists "
        "and annotations in the root, else of every video")  # fmt: skip
    add("--fast", action="store_true",
        help="store frames with a short side of 256 px and sound at 16 kHz")  # fmt: skip
    add("--rate", type=int, metavar="HZ", help="of the sound; its own if not given")
    add("--quality", type=int, default=95, metavar="Q", help="of the JPEG, 1 to 100; 95")
    add("--limit", type=int, metavar="N", help="make the first N clips that have a video")
    add("--workers", type=int, metavar="N", help="processes; one per core if not given")
    add("--dry-run", action="store_true", help="say what would be done and what it costs")
    add("--json", action="store_true", help="print JSON on standard output")


def _prepare(options: argparse.Namespace) -> int:
    from datamodules.clip_preparation import Form
    from datamodules.preparation import FAST_RATE_HZ, FAST_SIDE, prepare
    from datamodules.preparation_plan import Options

    form = Form(
        short_side=FAST_SIDE if options.fast else None,
        quality=options.quality,
        rate_hz=FAST_RATE_HZ if options.fast and options.rate is None else options.rate,
    )
    asked = Options(
        data=options.name,
        videos=options.videos,
        root=options.root,
        form=form,
        clips=options.list,
        limit=options.limit,
        workers=options.workers,
        dry_run=options.dry_run,
    )
    report = prepare(
        asked, lambda line: print(line, file=sys.stderr), reports=not sys.stderr.isatty()
    )
    from benchmark.preparation_table import preparation_json, preparation_table

    if options.json:
        print(json.dumps(preparation_json(asked, report), sort_keys=True))
    else:
        print_table(preparation_table(asked, report))
    return DONE
