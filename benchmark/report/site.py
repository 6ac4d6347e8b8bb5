"""Writes the report site: the folder as a whole, or nothing."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from benchmark.file_names import file_name
from benchmark.leaderboard import HOW_TO_READ, OF_BOXES, OF_SEGMENTS
from benchmark.ranking import ranking, sections_of
from benchmark.ranking_files import json_text, leaderboard_csv, leaderboard_json
from benchmark.records import Record
from benchmark.report.again import again
from benchmark.report.boards import Board, run_address, supervisions
from benchmark.report.curves import HEIGHT, LEFT, RIGHT, WIDTH, axis_ticks, curves_of
from benchmark.report.found import Found, found_runs
from benchmark.report.gallery import EACH, Gallery, answers_of, data_of_run, make_gallery
from benchmark.report.parts import SHOWN, breakdowns
from benchmark.report.run_page import run_page
from benchmark.report.tables import Table
from benchmark.settings import of_data
from datamodules.atomic_files import UNFINISHED, write_atomically
from datamodules.base import ClipData
from datamodules.progress import progress_bar
from datamodules.told_truth import told_truth
from metrics.errors import BenchError
from metrics.truth import Truth, measured_truth

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
MARK = ".avloc-report"  # a file that every report has, so that nothing else is overwritten
NO_MAPS = "No run folder with maps of this board is at hand. Accepted records hold scores, no maps."
NO_PLACE = "Nobody marked a place in these clips, so there is nothing to hold a map against."
ASSETS = ("report.css", "report.js")


@dataclass(frozen=True)
class Options:
    """What to make a report of, and where.

    Attributes:
        out: folder to be made, or an earlier report to be replaced.
        results: folder of accepted records.
        runs: folders of runs, or run folders; ``runs`` if None.
        data: names of data sets with commas between them; all if None.
        media: whether frames and sounds are shown.
        samples: of each group of a gallery.
    """

    out: Path
    results: Path
    runs: Sequence[Path] | None = None
    data: str | None = None
    media: bool = True
    samples: int = EACH


class Written(NamedTuple):
    """What a report holds."""

    page: Path  # the first one
    num_boards: int
    num_runs: int
    num_galleries: int


@dataclass
class Shown:
    """What the page of a board shows beside its tables."""

    gallery: Gallery | None = None
    no_gallery: str = ""  # why there is none
    breakdowns: tuple[Table, ...] = ()
    no_breakdowns: str = ""


def write_report(options: Options) -> Written:
    """Writes the pages of all records and of the runs at hand.

    The same records, runs and options give the same bytes. The new folder takes the place of an
    earlier report only when it is complete.

    Raises:
        BenchError: the folder is something else than a report or cannot be written, there is
            nothing to show, or a record, scores or maps cannot be read.
    """
    if options.samples < 1:
        raise BenchError(f"--samples must be at least 1, got {options.samples}")
    out = Path(os.path.realpath(options.out))
    check_target(out)
    found = found_runs(options.results, options.runs, options.data)
    if not found.runs:
        raise BenchError(
            f"there is no run to report: none in {options.results} and none in a run folder; make "
            "one with bench run, or name folders with --runs DIR"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(UNFINISHED, f".{out.name}.", out.parent))
    except OSError as error:
        raise BenchError(
            f"--out {options.out} cannot be written ({error.strerror}); name another folder"
        ) from error
    try:
        written = _Site(made, options, found).write()
        made.chmod(0o755)  # mkdtemp's 0o700 would shut a web server out
        _swap(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return written._replace(page=out / "index.html")


def check_target(out: Path) -> None:
    """Nothing, or an error where the folder is neither new, empty nor an earlier report.

    Raises:
        BenchError: it would be overwritten.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise BenchError(f"--out {out} is a file; name a folder")
    if any(out.iterdir()) and not (out / MARK).is_file():
        raise BenchError(
            f"--out {out} holds files and is no report of bench report, so it is left as it is; "
            "name a new folder"
        )


def _swap(made: Path, out: Path) -> None:
    """Puts a finished folder in the place of an earlier one, which is deleted after that."""
    if not out.exists():
        made.rename(out)
        return
    old = made.with_name(f"{made.name}-old")
    out.rename(old)
    try:
        made.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old)


