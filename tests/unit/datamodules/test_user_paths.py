from pathlib import Path

import pytest

from datamodules.user_paths import expanded
from metrics.errors import BenchError


def test_a_tilde_is_the_users_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/homes/me")

    assert expanded("~/data") == Path("/homes/me/data")
    assert expanded(Path("data/~")) == Path("data/~")


def test_the_folder_of_nobody_is_named() -> None:
    with pytest.raises(BenchError, match=r"^~no-such-user/data: there is no folder of ~no-such-us"):
        expanded("~no-such-user/data")
