import multiprocessing
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from datamodules.hdf5_files import Hdf5Array
from metrics.errors import BenchError

TABLE = np.arange(12.0).reshape(4, 3)


def written(path: Path, **arrays: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, content in arrays.items():
            file[name] = content
    return path


def opened(path: Path, shape: tuple[int | None, ...] = (4, None)) -> Hdf5Array:
    return Hdf5Array(path, "table", shape, "fetch it again")


def test_rows_and_the_whole_are_those_that_were_written(tmp_path: Path) -> None:
    array = opened(written(tmp_path / "a.h5", table=TABLE))

    assert (array.shape, len(array)) == ((4, 3), 4)
    assert array.row(2).tolist() == [6.0, 7.0, 8.0]
    assert np.array_equal(array.all(), TABLE)


def test_a_forked_process_reads_through_a_handle_of_its_own(tmp_path: Path) -> None:
    array = opened(written(tmp_path / "a.h5", table=TABLE))
    array.row(0)

    with multiprocessing.get_context("fork").Pool(1) as pool:
        rows = pool.map(array.row, [1, 3])

    assert [row.tolist() for row in rows] == TABLE[[1, 3]].tolist()


def test_a_pickled_array_opens_its_file_again(tmp_path: Path) -> None:
    array = opened(written(tmp_path / "a.h5", table=TABLE))
    array.row(0)

    copy: Hdf5Array = pickle.loads(pickle.dumps(array))

    assert copy.row(1).tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("kept", [0, 100, 2000])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path / "a.h5", table=np.zeros((4, 300)))
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(BenchError, match=r"a\.h5 cannot be read as HDF5 \(.*\); fetch it again"):
        opened(path)


def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = written(tmp_path / "a.h5", table=TABLE).read_bytes()
    refused = {}
    for trial in range(200):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=3)] = rng.integers(256, size=3)
        path = tmp_path / f"{trial}.h5"  # HDF5 may keep a damaged file open
        path.write_bytes(damaged.tobytes())
        try:
            opened(path).all()
        except BenchError as error:
            refused[path] = str(error)

    assert len(refused) > 20
    assert all(words.startswith(str(path)) for path, words in refused.items())
    assert not any("\n" in words for words in refused.values())


def test_an_array_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("table", shape=(4, 10**15), chunks=(1, 1), dtype="f4")

    with pytest.raises(BenchError, match=r"a\.h5 cannot be read as HDF5 \(.*\); fetch it again"):
        opened(tmp_path / "a.h5").all()


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("no such thing\n" * 200)

    with pytest.raises(BenchError, match="cannot be read as HDF5 .file signature not found"):
        opened(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"a\.h5 does not exist; fetch it again"):
        opened(tmp_path / "a.h5")


def test_a_file_that_vanished_since_it_was_looked_at_is_named(tmp_path: Path) -> None:
    array = opened(written(tmp_path / "a.h5", table=TABLE))
    (tmp_path / "a.h5").unlink()

    with pytest.raises(BenchError, match=r"a\.h5 cannot be read as HDF5 \(.*\); fetch it again"):
        array.row(0)


def test_an_array_of_another_name_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", other=TABLE)

    with pytest.raises(BenchError, match="holds no array 'table' of its own, but other"):
        opened(path)


@pytest.mark.parametrize("content", [TABLE[:3], TABLE[0], 1.0, np.array([[b"a"]] * 4)])
def test_another_shape_or_text_is_refused(tmp_path: Path, content: object) -> None:
    path = written(tmp_path / "a.h5", table=content)

    with pytest.raises(BenchError, match=r"'table' must be \(4, any\) numbers, got \("):
        opened(path)


def test_an_array_that_lies_in_another_file_is_refused(tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "elsewhere.h5", table=TABLE)
    link = h5py.ExternalLink(str(elsewhere), "table")
    raw = tmp_path / "raw"
    raw.write_bytes(TABLE.tobytes())
    with h5py.File(written(tmp_path / "stored.h5"), "w") as file:
        file.create_dataset("table", (4, 3), "f8", external=[(str(raw), 0, raw.stat().st_size)])

    for path in (written(tmp_path / "linked.h5", table=link), tmp_path / "stored.h5"):
        with pytest.raises(BenchError, match="no array 'table' of its own"):
            opened(path)
