"""Verbs that measure and compare what is there, and write pages of it."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from benchmark.verbs.parsing import (
    CHECK_SAYS_NO,
    DONE,
    RESULTS,
    Verbs,
    declared,
    given_folder,
    print_table,
    quiet_lightning,
    results_of,
    write_or_check,
)
from metrics.errors import BenchError

SCORED = """The .npz holds id (N,) text and heatmap (N, h, w), higher = source; optional are
confidence (N,), boxes (N, K, 4) xyxy in [0, 1], segment_logits (N, T, C), all that ave needs,
source_heatmap (N, S, h, w) with source_count (N,), map_range (2,), and on_screen (N,), true where
a rule of the method finds the source in the frame. Annotations are read for vggss, vggss_extended,
flickr, flickr_extended, is3, ave, music_solo, music_duet and music_synthetic, whose mixtures
data.generator_seed and data.test_clips choose; synthetic makes its own
and takes data.* settings."""


def add_table(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench table``."""
    summary = "print a paper's table: published, ours, difference, and its claims answered"
    parser = declared(verbs, "table", _table, summary)
    parser.add_argument("name", nargs="?", metavar="NAME", help="see bench list experiments; or "
                        "field, all methods and released networks side by side")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="what the papers claim, and whether our "
                        "runs agree")  # fmt: skip
    parser.add_argument("--data", metavar="D", help="with field: this data set alone")
    parser.add_argument("--on", choices=("synthetic",), help="our rows on other data")
    parser.add_argument("--results", type=Path, metavar="DIR")
    parser.add_argument("--runs", type=Path, metavar="DIR")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the table's figure")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON on standard output")
    shape.add_argument("--markdown", action="store_true", help="print Markdown")


def _table(options: argparse.Namespace) -> int:
    if options.all != (options.name is None):
        raise BenchError("give the NAME of one table (bench list experiments), or --all, not both")
    options.results = results_of(options)
    options.runs = given_folder(options.runs, "--runs", "runs", default=Path("runs"))
    if options.name == "field":
        return _field(options)
    if options.data is not None:
        raise BenchError("--data chooses from bench table field; a paper's table has its own data")
    if options.all:
        return _claims(options)
    from benchmark.experiment import experiment_named
    from benchmark.paper_table import paper_table, table_json, table_markdown, table_view

    table = paper_table(
        experiment_named(options.name), options.results, options.runs, on=options.on
    )
    if options.plot is not None:
        from benchmark.figures import draw_figure

        draw_figure(table, options.plot)
    if options.json:
        print(json.dumps(table_json(table), sort_keys=True))
    elif options.markdown:
        print(table_markdown(table), end="")
    else:
        print_table(table_view(table))
    return DONE


def _field(options: argparse.Namespace) -> int:
    from benchmark.field_table import (
        field_json,
        field_markdown,
        field_table,
        field_view,
    )
    from benchmark.published import read_field

    if options.plot is not None:
        raise BenchError("bench table field has no figure; leave --plot out")
    if options.data is not None and options.on not in (None, options.data):
        raise BenchError(f"--data {options.data} and --on {options.on} are two; leave one out")
    data = options.data or options.on
    table = field_table(read_field(), options.results, options.runs, data=data)
    if options.json:
        print(json.dumps(field_json(table), sort_keys=True))
    elif options.markdown:
        print(field_markdown(table), end="")
    else:
        print_table(field_view(table))
    return DONE


def _claims(options: argparse.Namespace) -> int:
    from benchmark.claims import claimed_tables, claims_json, claims_markdown, claims_view

    if options.plot is not None:
        raise BenchError("bench table --all has no figure; leave --plot out")
    tables = claimed_tables(options.results, options.runs, on=options.on)
    if options.json:
        print(json.dumps(claims_json(tables), sort_keys=True))
    elif options.markdown:
        print(claims_markdown(tables), end="")
    else:
        print_table(claims_view(tables))
    return DONE


