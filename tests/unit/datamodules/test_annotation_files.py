import json
from pathlib import Path

import pytest

from datamodules.annotation_files import is_box, read_json, read_xml, text_field
from metrics.errors import BenchError


@pytest.mark.parametrize(
    "value",
    [None, [0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 1, True], [0, 0, 1, 10**400], [0, 0, 1, "1"],
     [0, 0, 1, float("inf")], "0011", (0, 0, 1, 1)],
)  # fmt: skip
def test_anything_but_four_finite_numbers_is_no_box(value: object) -> None:
    assert not is_box(value)


def test_whole_numbers_and_garbage_that_is_finite_are_a_box() -> None:
    assert is_box([0, 1, -2.8823037615171176e16, 0.5])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b'{"a": {"b": 1, "b": 1}}', b"[" * 100000],
    ids=["empty", "truncated", "binary", "repeated key", "too deep"],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(BenchError, match=r"a\.json is not readable JSON .*--annotations FILE") as e:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(e.value)


def test_equal_keys_of_different_objects_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}, {"a": {"a": 2}}]')

    assert read_json(tmp_path / "a.json") == [{"a": 1}, {"a": {"a": 2}}]


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}', encoding="utf-8-sig")

    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_half_of_a_surrogate_pair_is_named_and_a_whole_one_taken() -> None:
    entry = {"class": json.loads(r'"\ud83d dog"'), "label": json.loads(r'"\ud83d\ude00 dog"')}

    with pytest.raises(BenchError, match=r"a\.json: 'class' holds half of a surrogate .* dog'"):
        text_field(entry, "class", "a.json")
    assert text_field(entry, "label", "a.json").endswith(" dog")


BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("content", [BOMB, OUTSIDE])
def test_entities_of_xml_are_not_expanded(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "1.xml"
    path.write_text(content, encoding=encoding)

    with pytest.raises(BenchError, match=r"1\.xml declares entities, which are not expanded"):
        read_xml(path)


@pytest.mark.parametrize("content", ["", "<a><b></a>", "no xml"])
def test_a_file_that_is_no_xml_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "1.xml").write_text(content)

    with pytest.raises(BenchError, match=r"1\.xml is not readable XML"):
        read_xml(tmp_path / "1.xml")
