"""Packages by the real apt, from a repository in a folder."""

import resource
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from i2kit.errors import OperationError
from i2kit.image.base import packages
from i2kit.image.base.packages import Gone, Index, Package, distribution, opened, parse
from i2kit.image.store import Store
from i2kit.process import ProgramError
from tests.image.repository import Repository

SHOWN = """\
Package: crun
Version: 1.8.1-1
Pre-Depends: libc6 (>= 2.34)
Depends: libcap2 (>= 1:2.10), libsystemd0:any | libelogind0, libc6 (>= 2.34)
Description: a runtime
 with words over
 Depends: several lines
SHA256: 34bd

Package: virtual
Version: 1

Package: busybox-static
Version: 1:1.35.0-4+b1
Size: 928188
SHA256: 3d3f
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    return Repository(tmp_path / "repository", monkeypatch)


@pytest.fixture
def index(tmp_path: Path, store: Store) -> Index:
    return Index(store)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_apt_shows() -> None:
    crun, busybox = parse(SHOWN)
    assert crun.package == Package("crun", "1.8.1-1", "34bd")
    assert crun.depends == ("libc6", "libcap2", "libsystemd0")
    assert busybox.package.version == "1:1.35.0-4+b1"
    assert list(parse("")) == []


@pytest.mark.parametrize(
    ("text", "id_", "codename", "family"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n', "debian", "bookworm", "debian"),
        ("ID=debian\n", "debian", "unstable", "debian"),
        ('ID="ubuntu"\nID_LIKE=debian\nVERSION_CODENAME=noble\n', "ubuntu", "noble", "ubuntu"),
        (
            "ID=linuxmint\nID_LIKE='ubuntu debian'\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n",
            "ubuntu",
            "noble",
            "ubuntu",
        ),
    ],
)
def test_distributions(tmp_path: Path, text: str, id_: str, codename: str, family: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    found = distribution(file)
    assert (found.id, found.codename, found.family) == (id_, codename, family)


def test_another_distribution_is_named(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('ID=fedora\nPRETTY_NAME="Fedora Linux 42"\n')
    with pytest.raises(OperationError, match="Fedora Linux 42"):
        distribution(file)
    with pytest.raises(OperationError, match="another system"):
        distribution(tmp_path / "absent")


def test_a_closure_follows_only_what_it_is_told(repository: Repository, index: Index) -> None:
    repository.add("app", "2", {}, "liba, perl")
    repository.add("liba", "1:3", {}, "libb | libc, liba")
    repository.add("libb", "4", {})
    repository.publish()
    repository.update()
    found = index.closure("app", lambda name: name.startswith("lib"))
    assert [(package.name, package.version) for package in found] == [
        ("app", "2"),
        ("liba", "1:3"),
        ("libb", "4"),
    ]
    with pytest.raises(Gone, match="no package `other`"):
        index.closure("other", lambda _: True)


def test_fetched_packages_are_verified_and_read(repository: Repository, index: Index, store: Store) -> None:
    repository.add("app", "1:2", {"usr/bin/app": b"program"})
    repository.publish()
    repository.update()
    (app,) = index.closure("app", lambda _: False)
    index.fetch([app])
    with opened(store, app) as archive:
        file = archive.extractfile("./usr/bin/app")
        assert file
        assert file.read() == b"program"
    # Nothing is asked for again: the repository can be gone.
    repository.remove("app")
    index.fetch([app])


def test_a_package_that_is_gone_or_different(repository: Repository, index: Index, store: Store) -> None:
    repository.add("app", "1", {"x": b"old"})
    repository.publish()
    repository.update()
    (app,) = index.closure("app", lambda _: False)
    repository.add("app", "1", {"x": b"new"})
    repository.publish()
    repository.update()
    with pytest.raises(Gone, match="other bytes"):
        index.fetch([app])
    repository.add("app", "2", {})
    repository.publish()
    with pytest.raises(Gone):
        index.fetch([app])
    assert store.blob(app.digest) is None


def test_own_lists_where_the_system_has_none(repository: Repository, index: Index, store: Store) -> None:
    repository.add("app", "1", {})
    repository.publish()
    with pytest.raises(Gone):
        index.closure("app", lambda _: False)
    index.refresh()
    assert index.closure("app", lambda _: False)
    assert Index(store).closure("app", lambda _: False), "later runs use them too"
    assert not list((repository.root / "lists").glob("*Packages*")), "the system's stay as they are"


def test_a_full_disk_is_not_taken_for_a_package_that_is_gone(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "E: Failed to fetch http://mirror/crun.deb  Error writing to file - write (28: Kein Platz)"

    def full(argv: Sequence[str], **_: object) -> None:
        raise ProgramError(f"apt-get failed with exit status 100\n    {said}", status=100)

    monkeypatch.setattr(packages, "run", full)
    with pytest.raises(OperationError, match="no room for the distribution's packages") as caught:
        index.fetch([Package("crun", "1.8", "0" * 64)])
    assert not isinstance(caught.value, Gone)
    assert "I2KIT_STORE_DIR" in str(caught.value.hint)


def test_package_lists_are_not_fetched_onto_a_full_disk(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    with pytest.raises(OperationError, match="no room for the distribution's packages"):
        index.refresh()


def test_a_disk_that_is_too_small_to_open_a_package_on(
    repository: Repository, index: Index, store: Store
) -> None:
    repository.add("app", "1", {"x": bytes(2 << 20)})
    repository.publish()
    repository.update()
    (app,) = index.closure("app", lambda _: False)
    index.fetch([app])
    # Files may not grow further: what dpkg-deb says of that is not why.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OperationError, match="File too large") as caught, opened(store, app):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "I2KIT_STORE_DIR" in str(caught.value.hint)
    with opened(store, app) as archive:
        assert archive.getnames()
