import re
from pathlib import Path

import numpy as np
import pytest

from benchmark import protocol_page
from benchmark.protocol_page import is_current, made_up_maps, made_up_truth, page, write_page
from metrics.protocols import PROTOCOLS

SAMPLES = 20  # one of them has a box of more than half of the frame
PIXELS = 224 * 224
# Where all pixels of a map are equal, the pixels that such a rule keeps are all of them; the other
# rules keep none.
KEEP_ALL_OF_A_CONSTANT = {"lvs", "ezvsl", "slavc", "slavc-absolute", "dsol-solo", "dsol-synthetic",
                          "dsol-duet"}  # fmt: skip
KEPT_BY_A_MEDIAN = {"lvs": PIXELS // 2 - 1, "align": PIXELS // 2 - 1, "ezvsl": PIXELS // 2,
                    "slavc": PIXELS // 2}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _few_samples() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol_page, "SAMPLES", SAMPLES)
        yield


@pytest.fixture(scope="module")
def text() -> str:
    return page()


@pytest.fixture(scope="module")
def areas() -> np.ndarray:
    """Pixels of each box, its corners truncated."""
    corners = np.array([sample.boxes[0][0] for sample in made_up_truth()])
    left, top, right, bottom = (corners * 224).astype(int).T
    return np.asarray((right - left) * (bottom - top))


def table(text: str, title: str) -> dict[str, dict[str, str]]:
    """Cells of the table whose first column has that title, by row and column."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    start = next(row for row, line in enumerate(lines) if line[0] == title)
    header, rows = lines[start], {}
    for line in lines[start + 2 :]:
        if len(line) != len(header) or line[0] in rows or line[0] not in PROTOCOLS:
            break
        rows[line[0]] = dict(zip(header, line, strict=True))
    return rows


def percent(values: np.ndarray) -> str:
    return f"{100 * float(np.mean(values)):.1f}"


def test_the_page_is_the_same_every_time(text: str) -> None:
    assert page() == text


@pytest.mark.parametrize("key", ["ciou@0.5", "auc", "mean_iou"])
def test_every_table_has_a_row_for_every_protocol(key: str, text: str) -> None:
    assert list(table(text, f"{key}, %")) == list(PROTOCOLS)


def test_the_whole_frame_finds_the_boxes_of_half_of_it(text: str, areas: np.ndarray) -> None:
    rows, means = table(text, "ciou@0.5, %"), table(text, "mean_iou, %")

    assert {row["full"] for row in rows.values()} == {percent(2 * areas >= PIXELS)}
    assert {row["full"] for row in means.values()} == {percent(areas / PIXELS)}


def test_a_constant_map_is_the_whole_frame_or_nothing(text: str, areas: np.ndarray) -> None:
    rows = table(text, "ciou@0.5, %")

    whole, nothing = percent(2 * areas >= PIXELS), "0.0"
    assert whole != nothing
    assert {name: row["constant maps"] for name, row in rows.items()} == {
        name: whole if name in KEEP_ALL_OF_A_CONSTANT else nothing for name in PROTOCOLS
    }


def test_a_rule_that_keeps_half_has_a_ceiling_and_a_threshold_has_none(
    text: str, areas: np.ndarray
) -> None:
    rows = table(text, "mean_iou, %")

    expected = {
        name: percent(np.minimum(areas, kept) / np.maximum(areas, kept))
        for name, kept in KEPT_BY_A_MEDIAN.items()
    }
    expected["align-adaptive"] = percent((areas - 1) / areas)
    assert {name: row["ceiling"] for name, row in rows.items()} == {
        name: expected.get(name, "100.0") for name in PROTOCOLS
    }


def test_a_constant_map_flips_where_the_whole_frame_is_kept_by_one_rule_alone(
    text: str, areas: np.ndarray
) -> None:
    rows = table(text, "samples that flip, %")

    large = percent(2 * areas >= PIXELS)
    assert {name: row["constant maps"] for name, row in rows.items()} == {
        name: "0.0" if name in KEEP_ALL_OF_A_CONSTANT else large
        for name in PROTOCOLS if name != "lvs"
    }  # fmt: skip


def test_the_rules_name_their_source(text: str) -> None:
    for name, protocol in PROTOCOLS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
        assert row.endswith(f"| {protocol.source} |")
        assert ("(oracle)" in row) == protocol.oracle


def test_the_mean_area_of_the_boxes_is_told(text: str) -> None:
    corners = np.array([sample.boxes[0][0] for sample in made_up_truth()])
    area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)

    (told,) = re.findall(r"a mean area of (\d\.\d+) and a median of (\d\.\d+)", text)

    assert told == (f"{area.mean():.3f}", f"{np.median(area):.3f}")


def test_maps_lie_between_0_and_1_and_the_plateau_at_its_cut() -> None:
    truth = made_up_truth()

    maps = made_up_maps(truth)

    assert {name: each.shape for name, each in maps.items()} == {
        "7x7": (SAMPLES, 7, 7), "14x14": (SAMPLES, 14, 14), "plateau": (SAMPLES, 14, 14),
        "constant": (SAMPLES, 7, 7),
    }  # fmt: skip
    assert all(each.min() >= 0 and each.max() <= 1 for each in maps.values())
    np.testing.assert_array_equal(maps["plateau"], maps["14x14"].clip(max=0.5))


def test_the_page_on_disk_is_current_only_byte_by_byte(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol_page, "page", lambda: text)
    path = tmp_path / "protocols.md"
    absent = is_current(path)
    path.write_bytes(text.encode())
    same = is_current(path)
    path.write_bytes(text.replace("bench-v1", "bench-v2").encode())

    assert (absent, same, is_current(path)) == (False, True, False)


def test_the_page_is_written_with_its_picture_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: PROTOCOLS[name] for name in ("lvs", "sspl")}
    monkeypatch.setattr(protocol_page, "PROTOCOLS", few)
    monkeypatch.setattr(protocol_page, "SAMPLES", 2)

    write_page(tmp_path / "docs" / "protocols.md")

    written = {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()}
    assert set(written) == {"protocols.md", "protocols.png"}
    assert b"](protocols.png)" in written["protocols.md"]
    assert written["protocols.png"].startswith(b"\x89PNG")
