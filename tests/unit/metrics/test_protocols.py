import dataclasses
import subprocess
import sys

import pytest

from metrics.errors import BenchError
from metrics.protocols import PROTOCOLS, protocol_named


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(shown.stdout.split())


def test_listing_protocols_imports_neither_torch_nor_numpy():
    assert not {"torch", "numpy"} & modules_after("import metrics, metrics.protocols")


def test_scoring_a_file_of_maps_imports_no_torch():
    assert "torch" not in modules_after("import metrics.scoring, metrics.floors, metrics.ceilings")


def test_a_protocol_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROTOCOLS["lvs"].map_size = 256


def test_no_protocol_can_be_added():
    with pytest.raises(TypeError, match="does not support item assignment"):
        PROTOCOLS["mine"] = PROTOCOLS["lvs"]


def test_each_protocol_is_found_by_its_own_name_and_has_one_line_about_it():
    for name, protocol in PROTOCOLS.items():
        assert protocol_named(name) is protocol
        assert name == protocol.name
        assert "\n" not in protocol.summary


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(BenchError, match=r"'bench-v2'\. Did you mean bench-v1\? Run bench list"):
        protocol_named("bench-v2")


def test_the_threshold_grid_of_bench_v1_runs_from_5_to_95_percent():
    assert PROTOCOLS["bench-v1"].threshold_grid == tuple(0.05 * k for k in range(1, 20))
