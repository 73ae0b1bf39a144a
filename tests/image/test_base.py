"""The base and its lock file, on a distribution that moves on."""

import tarfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError
from i2kit.events import Event, Warned, ignore
from i2kit.image import base, sources
from i2kit.image.base import boot, lock
from i2kit.image.base.components import Files
from i2kit.image.base.packages import Distribution, Package, distribution
from i2kit.image.store import Store
from i2kit.image.template import Base
from tests.image.repository import RELEASE, Repository, base_packages

Ensure = Callable[..., Base]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path / "repository", monkeypatch)
    base_packages(found)
    found.update()

    def core_image(store: Store, parts: Mapping[str, bytes], program: Files) -> bytes:
        assert {"lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/libc.so.6"} < set(program)
        return b"core of " + b" ".join(sorted(parts.values()))

    # The program that makes it is not in these packages.
    monkeypatch.setattr(boot, "core_image", core_image)
    return found


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "project" / "i2kit.lock"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def ensure(tmp_path: Path, lock_file: Path, warnings: list[str]) -> Ensure:
    def watch(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)

    def ensure(*, store: str = "store", locked: bool = False) -> Base:
        return base.ensure(store=Store(tmp_path / store), lock_file=lock_file, locked=locked, watch=watch)

    return ensure


def files_of(store: Store, reference: str) -> dict[str, tarfile.TarInfo | bytes]:
    image = sources.resolve(reference, store=store)
    (layer,) = sources.pull(image, store=store)
    return read_tar(layer.read_bytes())


def read_tar(content: bytes) -> dict[str, tarfile.TarInfo | bytes]:
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        found: dict[str, tarfile.TarInfo | bytes] = {}
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            found[member.name] = file.read() if file else member
        return found