class _Site:
    """Fills one folder with pages."""

    def __init__(self, top: Path, options: Options, found: Found) -> None:
        self.top, self.options, self.found = top, options, found
        self.ranking = ranking(run.record for run in found.runs.values())
        accepted = frozenset(one for one, run in found.runs.items() if run.is_accepted)
        self.boards = [Board(section, accepted) for section in self.ranking.sections]
        partial = (one for one, _ in self.ranking.left_out if one.status != "complete")
        self.unranked = [
            Board(section, accepted, is_ranked=False) for section in sections_of(partial)
        ]
        self.gallery_of: dict[str, str] = {}  # run -> page
        self.pages = page_environment()

    def write(self) -> Written:
        for folder in ("assets", "boards", "runs", "gallery"):
            (self.top / folder).mkdir()
        for name in ASSETS:
            shutil.copyfile(HERE / "static" / name, self.top / "assets" / name)
        shown = {board.slug: self._shown(board) for board in self.boards}
        for board in self.boards:
            self._write_board(board, shown[board.slug])
            self._write_gallery(board, shown[board.slug].gallery)
        for board in self.unranked:
            self._write_gallery(board, self._gallery(board, *self._data(board))[0])
        self._write_runs()
        self._write_index(shown)
        text = leaderboard_csv([board.section for board in self.boards])
        write_atomically(self.top / "leaderboard.csv", text.encode())
        text = leaderboard_json([board.section for board in self.boards], self.ranking.left_out)
        write_atomically(self.top / "leaderboard.json", text.encode())
        write_atomically(self.top / MARK, b"A report of bench report, which may replace it.\n")
        galleries = len(set(self.gallery_of.values()))
        return Written(self.top, len(self.boards), len(self.found.runs), galleries)

    def _shown(self, board: Board) -> Shown:
        data, reason = self._data(board)
        gallery, no_gallery = self._gallery(board, data, reason)
        shown = Shown(gallery, no_gallery)
        try:
            truth = self._truth(board, data)
        except BenchError as error:  # such as ids of a later version
            shown.no_breakdowns = f"Classes and sizes cannot be told: {error}"
            return shown
        if truth is None:
            shown.no_breakdowns = reason or (
                "Classes and sizes are told by the annotations, which no record holds."
            )
        else:
            shown.breakdowns = breakdowns(board, self.found.runs, truth)
        return shown

    def _gallery(
        self, board: Board, data: ClipData | None, reason: str
    ) -> tuple[Gallery | None, str]:
        """The gallery of a board, or why there is none."""
        answers = answers_of(board, self.found.runs)
        if not answers:
            return None, NO_MAPS if board.section.has_places else NO_PLACE
        if data is None:
            return None, reason
        try:
            made = make_gallery(
                board, answers, data, self.top,
                each=self.options.samples, media=self.options.media,
            )  # fmt: skip
        except BenchError as error:  # such as a frame that is gone; the other pages stand
            log.warning("no gallery of %s: %s", board.title, error)
            shutil.rmtree(self.top / "media" / board.slug, ignore_errors=True)
            return None, f"The gallery could not be made: {error}"
        return made, ""

    def _data(self, board: Board) -> tuple[ClipData | None, str]:
        """Test data of the first run folder of a board that has them, or why there are none."""
        reason = ""
        for record in board.section.records:
            run = self.found.runs[record.id]
            if run.folder is None:
                continue
            try:
                data = data_of_run(run)
            except BenchError as error:
                reason = f"The data of {record.id} cannot be read: {error}"
                continue
            if data.report.splits["test"].sha256 != record.splits["test"].sha256:
                reason = f"The test list of {record.id} is no longer the one that it was tested on."
                continue
            if data.features("test", 0) is not None:
                reason = "The clips come as features, of which no frame can be shown."
                continue
            return data, ""
        return None, reason

    def _truth(self, board: Board, data: ClipData | None) -> tuple[Truth, ...] | None:
        """Truth of a test list: of the data where they are at hand, else what ids tell."""
        record = board.section.first
        if data is not None:
            localises = any(one.card.localises for one in board.section.records)
            return measured_truth(data.truth(), localises=localises)
        samples = next(
            (one for record in board.section.records
             if (one := self.found.runs[record.id].samples) is not None), None,
        )  # fmt: skip
        if samples is None:
            return None
        settings = {
            key.removeprefix("data."): value for key, value in of_data(record.config).items()
        }
        return told_truth(record.data, samples.ids, settings)

    def _write_board(self, board: Board, shown: Shown) -> None:
        curves = curves_of(board, self.found.runs) if board.section.has_places else None
        self._page(
            f"boards/{board.slug}.html", "board.html", board=board, shown=shown, curves=curves,
            drawing={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
                     "ticks": axis_ticks()}, most=SHOWN,
            of_boxes=OF_BOXES, of_segments=OF_SEGMENTS,
            command=command_of(board) if shown.no_gallery == NO_MAPS else None,
        )  # fmt: skip

    def _write_gallery(self, board: Board, gallery: Gallery | None) -> None:
        if gallery is None:
            return
        address = f"gallery/{board.slug}.html"
        self._page(address, "gallery.html", board=board, gallery=gallery, media=self.options.media)
        self.gallery_of |= dict.fromkeys((run_id for _, run_id in gallery.methods), address)

    def _write_runs(self) -> None:
        board_of = {record.id: board for board in self.boards for record in board.section.records}
        reasons = {record.id: reason for record, reason in self.ranking.left_out}
        with progress_bar("pages of runs", len(self.found.runs)) as advance:
            for run in self.found.runs.values():
                page = run_page(run, again(run.record))
                address = run_address(run.record)
                self._page(address, "run.html", page=page, board=board_of.get(run.record.id),
                           reason=reasons.get(run.record.id),
                           gallery=self.gallery_of.get(run.record.id))  # fmt: skip
                content = json_text(run.record.to_dict())
                write_atomically(self.top / "runs" / page.record_name, content.encode())
                advance()

    def _write_index(self, shown: Mapping[str, Shown]) -> None:
        by_reason: dict[str, list[Record]] = {}
        for record, reason in self.ranking.left_out:
            by_reason.setdefault(reason, []).append(record)
        self._page(
            "index.html", "index.html", boards=self.boards, shown=shown,
            left_out=sorted(by_reason.items()), unfinished=self.found.unfinished,
            supervisions=supervisions(self.boards), how_to_read=HOW_TO_READ,
            num_runs=len(self.found.runs), gallery_of=self.gallery_of,
        )  # fmt: skip

    def _page(self, address: str, template: str, **content: Any) -> None:
        up = "../" * address.count("/")
        text = self.pages.get_template(template).render(up=up, address=address, **content)
        write_atomically(self.top / address, text.encode())


