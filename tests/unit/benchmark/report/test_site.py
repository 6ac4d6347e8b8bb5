"""The folder of a report: its pages hang together, hold what was recorded, and replace a report."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from benchmark.records import Figures, Record, read_record, write_record
from benchmark.report.site import MARK, Options, check_target, page_environment, write_report
from metrics.errors import BenchError

EVIL = "<script>alert(1)</script>\"'"
Site = Callable[..., Path]


class Page(HTMLParser):
    """What the tests ask of a page."""

    VOID = frozenset({"meta", "link", "img", "input", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.scripts: list[dict[str, str | None]] = []
        self.lang: str | None = None
        self.title = ""
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := found.get(key))]
        self.ids += [value] if (value := found.get("id")) else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img":
            self.images.append(found)
        if tag == "script":
            self.scripts.append(found)
        if tag == "html":
            self.lang = found.get("lang")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """SVG closes its elements at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-2:] == ["head", "title"]:
            self.title += data


def pages_of(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }


def contents(site: Path) -> dict[str, bytes]:
    return {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in sorted(site.rglob("*"))
        if path.is_file()
    }


def broken_links(site: Path) -> list[str]:
    pages = pages_of(site)
    broken = []
    for address, page in pages.items():
        for link in page.links:
            if link == "data:,":
                continue
            place, _, anchor = link.partition("#")
            target = (
                ((site / address).parent / unquote(place)).resolve() if place else site / address
            )
            known = pages[target.relative_to(site.resolve()).as_posix()].ids if anchor else None
            if not target.is_file() or (known is not None and anchor not in known):
                broken.append(f"{address}: {link}")
    return broken


def test_every_link_and_every_file_that_a_page_names_is_there(gallery_site: Path) -> None:
    assert [] == broken_links(gallery_site)


def test_no_page_reaches_out_of_its_folder(gallery_site: Path) -> None:
    for page in pages_of(gallery_site).values():
        outside = [link for link in page.links if re.match(r"[a-z]+:|/", link) and link != "data:,"]

        assert [] == outside


def test_every_page_has_a_language_a_title_of_its_own_and_headings_in_order(
    gallery_site: Path,
) -> None:
    pages = pages_of(gallery_site)

    assert len({page.title for page in pages.values()}) == len(pages)
    for page in pages.values():
        assert "en" == page.lang
        assert 1 == page.headings[0]
        assert 1 == page.headings.count(1)
        steps = np.diff(page.headings)
        assert steps.max(initial=0) <= 1
        assert len(set(page.ids)) == len(page.ids)


def test_every_image_has_words_in_its_place(gallery_site: Path) -> None:
    (gallery,) = (page for name, page in pages_of(gallery_site).items() if "gallery/" in name)

    assert gallery.images
    assert all(image["alt"] for image in gallery.images)


def test_pages_run_the_one_script_and_none_of_their_own(gallery_site: Path) -> None:
    for address, page in pages_of(gallery_site).items():
        up = "../" * address.count("/")

        assert [{"src": f"{up}assets/report.js", "defer": None}] == page.scripts


def test_the_same_records_and_runs_give_the_same_bytes(
    runs: Path, gallery_site: Path, tmp_path: Path
) -> None:
    write_report(Options(tmp_path / "again", tmp_path / "none", [runs], samples=4))

    assert contents(gallery_site) == contents(tmp_path / "again")


def evil(record: Record) -> Record:
    return replace(
        record,
        overrides=(f"method.positives={EVIL}",),
        missing=(EVIL,),
        unreadable={f"{EVIL}2": EVIL},
        excluded=(f"{EVIL}3",),
        data_notes=(EVIL,),
        environment={**record.environment, EVIL: EVIL},
        card=replace(record.card, paper=EVIL, supervision=EVIL),
        splits={name: replace(split, name=f"{split.name}{EVIL}")
                for name, split in record.splits.items()},
    )  # fmt: skip


def test_what_a_record_says_is_text_and_never_markup(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(evil(record), replace(record, id="other")))

    for path in made.rglob("*"):
        if path.is_file() and path.suffix != ".csv":  # which no browser takes for a page
            assert b"<script>alert" not in path.read_bytes(), path
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name)
    run_page = pages_of(made)[f"runs/{record.id}.html"]
    assert 1 == len(run_page.scripts)
    assert EVIL in run_page.text
    assert [] == broken_links(made)


def test_json_ends_no_script_and_reads_back(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(evil(record)))
    text = (made / "runs" / f"{record.id}.json").read_text()

    assert "<" not in text
    assert [EVIL] == json.loads(text)["missing"]
    (board,) = json.loads((made / "leaderboard.json").read_text())["boards"]
    assert [f"method.positives={EVIL}"] == board["rows"][0]["settings"]


def test_templates_escape_and_name_what_they_lack() -> None:
    pages = page_environment()

    assert "&lt;b&gt;" == pages.from_string("{{ words }}").render(words="<b>")
    with pytest.raises(Exception, match="'words' is undefined"):
        pages.from_string("{{ words }}").render()


def test_the_csv_has_a_line_for_each_metric_of_each_row_floor_and_ceiling(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record))

    with (made / "leaderboard.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    (ours,) = (one for one in lines if (one["kind"], one["metric"]) == ("method", "ciou@0.5"))
    assert {"method", "floor", "ceiling"} == {line["kind"] for line in lines}
    assert (0.524, 0.494, 0.554) == (float(ours["value"]), float(ours["low"]), float(ours["high"]))
    assert (float(ours["minus_best_floor"]), float(ours["swap_drop"])) == (0.214, 0.33)


def test_runs_that_are_not_ranked_are_counted_with_their_reasons_and_have_pages(
    record: Record, partial: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record, partial))

    pages = pages_of(made)
    assert "1 run: partial: " in pages["index.html"].text
    assert "Not in a ranking: partial" in pages[f"runs/{partial.id}.html"].text


