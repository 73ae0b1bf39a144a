"""Machines of arm64, built on one of amd64: of packages made here, and of the distribution's."""

import gzip
import hashlib
import json
import re
import shutil
import socket
import struct
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError, Position
from i2kit.events import Event, Warned, ignore
from i2kit.image import base, build, disk, output, render, sources
from i2kit.image.base import boot, components, kernel, lock, own_kernel
from i2kit.image.base.components import GUEST, LOADERS, File
from i2kit.image.base.lock import Kernel, Lock
from i2kit.image.base.packages import Distribution, Index, Package
from i2kit.image.disk import uki
from i2kit.image.machine import build_key
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.image.upkeep import _needed
from i2kit.model import Architecture, Container, Workload
from i2kit.process import run
from i2kit.settings import Settings
from tests.image import elves, pods, programs
from tests.image.repository import Repository, base_packages
from tests.image.tars import entry, tar_bytes
from tests.image.test_base import files_of, read_tar
from tests.image.test_filesystem import Reader
from tests.image.test_kernel import COMPRESSIONS

AARCH64, X86_64 = 183, 62
ELF = re.compile(rb"\x7fELF\x02\x01\x01.{9}..(..)", re.DOTALL)
HERE = Position("web.yml", 4, 12)
FIRMWARE = Path("/usr/share/AAVMF")