def page_environment() -> Environment:
    """What renders the pages; everything that is put into them is escaped."""
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "inline": inline,
        "breakable": breakable,
        "file_name": file_name,
        "run_address": run_address,
    }
    return pages


def inline(text: str) -> Markup:
    """A line of Markdown with bold, emphasised and code words as HTML, all else escaped.

    >>> inline("a `<b>` of **all**, *not* 2 * 3")
    Markup('a <code>&lt;b&gt;</code> of <strong>all</strong>, <em>not</em> 2 * 3')
    """
    html = str(escape(text))
    for pattern, element in ((r"`([^`]+)`", "code"), (r"\*\*(\S.*?)\*\*", "strong"),
                             (r"\*(\S[^*]*?\S)\*", "em")):  # fmt: skip
        html = re.sub(pattern, rf"<{element}>\1</{element}>", html)
    return Markup(html)


def breakable(text: str) -> Markup:
    """Words of a setting, which a narrow column may break behind a dot, a dash below or an equals.

    >>> breakable("optim.lr=<1>")
    Markup('optim.<wbr>lr=<wbr>&lt;1&gt;')
    """
    return Markup("<wbr>").join(escape(piece) for piece in re.split(r"(?<=[.=_])(?=\D)", text))


def command_of(board: Board) -> str:
    """What makes a run whose maps a gallery could show."""
    rows = board.section.rows
    record = rows[0].first if rows else board.section.first
    return again(record).lines[-1]
