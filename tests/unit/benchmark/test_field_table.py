import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmark.cli import main
from benchmark.field_table import (
    FieldRow,
    FieldSection,
    field_json,
    field_markdown,
    field_table,
    field_view,
)
from benchmark.published import read_field
from benchmark.records import (
    Checkpoint,
    Figures,
    ProtocolFigures,
    Record,
    SplitIdentity,
    read_record,
    write_record,
)
from benchmark.registry import DATA_REGISTRY
from datamodules.id_lists import ListIdentity, ids_sha256
from metrics.errors import BenchError

HISTORY = Path(__file__).parents[2] / "records_v1"
TEST = SplitIdentity("vggss_test", 5158, "5" * 64)
TRAIN = SplitIdentity("vggss_144k", 140000, "7" * 64)
EZ_144K = "52bf528c44545e41e9c9a2bad3b500d091272121a1eddee7cbebffadba5aa53d"
FLOORS = {"center": Figures({"ciou@0.5": 0.34, "auc": 0.374})}

EZ, SLAVC, FNAC, TIE, ALIGN = (
    "stoneMo/EZ-VSL@95ff5bf", "stoneMo/SLAVC@05b429c", "OpenNLPLab/FNAC_AVL@0a0ca78",
    "jinxiang-liu/SSL-TIE@c49e6a9", "kaistmm/SSLalignment@e7ae3c5",
)  # fmt: skip
ZOO: list[tuple[str, str, str, dict[str, float]]] = [
    # the model zoos of the READMEs at those commits, row by row in their order
    (EZ, "flickr", "Flickr 10k", {"ciou@0.5": 81.93, "auc": 62.58}),
    (EZ, "flickr", "Flickr 144k", {"ciou@0.5": 83.13, "auc": 63.06}),
    (EZ, "flickr", "VGG-Sound 144k", {"ciou@0.5": 83.94, "auc": 63.60}),
    (EZ, "vggss", "VGG-Sound 10k", {"ciou@0.5": 37.18, "auc": 38.75}),
    (EZ, "vggss", "VGG-Sound 144k", {"ciou@0.5": 38.85, "auc": 39.54}),
    (EZ, "vggss", "VGG-Sound full, every file of the folder", {"ciou@0.5": 39.34, "auc": 39.78}),
    (EZ, "vggss", "VGG-Sound heard 110", {"ciou@0.5": 37.25, "auc": 38.97}),
    (EZ, "vggss", "VGG-Sound heard 110", {"ciou@0.5": 39.57, "auc": 39.60}),
    (SLAVC, "flickr_extended", "VGG-Sound 144k",
     {"slavc_ap": 51.63, "slavc_max_f1": 59.10, "loc_acc": 83.60}),
    (SLAVC, "vggss_extended", "VGG-Sound 144k",
     {"slavc_ap": 32.95, "slavc_max_f1": 40.00, "loc_acc": 37.79}),
    (FNAC, "vggss", "Flickr 10k", {"ciou@0.5": 35.27, "auc": 38.00}),
    (FNAC, "vggss", "Flickr 144k", {"ciou@0.5": 33.93, "auc": 37.29}),
    (FNAC, "vggss", "VGG-Sound 10k", {"ciou@0.5": 37.29, "auc": 38.99}),
    (FNAC, "vggss", "VGG-Sound 144k", {"ciou@0.5": 39.50, "auc": 39.66}),
    (ALIGN, "vggss", "VGG-Sound 144k", {"ciou@0.5": 39.94}),
    (ALIGN, "vggss", "VGG-Sound 144k", {"ciou@0.5": 39.16}),
    (ALIGN, "vggss", "VGG-Sound 144k", {"ciou@0.5": 41.42}),
    (ALIGN, "flickr", "Flickr 144k, which list is not said", {"ciou@0.5": 85.20}),
    (ALIGN, "flickr", "Flickr 144k, which list is not said", {"ciou@0.5": 84.80}),
    (ALIGN, "flickr", "Flickr 144k, which list is not said", {"ciou@0.5": 86.00}),
]  # fmt: skip
LISTS = {
    # clips and test clips among them, counted once from the files that the repositories hold
    "ez_vggss_144k": (144000, 3709), "fnac_vggss_144k": (144000, 3715),
    "ez_vggss_10k": (10000, 238), "fnac_vggss_10k": (10000, 229), "ez_vggss_heard": (59468, 0),
    "tie_vggss_144k": (144000, 0), "tie_vggss_10k": (10000, 0), "tie_seen_144k": (144000, 3565),
    "tie_vggss_190228": (190228, 4916), "tie_openset_70k": (70000, 2306),
    "htf_vggss_144k": (144000, 0), "htf_vggss_10k": (10000, 0), "acl_vggss_10k": (10000, 0),
    "acl_vggss_heard": (70000, 0), "ez_flickr_144k": (144000, 20), "ez_flickr_10k": (10000, 1),
    "tie_flickr_10k": (10000, 2), "att_flickr_144k": (144000, 0), "htf_flickr_144k": (144000, 0),
    "htf_flickr_10k": (10000, 0), "slavc_flickr_sup": (4750, 0),
}  # fmt: skip