def add_score(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench score``."""
    summary = "score maps made by any program, or those of a run, under any protocol"
    parser = declared(verbs, "score", _score, summary, takes_settings=True)
    parser.epilog = SCORED
    add = parser.add_argument
    add("--predictions", required=True, type=Path, metavar="F", help=".npz file, or a run folder")
    add("--data", metavar="D", help="data set of the ids; a run folder knows its own")
    add("--root", type=Path, metavar="DIR", help="data root with the annotations and lists")
    add("--annotations", type=Path, metavar="F", help="file or folder of boxes, or PNG masks")
    add("--list", type=Path, metavar="F", help="score the ids of this file only")
    add("--protocol", action="append", metavar="P", help="see bench list protocols; may be given "
        "several times, or all; bench-v1 if not given")  # fmt: skip
    add(
        "--map-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="of the maps' values, as plain decimals",
    )
    add("--boxes", action="store_true", help="score the best box in place of the map")
    add("--success", action="append", type=float, default=[], metavar="T",
        help="a further bar of consensus IoU, a key ciou@T")  # fmt: skip
    add("--by", action="append", default=[], metavar="KIND", help="category or size, in parts")
    add("--no-floors", action="store_true", help="leave out floors, ceiling and skill")
    add("--seed", type=int, default=0, metavar="S", help="of the bootstrap")
    add("--per-sample", type=Path, metavar="F", help="write a CSV with a row per sample")
    add("--json", action="store_true", help="print one JSON object per protocol, one per line")


def _score(options: argparse.Namespace) -> int:
    from benchmark import score
    from benchmark.predictions import read_given

    inputs = (options.predictions, options.annotations, options.list)
    score.check_writable(options.per_sample, inputs)
    given = score.prepared(
        read_given(options.predictions),
        map_range=score.stated_range(options.map_range),
        boxes=options.boxes,
    )
    data = options.data or (given.record.data if given.record is not None else None)
    if data is None:
        raise BenchError("whose ids are these? Give --data D (see: bench list data)")
    protocols = score.chosen_protocols(options.protocol or ["bench-v1"], data, given)
    place = score.Place(data=data, root=options.root, annotations=options.annotations,
                        test_list=options.list, overrides=tuple(options.overrides))  # fmt: skip
    boards = score.score_boards(
        given,
        score.find_truth(place, given.record),
        data,
        protocols,
        success=options.success,
        by=options.by,
        seed=options.seed,
        floors=not options.no_floors,
    )
    per_sample = options.per_sample
    files = score.write_samples(per_sample, boards, inputs) if per_sample else []
    if options.json:
        for board in boards:
            print(json.dumps(board.to_dict(), sort_keys=True))
        return DONE
    from benchmark.score_table import score_tables

    print_table(score_tables(boards, options.predictions.stem))
    for file in files:
        print(f"Per sample: {file}")
    return DONE


def add_compare(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench compare``."""
    parser = declared(verbs, "compare", _compare, "compare two runs on the clips that both scored")
    kinds = "run folder, record id or CSV of scores; with commas the mean of several"
    parser.add_argument("a", metavar="A", help=kinds)
    parser.add_argument("b", metavar="B", help=kinds)
    parser.add_argument("--metric", action="append", default=[], metavar="KEY",
                        help="compare only this; may be given several times")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the bootstrap")
    parser.add_argument("--results", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def _compare(options: argparse.Namespace) -> int:
    from benchmark.compare import compare, comparison_table

    found = compare(
        options.a, options.b, results_of(options), metrics=options.metric, seed=options.seed
    )
    for warning in found.warnings:
        print(f"bench: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(found.to_dict(), allow_nan=False))
    else:
        print_table(comparison_table(found))
    return DONE


def add_protocols(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench protocols``."""
    summary = "write the page that shows the same maps under every protocol"
    parser = declared(verbs, "protocols", _protocols, summary)
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is stale")
    parser.add_argument("--page", type=Path, default=Path("docs/protocols.md"), metavar="FILE")


def _protocols(options: argparse.Namespace) -> int:
    from benchmark.protocol_page import is_current, write_page

    return write_or_check(options, write_page, is_current)


def add_add(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench add``."""
    parser = declared(verbs, "add", _add, "accept a run's record into the results")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--check", action="store_true",
                        help="accept nothing; say whether what was accepted is whole")  # fmt: skip
    parser.add_argument("--results", type=Path, metavar="DIR")


def _add(options: argparse.Namespace) -> int:
    if options.check != (options.run is None):
        raise BenchError("give the folder of a RUN to accept, or --check alone")
    if options.check:
        return _check_results(results_of(options))
    from benchmark.acceptance import add_record

    options.results = options.results or RESULTS
    accepted = add_record(options.run, options.results)
    for warning in accepted.warnings:
        print(f"bench: {warning}", file=sys.stderr)
    print(f"{accepted.path}\nNow regenerate the leaderboard: bench leaderboard")
    return DONE


def _check_results(results: Path) -> int:
    from benchmark.acceptance import faults_of_results

    found = [fault for _, fault in faults_of_results(results)]
    faults = [fault for fault in found if fault is not None]
    for fault in faults:
        print(f"bench: {fault}", file=sys.stderr)
    print(f"{len(found) - len(faults)} of {len(found)} accepted records are whole")
    return CHECK_SAYS_NO if faults else DONE


def add_leaderboard(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench leaderboard``."""
    parser = declared(verbs, "leaderboard", _leaderboard, "regenerate leaderboard.md from records")
    parser.add_argument("--check", action="store_true", help="exit 1 when the page is stale")
    parser.add_argument("--results", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=("md", "csv", "json", "latex"), default="md",
                        help="other than md goes to standard output without --page")  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE", help="leaderboard.md for md")


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard import is_current, page_of, write_leaderboard

    results = results_of(options)
    if options.page is None and options.format == "md":
        options.page = Path("leaderboard.md")
    if options.page is None:
        if options.check:
            raise BenchError("--check compares with a file; give its --page")
        print(page_of(results, options.format), end="")
        return DONE
    return write_or_check(
        options,
        partial(write_leaderboard, results, form=options.format),
        partial(is_current, results, form=options.format),
    )


def add_report(verbs: "Verbs[argparse.ArgumentParser]") -> None:
    """Declares ``bench report``."""
    summary = "write static pages of all records, and a gallery of the runs at hand"
    parser = declared(verbs, "report", _report, summary)
    parser.epilog = """The folder is replaced as a whole, and only if it is new, empty or a report.
    A gallery holds frames and sounds of the data set: for yourself, unless its licence allows
    more."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("report"), metavar="DIR", help="folder of the pages; "
        "report if not given")  # fmt: skip
    add("--runs", nargs="+", type=Path, metavar="DIR", help="folders of runs, or run folders; runs "
        "if not given")  # fmt: skip
    add("--data", metavar="A,B", help="only these data sets")
    add("--no-media", action="store_true", help="leave frames and sounds out of galleries")
    add("--samples", type=int, default=8, metavar="N", help="of each group of a gallery; 8")
    add("--results", type=Path, metavar="DIR")


def _report(options: argparse.Namespace) -> int:
    from benchmark.report.site import Options, write_report

    quiet_lightning()
    asked = Options(options.out, results_of(options), options.runs, options.data,
                    media=not options.no_media, samples=options.samples)  # fmt: skip
    written = write_report(asked)
    print(f"{written.page}: runs: {written.num_runs}, boards: {written.num_boards}, "
          f"galleries: {written.num_galleries}")  # fmt: skip
    return DONE
