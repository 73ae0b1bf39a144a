"""Where things are kept, by who asks and what the environment says."""

import os
import pwd
from pathlib import Path

import pytest

from i2kit import settings
from i2kit.errors import InputError


def folders(monkeypatch: pytest.MonkeyPatch, uid: int, **environ: str) -> tuple[Path, Path, Path]:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    found = settings.load(environ)
    return found.state_dir, found.run_dir, found.store_dir


def test_root_keeps_things_where_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    var = Path("/var/lib/i2kit")
    assert folders(monkeypatch, 0, HOME="/root") == (var, Path("/run/i2kit"), var / "store")


def test_a_user_keeps_things_at_home_and_sockets_where_a_logout_leaves_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1000"}
    state = Path("/home/ada/.local/state/i2kit")
    assert folders(monkeypatch, 1000, **home) == (state, state / "run", Path("/home/ada/.local/share/i2kit"))
    xdg = {"XDG_STATE_HOME": "/s", "XDG_DATA_HOME": "/d"}
    found = folders(monkeypatch, 1000, **home, **xdg)
    assert found == (Path("/s/i2kit"), Path("/s/i2kit/run"), Path("/d/i2kit"))


def test_without_a_variable_home_the_user_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    assert folders(monkeypatch, nobody.pw_uid)[0] == Path(nobody.pw_dir, ".local/state/i2kit")
    assert folders(monkeypatch, 4_000_000)[0] == Path("/nonexistent/.local/state/i2kit")


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_is_given_counts(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    given = {"I2KIT_STATE_DIR": "/a", "I2KIT_STORE_DIR": "/c"}
    assert folders(monkeypatch, uid, **given) == (Path("/a"), Path("/a/run"), Path("/c"))
    assert folders(monkeypatch, uid, **given, I2KIT_RUN_DIR="/b")[1] == Path("/b")


def test_a_value_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="I2KIT_ACCEL is `hvf`"):
        settings.load({"I2KIT_ACCEL": "hvf", "HOME": "/"})