def write_image(folder: Path, layers: Mapping[str, bytes], *, index: bool = True) -> str:
    """Write an OCI layout of one image: a layer for each platform such as linux/arm64/v8.

    Without `index` there is one manifest alone, which says nothing of a platform: its config does.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifests = []
    for platform, layer in layers.items():
        names = (
            dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
            if platform
            else {}
        )
        config = {
            **names,
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [put(layer, "application/vnd.oci.image.layer.v1.tar")],
        }
        described = put(json.dumps(manifest).encode(), str(manifest["mediaType"]))
        manifests.append({**described, "platform": names} if index else described)
    if index:
        media_type = "application/vnd.oci.image.index.v1+json"
        inner = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
        manifests = [put(json.dumps(inner).encode(), media_type)]
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return f"oci:{folder}"


def pod(image: str, *words: str) -> Workload:
    return Workload("web", (Container("web", image, command=words or None, position=HERE),))


def layer_for(name: str) -> bytes:
    return tar_bytes([entry("bin/app", name.encode(), mode=0o755)])


# Images


@pytest.fixture
def arm64(tmp_path: Path) -> Settings:
    return replace(pods.settings(tmp_path), architecture="arm64")


def test_the_manifest_for_the_machine_is_taken(tmp_path: Path, arm64: Settings) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8", "linux/arm/v7")
    image = write_image(tmp_path / "app", {name: layer_for(name) for name in platforms})
    with pods.with_small_base():
        one = build(pod(image), settings=arm64)
        other = build(pod(image), settings=replace(arm64, architecture="amd64"))
        again = build(pod(image), settings=arm64)
        texts = {
            render(pod(image), settings=replace(arm64, architecture=name)) for name in ("amd64", "arm64")
        }
    assert one.id != other.id
    assert (again.id, again.cached) == (one.id, True)
    assert len(texts) == 2
    for made, wanted in ((one, "linux/arm64/v8"), (other, "linux/amd64")):
        assert made.root
        held = Reader(made.root).tree()["containers/services/web/lower/bin/app"].data
        assert held.decode() == wanted


@pytest.mark.parametrize("index", [True, False], ids=["index", "manifest"])
def test_an_image_of_other_platforms_is_refused_where_it_is_named(
    tmp_path: Path, arm64: Settings, index: bool
) -> None:
    there = ("linux/amd64", "linux/riscv64") if index else ("linux/amd64",)
    image = write_image(tmp_path / "app", {name: layer_for(name) for name in there}, index=index)
    with pytest.raises(InputError) as refused:
        build(pod(image), settings=arm64)
    assert f"web.yml:4:12: {image} is not built for linux/arm64; there is: {', '.join(there)}" in str(
        refused.value
    )
    assert "build it for linux/arm64" in str(refused.value)


def test_an_image_of_nothing_in_particular_makes_two_machines(tmp_path: Path, arm64: Settings) -> None:
    """The keys differ even where all images are the same."""
    image = write_image(tmp_path / "app", {"": layer_for("script")}, index=False)
    same = Base("", (), "quiet", 0, "", "")
    images = {image: sources.resolve(image, store=Store(arm64.store_dir))}
    keys = {build_key(pod(image), images, same, architecture=name) for name in ("amd64", "arm64")}
    assert len(keys) == 2


# The base


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path / "repository", monkeypatch)
    for architecture in ("amd64", "arm64"):
        base_packages(found, architecture=architecture)
    monkeypatch.setattr(boot, "core_image", lambda *_: b"core")
    return found


@dataclass(frozen=True, slots=True)
class Project:
    store: Store
    lock_file: Path
    told: list[Event]

    def ensure(self, architecture: Architecture, *, locked: bool = False) -> Base:
        return base.ensure(
            store=self.store,
            lock_file=self.lock_file,
            locked=locked,
            architecture=architecture,
            watch=self.told.append,
        )

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.told if isinstance(event, Warned)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(Store(tmp_path / "store"), tmp_path / "i2kit.lock", [])


def test_components(repository: Repository, project: Project) -> None:
    found = project.ensure("arm64")

    def content(reference: str) -> dict[str, bytes]:
        image = sources.resolve(reference, store=project.store, platform="linux/arm64")
        (layer,) = sources.pull(image, store=project.store)
        held = read_tar(layer.read_bytes())
        return {name: data for name, data in held.items() if isinstance(data, bytes)}

    with pytest.raises(OperationError, match="is not built for linux/amd64; there is: linux/arm64"):
        files_of(project.store, found.kernel)
    crun = content(found.init[1])
    assert LOADERS["arm64"] in crun
    assert "usr/lib/aarch64-linux-gnu/libc.so.6" in crun
    assert not [name for name in crun if "x86" in name]
    assert b"\nArchitecture: arm64\n" in crun["var/lib/dpkg/status.d/crun"]
    assert content(found.kernel)["kernel"] == programs.arm64_kernel(b"1")
    assert content(found.boot).keys() == {
        boot.STUB_FILES["arm64"],
        "var/lib/dpkg/status.d/systemd-boot-efi",
    }
    assert boot.load(project.store, found.boot, "arm64") == boot.Loader(b"stub")
    assert "no_timer_check" not in found.cmdline
    # The machines of EC2 have the first, those of QEMU the second.
    assert {"console=ttyS0", "console=ttyAMA0"} < set(found.cmdline.split())


def test_one_lock_file_for_both(repository: Repository, project: Project) -> None:
    ours = project.ensure("amd64")
    alone = project.lock_file.read_text()
    theirs = project.ensure("arm64")
    both = project.lock_file.read_text()
    assert both.startswith(alone), "what was there stays as it was"
    locks = lock.parse(both, "x")
    names = {name: {package.name for package in one.packages} for name, one in locks.items()}
    assert names["amd64"] - names["arm64"] == {"grub-common", "grub-pc-bin"}
    assert names["arm64"] < names["amd64"]
    assert not {*locks["amd64"].packages} & {*locks["arm64"].packages}
    for locked in (False, True):
        assert project.ensure("amd64", locked=locked) == ours
        assert project.ensure("arm64", locked=locked) == theirs
    assert project.lock_file.read_text() == both
    assert lock.render(*locks.values()) == lock.render(*reversed([*locks.values()])) == both
    assert project.warnings == []
    assert not {ours.kernel, *ours.init, ours.boot} & {theirs.kernel, *theirs.init, theirs.boot}


def test_a_distribution_that_moved_on_for_one(repository: Repository, project: Project) -> None:
    ours = project.ensure("amd64")
    project.ensure("arm64")
    base_packages(repository, "2", "arm64")
    elsewhere = replace(project, store=Store(project.store.root.with_name("other")))
    elsewhere.ensure("arm64")
    assert "the distribution has moved on: busybox-static 1 -> 2" in project.warnings
    locks = lock.read_all(project.lock_file)
    assert {one.version for one in locks["arm64"].packages} == {"2"}
    assert {one.version for one in locks["amd64"].packages} == {"1"}
    assert project.ensure("amd64", locked=True) == ours


def test_a_lock_file_of_the_other_alone(repository: Repository, project: Project) -> None:
    project.ensure("arm64")
    assert lock.read(project.lock_file) is None
    with pytest.raises(InputError, match=r"i2kit\.lock names no packages for amd64"):
        project.ensure("amd64", locked=True)
    project.ensure("amd64")
    assert lock.read_all(project.lock_file).keys() == {"amd64", "arm64"}


def test_prune_keeps_the_packages_of_both(repository: Repository, project: Project, arm64: Settings) -> None:
    made = {one.boot for one in (project.ensure("amd64"), project.ensure("arm64"))}
    here = replace(arm64, lock_file=project.lock_file, store_dir=project.store.root)
    needed = _needed(project.store, here)
    for one in lock.read_all(project.lock_file).values():
        assert {package.digest for package in one.packages} <= needed.packages
    assert {reference.partition("@")[2] for reference in made} <= needed.components


def test_a_kernel_of_our_own_is_for_amd64_alone(repository: Repository, project: Project) -> None:
    reference = components.add_image(project.store, "kernel", {"kernel": File(elves.bzimage(b""))})
    own = Kernel(Package("linux-source", "6", "0" * 64), "1" * 64, reference.rpartition(":")[2])
    own_kernel.remember(project.store, "2" * 64, own)
    assert project.ensure("amd64").kernel == own.image
    theirs = project.ensure("arm64")
    assert theirs.kernel != own.image
    assert theirs.memory_floor_bytes == base.MEMORY_FLOOR_BYTES
    locks = lock.read_all(project.lock_file)
    assert (locks["amd64"].kernel, locks["arm64"].kernel) == (own, None)
    assert project.ensure("arm64", locked=True) == theirs


def test_the_machines_own_lists_are_left_alone(repository: Repository, project: Project) -> None:
    repository.update()
    before = {path: path.stat().st_mtime_ns for path in (repository.root / "lists").iterdir()}
    project.ensure("amd64")
    project.ensure("arm64")
    assert {path: path.stat().st_mtime_ns for path in (repository.root / "lists").iterdir()} == before
    amd64, arm64 = (
        Index(project.store, name).offers(["crun"])["crun"].package for name in ("amd64", "arm64")
    )
    assert amd64.version == arm64.version
    assert amd64 != arm64


def test_sources_without_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Project
) -> None:
    base_packages(Repository(tmp_path / "repository", monkeypatch))
    with pytest.raises(OperationError, match="the distribution has no package `linux-image") as refused:
        project.ensure("arm64")
    assert "ports.ubuntu.com" in str(refused.value.hint)
    assert "arm64" in str(refused.value.hint)
    assert not project.lock_file.exists()


GOOD = lock.render(
    Lock(Distribution("debian", "bookworm", "amd64"), (Package("crun", "1", "0" * 64),)),
    Lock(Distribution("debian", "trixie", "arm64"), (Package("crun", "2", "1" * 64),)),
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"trixie"', "3", "i2kit.lock:16:1: [arm64.distribution] needs"),
        ('"arm64"', '"amd64"', "i2kit.lock:16:1: the architecture of [arm64.distribution] is not arm64"),
        ("1" * 64, "abc", "i2kit.lock:21:1: the sha256 of `crun`"),
        ("[[arm64.package]]", "[other]", "names no [[arm64.package]]"),
        ("[distribution]", "[other]", "i2kit.lock:1:1: [distribution] needs"),
        (GOOD, "version = 1\narm64 = 5", "[arm64.distribution] needs"),
    ],
)
def test_a_broken_lock_file(old: str, new: str, says: str) -> None:
    assert lock.render(*lock.parse(GOOD, "x").values()) == GOOD
    with pytest.raises(InputError) as refused:
        lock.parse(GOOD.replace(old, new), "i2kit.lock")
    assert says in str(refused.value)


def test_the_containers_profile() -> None:
    """All that it says for amd64, for the processor that the machine has."""
    path = GUEST / "supervisor/usr/lib/i2kit/seccomp.json"
    written = json.loads(path.read_bytes())
    files = {name: components.script_files("supervisor", name) for name in ("amd64", "arm64")}
    place = "usr/lib/i2kit/seccomp.json"
    assert files["amd64"][place].content == path.read_bytes()
    found = json.loads(files["arm64"][place].content)
    assert found["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    assert found["defaultAction"] == "SCMP_ACT_ERRNO"
    assert found["syscalls"][: len(written["syscalls"])] == written["syscalls"]
    others = files["amd64"].keys() - {place}
    assert all(files["amd64"][name] == files["arm64"][name] for name in others)


# Kernels and disks


IMAGE = programs.arm64_kernel(bytes(range(256)) * 40)


def test_kernels_as_they_come() -> None:
    assert kernel.for_firmware(gzip.compress(IMAGE)) == IMAGE, "as Ubuntu has it"
    assert kernel.for_firmware(IMAGE) is IMAGE
    assert kernel.for_machine(IMAGE) is IMAGE
    other = gzip.compress(b"something")
    assert kernel.for_firmware(other) is other


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd", "lz4"])
def test_a_kernel_that_unpacks_itself_under_uefi(name: str) -> None:
    packed = COMPRESSIONS[name](IMAGE)
    image = programs.zboot(packed if name == "gzip" else packed[:-4])
    assert kernel.for_firmware(image) is image
    assert kernel.for_machine(image) == IMAGE


def test_a_kernel_that_is_cut_off() -> None:
    with pytest.raises(OperationError, match="cut off"):
        kernel.for_machine(programs.zboot(COMPRESSIONS["gzip"](IMAGE))[:-9])
    with pytest.raises(OperationError, match="cut off"):
        kernel.for_firmware(gzip.compress(IMAGE)[:-9])


def small_disk(folder: Path, **changes: object) -> Path:
    (folder / "kernel").write_bytes(IMAGE)
    (folder / "initrd").write_bytes(b"070701")
    (folder / "root").write_bytes(b"root" * 9000)
    loader = boot.Loader(programs.pe(machine=0xAA64, filler=b"\x1f\x20\x03\xd5"))
    kernel_, initrd, root = (folder / name for name in ("kernel", "initrd", "root"))
    parts = disk.Parts(kernel_, initrd, root, "quiet", bytes(range(16)), loader)
    return disk.write("raw", replace(parts, **changes), folder)  # type: ignore[arg-type]


def table_of(out: Path) -> list[dict[str, int | str]]:
    shown = run(["sfdisk", "--json", out]).stdout
    found: list[dict[str, int | str]] = json.loads(shown)["partitiontable"]["partitions"]
    return found


@pytest.mark.skipif(not (shutil.which("sfdisk") and shutil.which("mcopy")), reason="needs fdisk, mtools")
def test_a_disk_that_no_bios_starts(tmp_path: Path) -> None:
    out = small_disk(tmp_path)
    assert [one["name"] for one in table_of(out)] == ["esp", "i2kit-0001020304050607"]
    content = out.read_bytes()
    assert content[:446] == bytes(446), "no boot code"
    assert content[34 * 512 : 256 << 10] == bytes((256 << 10) - 34 * 512)
    program = unpacked(out, tmp_path)
    assert IMAGE in program
    assert uki.architecture(program) == "arm64"


def test_a_kernel_for_another_machine(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(programs.pe() + b"x" * 9000)
    with pytest.raises(OperationError, match="the kernel is for amd64, and the machine arm64"):
        small_disk(tmp_path, kernel=other)
    with pytest.raises(OperationError, match=r"stub .* is for another architecture \(0x1c0\)"):
        small_disk(tmp_path, loader=boot.Loader(programs.pe(machine=0x1C0)))


def unpacked(out: Path, folder: Path) -> bytes:
    """The program that firmware starts."""
    (esp,) = (one for one in table_of(out) if one["name"] == "esp")
    program = folder / "program"
    drive = f"{out}@@{int(esp['start']) * 512}"
    subprocess.run(["mcopy", "-i", drive, "::EFI/BOOT/BOOTAA64.EFI", program], check=True)
    return program.read_bytes()


# The distribution's own packages


@dataclass(frozen=True, slots=True)
class Built:
    settings: Settings
    workload: Workload
    id: str
    disk: Path
    sbom: str


@pytest.fixture(scope="module")
def builds(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, Built]:
    """The same machine, twice: the second has the packages' files of the first, and makes all else anew."""
    folder = tmp_path_factory.mktemp("arm64")
    # The store that the tests with virtual machines keep: packages are fetched once.
    fetched = Store(pytestconfig.cache.mkdir("store"))
    lock_file = folder / "i2kit.lock"
    found = base.ensure(store=fetched, lock_file=lock_file, locked=False, architecture="arm64", watch=ignore)
    busybox = sources.resolve(found.init[0], store=fetched, platform="linux/arm64")
    (layer,) = sources.pull(busybox, store=fetched)
    with tarfile.open(layer) as archive:
        program = archive.extractfile("bin/busybox")
        assert program
        members = [entry("bin/busybox", program.read(), mode=0o755), entry("www/index.html", b"hello\n")]
    members += [entry(f"bin/{name}", type=tarfile.SYMTYPE, link="busybox") for name in ("sh", "httpd")]
    app = {"linux/amd64": layer_for("amd64"), "linux/arm64/v8": tar_bytes(members)}
    return (
        built(folder / "one", fetched, lock_file, app),
        built(folder / "another" / "deeper", fetched, lock_file, app),
    )