@pytest.fixture
def accept(results: Path) -> Callable[..., Record]:
    """``accept(method, seed, own=.5, field={"lvs": .3})``: accepts a run on `vggss`."""

    def accepted(
        method: str,
        seed: int = 0,
        *,
        own: float = 0.5,
        field: dict[str, float] | None = None,
        settings: dict[str, object] | None = None,
        card: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Record:
        plain = read_record(HISTORY / "complete.json")
        number = len(list(results.glob("*.json")))
        protocols = {
            name: ProtocolFigures(
                {"ciou@0.5": value}, {}, {"center": Figures({"ciou@0.5": 0.31})},
                {"ciou@0.5": 0.5054},
            )
            for name, value in (field or {}).items()
        }  # fmt: skip
        record = replace(
            plain,
            **{
                "id": f"20250101T{number:06d}Z-{method}-vggss-0a1b2c3d",
                "method": method,
                "data": "vggss",
                "seed": seed,
                "splits": {"test": TEST, "train": TRAIN},
                "config": {"method": settings or {}, "seed": seed},
                "overrides": (),
                "metrics": {"ciou@0.5": own, "auc": own - 0.1},
                "ci95": {"ciou@0.5": (own - 0.02, own + 0.01)},
                "floors": FLOORS,
                "ceiling": {"ciou@0.5": 1.0},
                "protocols": protocols,
                "card": replace(plain.card, **(card or {})),
                **changes,
            },
        )
        write_record(results, record).rename(results / f"{record.id}.json")
        return record

    return accepted


def section(results: Path, data: str = "vggss") -> FieldSection:
    table = field_table(read_field(), results, results / "none", data=data)
    assert len(table.sections) == 1
    return table.sections[0]


def row_of(results: Path, method: str) -> FieldRow:
    (row,) = (row for row in section(results).rows if row.runs and row.method == method)
    return row


def cells(page: str, title: str, start: str) -> dict[str, str]:
    """The line of one block of a page that begins with some words, by column."""
    block = page[page.index(f"{title}") :].split("\n\n")[1].splitlines()
    header, lines = block[0], block[2:]
    (line,) = [line for line in lines if line.startswith(f"| {start} |")]
    names, values = ([part.strip() for part in each[2:-2].split(" | ")] for each in (header, line))
    return dict(zip(names, values, strict=True))


def page_of(results: Path) -> str:
    return field_markdown(field_table(read_field(), results, results / "none", data="vggss"))


def test_seeds_share_a_row_under_both_protocols(
    results: Path, accept: Callable[..., Record]
) -> None:
    for seed, own in enumerate((0.50, 0.54, 0.58)):
        accept("lvs", seed, own=own, field={"lvs": own - 0.2, "ezvsl": 0.1})

    row = row_of(results, "lvs")

    assert (row.protocol, row.n, len(row.runs)) == ("lvs", 500, 3)
    mean = row.bench["ciou@0.5"]
    found = (mean.mean, mean.sd, mean.low, mean.high)
    assert found == pytest.approx((54.0, 4.0, 52.0, 55.0))
    assert row.own["ciou@0.5"].mean == pytest.approx(34.0)


def test_floors_and_ceiling_stand_under_each_protocol(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("lvs", field={"lvs": 0.3})
    accept("ezvsl", field={"ezvsl": 0.3, "lvs": 0.2})

    page = page_of(results)

    assert cells(page, "protocol bench-v1", "floor center")["ciou@0.5"] == "34.0"
    assert cells(page, "protocol bench-v1", "ceiling")["ciou@0.5"] == "100.0"
    for method in ("lvs", "ezvsl"):
        own = cells(page, "each one's own protocol", method)
        found = (own["protocol"], own["floor center"], own["ceiling"])
        assert found == (method, "31.0", "50.5")


def test_a_saliency_run_is_a_floor_of_every_protocol_and_no_row(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("lvs", field={"lvs": 0.3})
    accept("saliency", own=0.45, field={"lvs": 0.25}, card={"floor": True})

    found = section(results)

    assert [row.method for row in found.rows if row.runs] == ["lvs"]
    assert found.bounds["bench-v1"].floors["saliency"]["ciou@0.5"] == pytest.approx(45.0)
    assert found.bounds["lvs"].floors["saliency"]["ciou@0.5"] == pytest.approx(25.0)


def released(**changes: Any) -> Checkpoint:
    plain = Checkpoint("released", "ezvsl", "8" * 64, {"epoch": 20}, trained_on=None)
    return replace(plain, **changes)


def test_a_checkpoint_has_unknown_leakage_and_never_none(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("ezvsl", splits={"test": TEST}, checkpoint=released(), settings={"front_end": "own"})

    row = row_of(results, "ezvsl")

    assert row.label == "ezvsl (file 88888888, own front-end)"
    assert (row.weights, row.training, row.leaked) == ("released checkpoint", "?", None)
    assert cells(page_of(results), "protocol bench-v1", row.label)["test clips in it"] == "?"


def test_a_checkpoint_whose_list_its_user_names_stands_beside_its_published_value(
    results: Path, accept: Callable[..., Record]
) -> None:
    plain = read_record(HISTORY / "complete.json")
    accept(
        "ezvsl",
        field={"ezvsl": 0.388},
        card={"object_guidance": True},
        checkpoint=released(trained_on="vggss_144k"),
        lists={"train": ListIdentity("vggss_144k", 144000, EZ_144K)},
        leakage=replace(plain.leakage, trained_on=3709),
    )

    row = row_of(results, "ezvsl")

    assert (row.leaked, row.guidance, row.weights) == (3709, "yes", "released checkpoint")
    assert row.published == {"ciou@0.5": 38.85, "auc": 39.54}


def test_files_of_one_method_have_rows_of_their_own(
    results: Path, accept: Callable[..., Record]
) -> None:
    for digit in "89":
        accept("ezvsl", splits={"test": TEST}, checkpoint=released(sha256=digit * 64))

    labels = [row.label for row in section(results).rows if row.runs]

    assert labels == ["ezvsl (file 88888888)", "ezvsl (file 99999999)"]


def test_the_one_network_of_a_method_stands_beside_a_file_of_it(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("lvs", splits={"test": TEST}, checkpoint=released(network="lvs"))

    row = row_of(results, "lvs")

    assert row.network is not None
    assert (row.network.id, row.training, row.leaked) == ("lvs_vggss", "not released", None)


def test_leakage_of_a_training_here_is_the_count_of_the_record(
    results: Path, accept: Callable[..., Record]
) -> None:
    plain = read_record(HISTORY / "complete.json")
    accept("lvs", leakage=replace(plain.leakage, trained_on=3709, trained_on_videos=3700))
    accept("hardpos")

    found = [row_of(results, name) for name in ("lvs", "hardpos")]
    assert [(row.leaked, row.leaked_videos) for row in found] == [(3709, 3700), (0, 0)]


def test_a_guided_run_is_a_row_of_its_own(results: Path, accept: Callable[..., Record]) -> None:
    accept("ezvsl", own=0.5)
    accept("ezvsl", own=0.4, settings={"object_guidance": "r.pth"}, card={"object_guidance": True})

    rows = [row for row in section(results).rows if row.runs]

    assert [(row.guidance, row.bench["ciou@0.5"].mean) for row in rows] == [
        ("no", pytest.approx(50.0)), ("yes", pytest.approx(40.0)),
    ]  # fmt: skip


def test_a_run_on_a_published_list_stands_beside_what_is_published_for_it(
    results: Path, accept: Callable[..., Record]
) -> None:
    lists = {"train": ListIdentity("vggss_144k", 144000, EZ_144K)}
    accept("ezvsl", field={"ezvsl": 0.36}, lists=lists, card={"object_guidance": True})

    page = page_of(results)
    own = cells(page, "each one's own protocol", "ezvsl")

    assert (own["ciou@0.5, ours"], own["ciou@0.5, published"]) == ("36.0", "38.85")
    assert row_of(results, "ezvsl").network is not None
    assert page.count("| 38.85 |") == 2  # beside ours, and with its source


def test_a_run_without_the_guide_does_not_stand_beside_a_guided_value(
    results: Path, accept: Callable[..., Record]
) -> None:
    lists = {"train": ListIdentity("vggss_144k", 144000, EZ_144K)}
    accept("ezvsl", field={"ezvsl": 0.36}, lists=lists)

    assert row_of(results, "ezvsl").network is None


def test_what_nobody_ran_is_there_as_published(results: Path) -> None:
    rows = section(results).rows

    assert all(not row.runs for row in rows)
    fnac = [row for row in rows if row.method == "fnac"]
    assert [(row.published["ciou@0.5"], row.leaked, row.guidance) for row in fnac] == [
        (39.50, 3715, "?"), (37.29, 229, "?"), (35.27, None, "?"), (33.93, None, "?"),
    ]  # fmt: skip


def test_a_protocol_that_the_record_lacks_is_a_dash_and_the_command_for_it(
    results: Path, accept: Callable[..., Record]
) -> None:
    record = accept("slavc", field={"lvs": 0.2})

    page = page_of(results)

    assert cells(page, "each one's own protocol", "slavc")["ciou@0.5, ours"] == "-"
    assert (
        "- slavc is not recorded under its own protocol slavc: bench score --predictions "
        f"runs/{record.id} --protocol slavc\n"
    ) in page


def test_a_run_that_is_not_accepted_is_scored_where_it_lies(
    results: Path, accept: Callable[..., Record], tmp_path: Path
) -> None:
    record = accept("slavc", field={"lvs": 0.2})
    folder = tmp_path / "elsewhere" / "a run"
    folder.mkdir(parents=True)
    (results / f"{record.id}.json").rename(folder / "record.json")

    page = field_markdown(field_table(read_field(), results, folder.parent, data="vggss"))

    assert f"bench score --predictions {folder} --protocol slavc\n" in page


def test_partial_runs_do_not_count(results: Path, accept: Callable[..., Record]) -> None:
    accept("lvs", status="partial", reasons=("--limit 60",))

    assert not any(row.runs for row in section(results).rows)


def test_other_test_lists_have_sections_of_their_own(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("lvs")
    accept("lvs", splits={"test": replace(TEST, n=250, sha256="6" * 64), "train": TRAIN})

    table = field_table(read_field(), results, results / "none", data="vggss")

    assert [len([row for row in each.rows if row.runs]) for each in table.sections] == [1, 1]
    assert [any(not row.runs for row in each.rows) for each in table.sections] == [True, False]


def test_json_has_every_figure_with_null_for_what_is_not_known(
    results: Path, accept: Callable[..., Record]
) -> None:
    record = accept("ezvsl", field={"ezvsl": 0.36}, splits={"test": TEST})

    table = field_table(read_field(), results, results / "none", data="vggss")
    content = json.loads(json.dumps(field_json(table)))

    first, *others = content["sections"][0]["rows"]
    assert (first["leaked"], first["guidance"], first["records"]) == (None, False, [record.id])
    assert first["own"]["ciou@0.5"]["mean"] == pytest.approx(36.0)
    printed = {each["published"]["id"]: each["published"]["published"] for each in others}
    assert printed["ezvsl_vggss_144k"] == {"ciou@0.5": 38.85, "auc": 39.54}
    assert content["training_lists"][0]["leaks"] == {"vggss": 3709}


def test_the_terminal_shows_what_markdown_does(
    results: Path, accept: Callable[..., Record]
) -> None:
    accept("lvs", field={"lvs": 0.3})
    stream = StringIO()

    table = field_table(read_field(), results, results / "none", data="vggss")
    Console(file=stream, width=400).print(field_view(table))

    shown = stream.getvalue()
    for words in ("50.0 [48.0, 51.0]", "floor center", "38.85", "published, by its source's own"):
        assert words in shown


def test_an_unknown_data_set_is_refused(results: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown data set 'vgss'\. Did you mean vggss\? Run "):
        field_table(read_field(), results, results, data="vgss")


def test_every_published_value_is_that_of_its_source() -> None:
    printed = [
        (each.source.split()[0], each.data, each.training, each.published)
        for each in read_field().networks
        if each.published
    ]

    assert printed == ZOO


def test_every_list_has_the_size_and_the_test_clips_that_were_counted() -> None:
    found = {each.id: (each.n, each.leaks[each.data]) for each in read_field().lists}

    assert found == LISTS


@pytest.mark.parametrize(
    ("list_id", "data", "name", "test"),
    [
        ("ez_vggss_144k", "vggss", "vggss_144k.txt", "vggss_test.csv"),
        ("ez_vggss_10k", "vggss", "vggss_10k.txt", "vggss_test.csv"),
        ("ez_vggss_heard", "vggss", "vggss_heard.txt", "vggss_test.csv"),
        ("ez_flickr_144k", "flickr", "flickr_144k.txt", "flickr_test.csv"),
        ("ez_flickr_10k", "flickr", "flickr_10k.txt", "flickr_test.csv"),
        ("slavc_flickr_sup", "flickr", "flickr_sup_train.txt", "flickr_test.csv"),
    ],
)
def test_lists_are_those_of_the_real_files(
    list_id: str, data: str, name: str, test: str, shared_data: Path
) -> None:
    folder = shared_data / "annotations" / data
    train, tested = (
        [line.partition(",")[0] for line in (folder / each).read_text().split()]
        for each in (name, test)
    )
    (known,) = (each for each in read_field().lists if each.id == list_id)

    assert len(train) == known.n
    assert len(set(train) & set(tested)) == known.leaks[data]
    assert ids_sha256(tuple(train)) == known.sha256


def test_the_file_names_data_sets_and_sources_that_exist() -> None:
    known = read_field()

    assert {each.data for each in known.networks} <= DATA_REGISTRY.names().keys()
    assert {each.method for each in known.networks} <= {each.id for each in known.protocols}
    assert all("@" in each.source for each in (*known.networks, *known.lists))


def test_averaged_weights_and_boxes_are_said_where_they_are() -> None:
    networks = read_field().networks

    assert {each.method for each in networks if each.ema == "yes"} == {"slavc"}
    assert {each.method for each in networks if each.supervision == "boxes"} == {"attention_relu"}
    guided = {each.method for each in networks if each.guidance == "yes"}
    assert guided == {"ezvsl"}


PLAIN = """\
protocols: [{id: lvs, protocol: lvs, source: s}]
lists: [{id: a, label: A, data: vggss, n: 5, source: s}]
networks:
  - {id: one, method: lvs, label: LVS, data: vggss, training: t, source: s}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("source: s}\n", "source: s, trained_on: b}\n", r"row one: trained_on must be a list, got "
         r"'b'"),
        ("source: s}\n", "source: s, guidance: maybe}\n", r"row one: guidance must be one of yes, "
         r"no, \?, got 'maybe'"),
        ("source: s}\n", "source: s, published: {iou: 3}}\n", r"row one: published must have "
         r"metrics of ciou@0\.5, .*got 'iou'"),
        ("source: s}\n", "source: s, published: {auc: 300}}\n", r"published\.auc must be a "
         r"percentage in \[0, 100\], got 300\.0"),
        ("n: 5", "n: many", r"row a: n must be a whole number, got 'many'"),
        ("label: LVS, ", "", r"row one: key 'label' is missing"),
        ("protocol: lvs", "protocol: lsv", r"field\.yaml: row \w+: protocol: .*lsv"),
    ],
)  # fmt: skip
def test_a_file_that_says_what_cannot_be_is_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "field.yaml"
    head, _, tail = PLAIN.rpartition(old)
    path.write_text(head + new + tail)

    with pytest.raises(BenchError, match=words):
        read_field(path)


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "field.yaml"
    path.write_text(PLAIN + PLAIN.splitlines()[-1] + "\n")

    with pytest.raises(BenchError, match=r"row one stands 2 times; rename one"):
        read_field(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("field", "--plot", "a.png"), "bench table field has no figure; leave --plot out"),
        (("field", "--data", "vggss", "--on", "synthetic"), "are two; leave one out"),
        (("hardpos_table1", "--data", "vggss"), "--data chooses from bench table field"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_command_prints_one_data_set(
    results: Path, accept: Callable[..., Record], capsys: pytest.CaptureFixture[str]
) -> None:
    accept("lvs", field={"lvs": 0.3})

    code = main(["table", "field", "--data", "vggss", "--results", str(results), "--json"])

    assert code == 0
    assert [each["data"] for each in json.loads(capsys.readouterr().out)["sections"]] == ["vggss"]