def test_an_unfinished_run_is_counted(gallery_site: Path) -> None:
    text = pages_of(gallery_site)["index.html"].text

    assert "1 folder: without record.json" in text
    assert "20250301T150000Z-lvs-synthetic-unfinished" in text


def test_a_board_without_maps_says_so_and_gives_the_command(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record))

    (board,) = (page for name, page in pages_of(made).items() if name.startswith("boards/"))
    assert "No run folder with maps of this board is at hand." in board.text
    assert "bench run --method hardpos --data synthetic --seed 0" in board.text
    assert "bench report --out DIR --runs runs" in board.text


def test_a_board_without_places_has_neither_curves_nor_a_gallery(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    told = {"segment_acc": 0.5}
    floors = {"background": Figures(told)}
    made = site(write_results(replace(record, metrics=told, ci95={}, floors=floors)))

    (board,) = (page for name, page in pages_of(made).items() if name.startswith("boards/"))
    assert "Nobody marked a place in these clips" in board.text
    assert "Success curves" not in board.text


def test_a_run_that_lies_in_a_folder_alone_is_marked(
    runs: Path, record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record), [runs])

    index = pages_of(made)["index.html"].text
    assert 2 == len(re.findall(r"(?<!“)not accepted", index))


def test_a_run_page_has_configuration_hashes_and_the_command(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(replace(record, overrides=("method.k=10",))))

    text = pages_of(made)[f"runs/{record.id}.html"].text
    assert record.config_hash in text
    assert re.search(r"method\.k\s+10\s+command line", text)
    assert re.search(r"optim\.lr\s+0\.0001\s+defaults, recipe, preset or file", text)
    assert re.search(r"bench run --method hardpos --data synthetic --seed 0 method\.k=10 ", text)


def test_without_media_there_is_no_frame_and_no_sound(runs: Path, tmp_path: Path) -> None:
    made = write_report(Options(tmp_path / "site", tmp_path, [runs], media=False, samples=2))

    names = {path.name.rpartition("-")[2] for path in made.page.parent.glob("media/*/*")}
    assert {"map0.jpg", "map1.jpg"} == names
    (gallery,) = made.page.parent.glob("gallery/*.html")
    assert "Frames and sounds were left out" in gallery.read_text()


def test_runs_that_are_not_ranked_have_a_gallery_that_says_so(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob("*-lvs-*0/record.json")
    partial = replace(read_record(path), status="partial", reasons=("--limit 60",))
    write_record(path.parent, partial)

    made = write_report(Options(tmp_path / "site", tmp_path, [tmp_path / "runs"])).page.parent

    (gallery,) = made.glob("gallery/*-unranked.html")
    assert "These runs are not ranked: partial ones" in gallery.read_text()
    assert f'href="gallery/{gallery.name}"' in (made / "index.html").read_text()
    assert [] == broken_links(made)


def test_data_that_have_moved_leave_a_reason_in_place_of_the_gallery(
    runs: Path, tmp_path: Path
) -> None:
    for folder in runs.glob("*0"):
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
        config = tmp_path / "runs" / folder.name / "config.yaml"
        config.write_text(config.read_text().replace("test_clips: 60", "test_clips: 61"))

    made = write_report(Options(tmp_path / "site", tmp_path, [tmp_path / "runs"])).page.parent

    (board,) = made.glob("boards/*.html")
    assert 0 == len(list(made.glob("gallery/*")))
    assert "spec.json" in board.read_text()


def test_only_the_data_sets_asked_for_are_shown(
    record: Record, partial: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record, partial), data="synthetic")

    assert [record.id] == [path.stem for path in made.glob("runs/*.html")]


def test_an_earlier_report_is_replaced_as_a_whole(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    made = site(write_results(record))
    (made / "left-over.html").touch()

    site(write_results(record))

    assert not (made / "left-over.html").exists()
    assert {"results", "site"} == {path.name for path in made.parent.iterdir()}


def test_a_folder_that_is_no_report_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(BenchError, match="holds files and is no report of bench report"):
        check_target(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site").touch()

    with pytest.raises(BenchError, match="site is a file; name a folder"):
        check_target(tmp_path / "site")


def test_a_report_that_fails_leaves_the_earlier_one(
    record: Record, write_results: Callable[..., Path], site: Site
) -> None:
    results = write_results(record)
    before = contents(site(results))
    with (results / f"{record.id}.csv").open("a") as stream:
        stream.write("test-000099,1,1\n")

    with pytest.raises(BenchError, match="one of them was changed"):
        site(results)

    assert before == contents(results.parent / "site")
    assert {"results", "site"} == {path.name for path in results.parent.iterdir()}
    assert MARK in before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": "vgs"}, "--data vgs: no run of that data set"),
        ({"samples": 0}, "--samples must be at least 1, got 0"),
        ({"runs": [Path("absent")]}, "--runs absent is no folder"),
    ],
)
def test_a_mistake_is_said_in_one_line(
    options: dict[str, object],
    words: str,
    record: Record,
    write_results: Callable[..., Path],
    site: Site,
) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        site(write_results(record), **options)

    assert "\n" not in str(caught.value)


def test_nothing_to_report_says_how_to_make_something(tmp_path: Path, site: Site) -> None:
    with pytest.raises(BenchError, match="there is no run to report"):
        site(tmp_path / "none")