def built(folder: Path, fetched: Store, lock_file: Path, app: Mapping[str, bytes]) -> Built:
    folder.mkdir(parents=True)
    settings = replace(pods.settings(folder), architecture="arm64", lock_file=lock_file, locked=True)
    store = Store(settings.store_dir)
    recorded = lock.read(lock_file, "arm64")
    assert recorded
    for package in recorded.packages:
        blob = fetched.blob(package.digest)
        assert blob
        store.add_blob([blob.read_bytes()], package.digest)
    serve = "uname -m; grep Seccomp: /proc/self/status; exec httpd -f -p 80 -h /www"
    workload = pod(write_image(folder / "app", app), "/bin/sh", "-c", f"PATH=/bin; {serve}")
    image, made = output(workload, "raw", settings=settings)
    assert image and image.sbom
    return Built(settings, workload, image.id, made.files[0].path, image.sbom.read_text())


@pytest.mark.vm
def test_the_same_bytes(builds: tuple[Built, Built]) -> None:
    one, another = builds
    assert one.id == another.id
    assert one.disk != another.disk
    assert one.disk.stat().st_ino != another.disk.stat().st_ino
    assert one.disk.read_bytes() == another.disk.read_bytes()


@pytest.mark.vm
def test_the_disk(builds: tuple[Built, Built], tmp_path: Path) -> None:
    out = builds[0].disk
    assert "No errors detected" in run(["sfdisk", "--verify", out]).text
    esp, root = table_of(out)
    assert esp["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    assert root["name"] == f"i2kit-{builds[0].id[:16]}"
    volume = tmp_path / "esp"
    with out.open("rb") as file:
        file.seek(int(esp["start"]) * 512)
        volume.write_bytes(file.read(int(esp["size"]) * 512))
    run(["fsck.fat", "-n", volume])

    program = unpacked(out, tmp_path)
    (at,) = struct.unpack_from("<I", program, 0x3C)
    signature, machine, count, optional = struct.unpack_from("<4sHH12xH", program, at)
    assert (signature, machine) == (b"PE\0\0", 0xAA64)
    assert struct.unpack_from("<H", program, at + 24) == (0x20B,)
    alignment, file_alignment = struct.unpack_from("<II", program, at + 24 + 32)
    (size,) = struct.unpack_from("<I", program, at + 24 + 56)
    sections = {}
    end = 0
    for number in range(count):
        name, memory, address, room, place = struct.unpack_from(
            "<8sIIII", program, at + 24 + optional + number * 40
        )
        assert address % alignment == 0 and place % file_alignment == 0
        assert address >= end, "sections do not lie over each other"
        assert place + room <= len(program)
        end = address + memory
        sections[name.rstrip(b"\0").decode()] = program[place : place + min(memory, room)]
    assert end <= size
    assert {".osrel", ".cmdline", ".linux", ".initrd"} < sections.keys()
    assert kernel.is_arm64(sections[".linux"])
    assert sections[".initrd"].startswith(b"070701")
    arguments = sections[".cmdline"].decode().split()
    assert f"root=PARTLABEL={root['name']}" in arguments
    assert "console=ttyS0" in arguments


@pytest.mark.vm
def test_nothing_in_it_is_of_another_processor(builds: tuple[Built, Built], tmp_path: Path) -> None:
    content = builds[0].disk.read_bytes()
    found = [struct.unpack("<H", match[1])[0] for match in ELF.finditer(content)]
    assert len(found) > 20
    assert X86_64 not in found
    _, root = table_of(builds[0].disk)
    (tmp_path / "root").write_bytes(content[int(root["start"]) * 512 :][: int(root["size"]) * 512])
    files = Reader(exact(tmp_path / "root")).tree()
    for name, file in files.items():
        if file.data.startswith(b"\x7fELF"):
            assert struct.unpack_from("<H", file.data, 18) == (AARCH64,), name
    app = "containers/services/web/lower/bin/busybox"
    for name in ("bin/busybox", "usr/bin/crun", LOADERS["arm64"], app):
        assert files[name].data.startswith(b"\x7fELF"), name
    modules = [name for name in files if name.endswith("/ena.ko")]
    assert len(modules) == 1, "the network card of EC2"
    assert not [name for name in files if "x86" in name or "amd64" in name]
    assert "arch=arm64" in builds[0].sbom
    assert "arch=amd64" not in builds[0].sbom


def exact(path: Path) -> Path:
    """The filesystem without what rounds its partition up."""
    with path.open("r+b") as file:
        file.seek(1024 + 36)
        (blocks,) = struct.unpack("<I", file.read(4))
        file.truncate(blocks * 4096)
    return path


@pytest.mark.vm
@pytest.mark.skipif(
    not (shutil.which("qemu-system-aarch64") and FIRMWARE.exists()),
    reason="needs qemu-system-arm and qemu-efi-aarch64, 300 MB that `make setup` does not install",
)
@pytest.mark.parametrize("device", ["nvme,serial=1", "virtio-blk-pci,romfile="])
def test_it_boots(builds: tuple[Built, Built], tmp_path: Path, device: str) -> None:
    shutil.copyfile(FIRMWARE / "AAVMF_VARS.fd", tmp_path / "variables")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    console = tmp_path / "console"
    words = [
        *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "512", "-no-reboot"),
        *("-nodefaults", "-display", "none", "-serial", f"file:{console}"),
        *("-drive", f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'AAVMF_CODE.fd'}"),
        *("-drive", f"if=pflash,format=raw,file={tmp_path / 'variables'}"),
        *("-drive", f"if=none,id=disk,file={builds[0].disk},format=raw,snapshot=on"),
        *("-device", f"{device},drive=disk"),
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    ]
    machine = subprocess.Popen(words)
    try:
        assert answer(f"http://127.0.0.1:{port}/", machine) == b"hello\n", console.read_text(errors="replace")
        said = console.read_text(errors="replace")
        assert "web aarch64" in said
        assert re.search(r"web Seccomp:\s+2", said), "the containers' profile is in force"
    finally:
        machine.kill()
        machine.wait()


def answer(url: str, machine: subprocess.Popen[bytes]) -> bytes | None:
    """What is answered, once it is; None where the machine ends or says nothing for long."""
    last = time.monotonic() + 120
    while time.monotonic() < last and machine.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as said:
                body: bytes = said.read()
                return body
        except OSError:
            time.sleep(0.2)
    return None