def test_components(repository: Repository, ensure: Ensure, tmp_path: Path) -> None:
    found = ensure()
    store = Store(tmp_path / "store")
    kernel = files_of(store, found.kernel)
    record = f"var/lib/dpkg/status.d/linux-image-{RELEASE}"
    assert {name for name, entry in kernel.items() if isinstance(entry, bytes)} == {
        "kernel",
        "kernel.tar",
        record,
    }
    modules = kernel["kernel.tar"]
    assert isinstance(modules, bytes)
    tree = read_tar(modules)
    assert tree[record] == kernel[record]
    folder = f"lib/modules/{RELEASE}"
    names = {name.removeprefix(f"{folder}/") for name in tree if name.endswith(".ko")}
    assert names == {
        f"{name}.ko"
        for name in [
            *("virtio", "virtio_pci", "virtio_blk", "nvme", "nvme_core", "virtio_net", "net_failover"),
            *("erofs", "libcrc32c"),
        ]
    }
    listed = tree["usr/lib/i2kit/initramfs.list"]
    assert isinstance(listed, bytes)
    assert listed.decode().split() == [
        "bin/busybox",
        "usr/lib/i2kit/initramfs-fstab",
        f"{folder}/modules.dep",
        *(f"{folder}/{name}.ko" for name in ["virtio", "virtio_pci", "virtio_blk", "nvme_core", "nvme"]),
        *(f"{folder}/{name}.ko" for name in ["libcrc32c", "erofs"]),
    ]
    crun = files_of(store, next(image for image in found.init if "/crun@" in image))
    assert {name for name, entry in crun.items() if isinstance(entry, bytes)} == {
        "usr/bin/crun",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "lib64/ld-linux-x86-64.so.2",
        *(f"var/lib/dpkg/status.d/{name}" for name in ("crun", "libc6")),
    }
    ext4 = files_of(store, found.ext4)
    assert {name for name, entry in ext4.items() if isinstance(entry, bytes)} == {
        *("sbin/e2fsck", "sbin/mke2fs", "sbin/resize2fs"),
        *(f"usr/lib/x86_64-linux-gnu/{name}" for name in ("libc.so.6", "libext2fs.so.2")),
        "lib64/ld-linux-x86-64.so.2",
        *(f"var/lib/dpkg/status.d/{name}" for name in ("e2fsprogs", "libc6", "libext2fs2")),
    }
    lua = files_of(store, next(image for image in found.init if "/lua@" in image))
    assert {name for name, entry in lua.items() if isinstance(entry, bytes)} == {
        *("usr/bin/luajit", "usr/lib/i2kit/lua/bearssl.lua", "usr/lib/i2kit/lua/posix.lua"),
        *("usr/lib/x86_64-linux-gnu/libbearssl.so.0", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        "lib64/ld-linux-x86-64.so.2",
        *(f"var/lib/dpkg/status.d/{name}" for name in ("libbearssl0", "libc6", "luajit")),
    }
    aws = files_of(store, next(image for image in found.init if "/aws@" in image))
    assert {
        name for name, entry in aws.items() if isinstance(entry, bytes) and not name.endswith(".lua")
    } == {
        *(f"usr/lib/i2kit/aws/{name}" for name in ("call", "ship", "roots.der")),
        "var/lib/dpkg/status.d/ca-certificates",
    }
    assert aws["usr/lib/i2kit/aws/roots.der"] == "".join(base.ROOTS).encode()
    assert crun["var/lib/dpkg/status.d/libc6"] == (
        b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"
        b"Maintainer: x <x@localhost>\n"
    )
    busybox = files_of(store, next(image for image in found.init if "/busybox@" in image))
    here = distribution()
    release = busybox["usr/lib/os-release"]
    assert isinstance(release, bytes)
    assert release.startswith(f"ID={here.id}\nVERSION_CODENAME={here.codename}\n".encode())
    init = files_of(store, next(image for image in found.init if "/init@" in image))
    assert {"init", "usr/lib/i2kit/initramfs-init", "run", "var", "tmp"} <= set(init)
    assert boot.load(store, found.boot) == boot.Loader(b"stub", b"boot", b"core of 1 boot")


def test_the_same_packages_are_the_same_bytes(
    repository: Repository, ensure: Ensure, lock_file: Path, warnings: list[str]
) -> None:
    first = ensure()
    text = lock_file.read_text()
    recorded = lock.parse(text, "x")["amd64"]
    assert [package.name for package in recorded.packages] == sorted(
        [
            *("busybox-static", "ca-certificates", "crun", "e2fsprogs", "grub-common", "grub-pc-bin"),
            *("libbearssl0", "libc6", "libext2fs2", "luajit", f"linux-image-{RELEASE}", "systemd-boot-efi"),
        ]
    )
    assert ensure(store="another") == first
    assert lock_file.read_text() == text
    assert warnings == []


def test_what_is_in_the_store_needs_no_distribution(
    repository: Repository, ensure: Ensure, lock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure()
    monkeypatch.setenv("APT_CONFIG", "/dev/null/absent")
    changed = lock_file.stat().st_mtime_ns
    assert ensure() == first
    assert ensure(locked=True) == first
    assert lock_file.stat().st_mtime_ns == changed


@pytest.mark.parametrize("updated", [True, False], ids=["system's lists new", "system's lists old"])
def test_a_distribution_that_moved_on(
    repository: Repository, ensure: Ensure, lock_file: Path, warnings: list[str], updated: bool
) -> None:
    first = ensure()
    text = lock_file.read_text()
    base_packages(repository, "2")
    if updated:
        repository.update()

    assert ensure() == first, "what is in the store serves on"
    with pytest.raises(OperationError, match="--locked") as refused:
        ensure(store="empty", locked=True)
    assert "i2kit.lock cannot be followed" in refused.value.message
    assert lock_file.read_text() == text

    second = ensure(store="empty")
    assert second != first
    assert "the distribution has moved on: busybox-static 1 -> 2" in warnings
    assert len(warnings) == 12
    assert 'version = "2"' in lock_file.read_text()
    assert ensure(store="third", locked=True) == second


def test_a_lock_file_that_cannot_be_written(repository: Repository, tmp_path: Path) -> None:
    nowhere = Path("/proc/i2kit.lock")  # not even for root
    with pytest.raises(OperationError, match=f"cannot write {nowhere}") as caught:
        base.ensure(store=Store(tmp_path / "store"), lock_file=nowhere, locked=False, watch=ignore)
    assert caught.value.hint is not None
    assert "I2KIT_LOCK_FILE" in caught.value.hint


def test_locked_without_a_lock_file(repository: Repository, ensure: Ensure, lock_file: Path) -> None:
    with pytest.raises(InputError, match=r"there is no lock file .*i2kit\.lock"):
        ensure(locked=True)
    assert not lock_file.exists()


def test_the_lock_of_another_distribution(
    repository: Repository, ensure: Ensure, lock_file: Path, warnings: list[str]
) -> None:
    ensure()
    here = distribution()
    recorded = lock.parse(lock_file.read_text(), "x")["amd64"]
    other = lock.render(lock.Lock(Distribution("debian", "sarge", "amd64"), recorded.packages))
    lock_file.write_text(other)
    with pytest.raises(InputError, match=f"is for debian sarge amd64, and this machine is {here}"):
        ensure(locked=True)
    assert lock_file.read_text() == other
    ensure()
    assert "debian sarge amd64" in warnings[0]
    assert lock.parse(lock_file.read_text(), "x")["amd64"] == recorded


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("linux-image-6.1.0-56-cloud-amd64", True),
        ("linux-image-unsigned-5.15.0-203-generic", True),
        ("linux-image-6.12.1-cloud-amd64", False),
        ("linux-image-6.8.0-149-generic", False),
    ],
)
def test_tracing_is_off_only_where_it_takes_memory(name: str, off: bool) -> None:
    """Without these files Ubuntu's kernel 6.8 does not boot."""
    packages = [Package("crun", "1.8.1", "0" * 64), Package(name, "1", "0" * 64)]
    assert ("initcall_blacklist" in base.cmdline(packages)) is off


