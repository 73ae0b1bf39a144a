"""Secrets are kept for their user alone, as long as a revision needs them."""

import stat
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.providers.local.layout import Layout
from i2kit.providers.local.machines import secretsets
from i2kit.providers.local.machines.metadata import SECRETS_PATH, MetadataServer, Subject

KEY = "default/db"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, tmp_path / "run")


def test_a_set_is_found_by_its_values_and_read_by_its_name(layout: Layout) -> None:
    assert secretsets.name_of(layout, KEY, "a=b\n") is None
    secretsets.keep(layout, KEY, "one", "a=b\n")
    assert secretsets.name_of(layout, KEY, "a=b\n") == "one"
    assert secretsets.name_of(layout, KEY, "a=c\n") is None
    assert secretsets.name_of(layout, "other/db", "a=b\n") is None
    assert secretsets.read(layout, KEY, "one") == "a=b\n"
    with pytest.raises(OperationError, match=r"cannot be read.*No such file"):
        secretsets.read(layout, KEY, "two")


def test_nobody_else_can_read_it(layout: Layout) -> None:
    secretsets.keep(layout, KEY, "one", "a=b\n")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in layout.state_dir.rglob("*")}
    assert modes == {"secrets": 0o700, "default": 0o700, "db": 0o700, "one": 0o600}


def test_what_no_revision_needs_goes_and_leaves_nothing(layout: Layout) -> None:
    for key, name in ((KEY, "one"), (KEY, "two"), ("default/web", "one")):
        secretsets.keep(layout, key, name, "a=b\n")
    (layout.secrets / KEY / "three.new").write_text("half wri")
    secretsets.forget_others(layout, {KEY: {"two"}})
    assert [path for path in layout.secrets.rglob("*") if path.is_file()] == [layout.secrets / KEY / "two"]
    secretsets.forget_others(layout, {})
    assert list(layout.state_dir.iterdir()) == []


def test_a_machine_is_told_its_own_secrets_with_its_own_token_only() -> None:
    service = MetadataServer("127.0.0.1", port=0)
    for number in (1, 2):
        service.tell(Subject(f"web-{number}", f"10.77.1.{number}", "", "", f"a={number}\n"))
    service.tell(Subject("bare", "10.77.1.3", "", ""))
    tokens = [service.token(f"10.77.1.{number}") for number in (1, 2, 3)]
    assert service.answer("10.77.1.1", tokens[0], SECRETS_PATH) == (200, "a=1\n")
    assert service.answer("10.77.1.1", tokens[1], SECRETS_PATH)[0] == 401
    assert service.answer("10.77.1.1", None, SECRETS_PATH)[0] == 401
    assert service.answer("10.77.1.3", tokens[2], SECRETS_PATH)[0] == 404
    service.hide_secrets("10.77.1.1")
    assert service.answer("10.77.1.1", tokens[0], SECRETS_PATH)[0] == 404, "its containers run by now"
    assert service.answer("10.77.1.1", tokens[0], "/latest/meta-data/instance-id") == (200, "web-1")
    assert "a=1" not in repr(Subject("web-1", "10.77.1.1", "", "", "a=1\n"))
    service.tell(Subject("new", "10.77.1.1", "", ""))
    assert service.answer("10.77.1.1", tokens[0], SECRETS_PATH)[0] == 401