def test_the_lock_of_an_i2kit_that_needed_less(
    repository: Repository, ensure: Ensure, lock_file: Path, warnings: list[str]
) -> None:
    first = ensure()
    recorded = lock.parse(lock_file.read_text(), "x")["amd64"]
    less = tuple(package for package in recorded.packages if package.name != "grub-pc-bin")
    lock_file.write_text(lock.render(lock.Lock(recorded.distribution, less)))
    with pytest.raises(OperationError, match=r"does not name grub-pc-bin, and --locked forbids"):
        ensure(locked=True)
    assert ensure() == first
    assert warnings == ["the distribution has moved on: grub-pc-bin added"]


def test_the_stub_in_another_package(repository: Repository, ensure: Ensure, tmp_path: Path) -> None:
    """As Ubuntu 22.04 has it."""
    repository.remove("systemd-boot-efi")
    repository.add("systemd", "249", {f"usr/lib/systemd/boot/efi/{boot.STUB}": b"older"}, "libunused1")
    repository.publish()
    repository.update()
    assert boot.load(Store(tmp_path / "store"), ensure().boot).stub == b"older"


def test_lost_blobs_are_made_again(repository: Repository, ensure: Ensure, tmp_path: Path) -> None:
    first = ensure()
    store = Store(tmp_path / "store")
    image = sources.resolve(first.kernel, store=store)
    store.remove_blob(image.layers[0].diff_id)
    assert ensure() == first
    assert store.blob(image.layers[0].diff_id)


def test_no_packages_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock_file: Path) -> None:
    Repository(tmp_path / "repository", monkeypatch).publish()
    with pytest.raises(OperationError, match="the distribution has no package `linux-image"):
        base.ensure(store=Store(tmp_path / "store"), lock_file=lock_file, locked=False, watch=ignore)
    assert not lock_file.exists()


GOOD = lock.render(lock.Lock(Distribution("debian", "bookworm", "amd64"), (Package("crun", "1", "0" * 64),)))


def test_the_lock_file_is_read_as_written() -> None:
    assert lock.render(lock.parse(GOOD, "x")["amd64"]) == GOOD


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace('id = "debian"', "id = debian"), "i2kit.lock:7:6: not TOML: Invalid value"),
        (GOOD.replace("version = 1", "version = 2"), "i2kit.lock:4:1: the lock file has version 2"),
        (GOOD.replace("codename", "name"), "i2kit.lock:6:1: [distribution] needs"),
        (GOOD.replace("0" * 64, "abc"), "i2kit.lock:11:1: the sha256 of `crun` is not"),
        (GOOD.replace('"crun"', '"-o x"'), "i2kit.lock:11:1: a [[package]] needs name"),
        (GOOD.split("[[package]]")[0], "names no [[package]]"),
        ("", "has version None"),
    ],
)
def test_a_broken_lock_file(text: str, says: str) -> None:
    with pytest.raises(InputError) as refused:
        lock.parse(text, "i2kit.lock")
    assert says in str(refused.value)
