"""What starts the kernel from a disk: systemd's stub for UEFI, GRUB for BIOS, as one base component.

Machines of arm64 have no BIOS, so their component is the stub alone.

In: the distribution's packages in the store. Out: the component's files; later, from the store, a Loader.
GRUB is made once with the package's own grub-mkimage, run with the libraries of the same packages: so
it depends on the packages alone. Never uses what is installed here.

Source: GRUB manual, "Images" and "Embedded configuration file".
"""

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from i2kit.errors import OperationError
from i2kit.image import sources
from i2kit.image.base import components
from i2kit.image.base.components import LIBRARIES, LOADERS, File, Files
from i2kit.image.base.packages import Package, opened
from i2kit.image.store import Store
from i2kit.model import Architecture
from i2kit.process import run

STUB_FILES: Mapping[Architecture, str] = {"amd64": "linuxx64.efi.stub", "arm64": "linuxaa64.efi.stub"}
STUB, BOOT, CORE = STUB_FILES["amd64"], "boot.img", "core.img"
STUBS = ("systemd-boot-efi", "systemd")
"""The packages that have the stub: Ubuntu 22.04 has the second only."""
GRUB, GRUB_MODULES = "grub-common", "grub-pc-bin"
MKIMAGE = "usr/bin/grub-mkimage"
MODULES = ("biosdisk", "linux", "configfile")

CONFIG_SECTOR, CONFIG_SECTORS = 504, 8
CONFIG = f"configfile ($root){CONFIG_SECTOR}+{CONFIG_SECTORS}\n"
"""GRUB's own part is the same on all disks. What to do it finds in these sectors of the disk it is on."""


@dataclass(frozen=True, slots=True)
class Loader:
    """`stub` is a UEFI program that a kernel is put into; `boot` is GRUB's first sector, `core` the rest.

    The two of GRUB are empty for machines that have no BIOS.
    """

    stub: bytes = field(repr=False)
    boot: bytes = field(default=b"", repr=False)
    core: bytes = field(default=b"", repr=False)


def needed(architecture: Architecture) -> tuple[str, ...]:
    """The packages that it takes beside the one with the stub."""
    return (GRUB, GRUB_MODULES) if architecture == "amd64" else ()


def files(
    store: Store, packages: Sequence[Package], architecture: Architecture = "amd64"
) -> tuple[Files, tuple[Package, ...]]:
    """The component's files, and the packages that any of this is from."""
    stub_file, by_bios = STUB_FILES[architecture], bool(needed(architecture))
    found: dict[str, bytes] = {}
    used: set[Package] = set()
    libraries = []
    for package in packages:
        if package.name in (GRUB_MODULES, *STUBS):
            part = "/i386-pc/" if package.name == GRUB_MODULES else f"/{stub_file}"
            found |= _members(store, package, part)
            used.add(package)
        else:
            libraries.append(package)
    for name in (stub_file, BOOT) if by_bios else (stub_file,):
        if name not in found:
            raise OperationError(f"the packages for booting hold no {name}")
    made = {stub_file: File(found.pop(stub_file))}
    of_program: tuple[Package, ...] = ()
    if by_bios:
        program, of_program = components.program_files(store, libraries, MKIMAGE)
        made |= {BOOT: File(found[BOOT]), CORE: File(core_image(store, found, program))}
    return {**made, **components.records(store, sorted(used))}, tuple(sorted({*used, *of_program}))


def load(store: Store, reference: str, architecture: Architecture = "amd64") -> Loader:
    """Read the component of this pinned reference. Raises OperationError where the store has lost it."""
    platform = components.platform_of(architecture)
    image = sources.resolve(reference, store=store, platform=platform)
    (layer,) = sources.pull(image, store=store)
    with tarfile.open(layer, "r:") as archive:
        found = {member.name: components.read(archive, member) for member in archive if member.isfile()}
    return Loader(found[STUB_FILES[architecture]], found.get(BOOT, b""), found.get(CORE, b""))


def core_image(store: Store, parts: Mapping[str, bytes], program: Files) -> bytes:
    """GRUB with the modules that it takes to follow a list of commands."""
    with store.scratch() as folder:
        modules = {f"grub/{name}": File(content) for name, content in parts.items()}
        for path, file in {**program, **modules}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.content)
            (folder / path).chmod(file.mode)
        (folder / "config").write_text(CONFIG)
        # The loader as a program, so that none of this machine's libraries is used.
        loader = str(folder / LOADERS["amd64"])
        command = [loader, "--library-path", LIBRARIES["amd64"], MKIMAGE, "-O", "i386-pc", "-d", "grub"]
        run([*command, "-c", "config", "-p", "/", "-o", "core", *MODULES], cwd=folder)
        return (folder / "core").read_bytes()


def _members(store: Store, package: Package, part: str) -> dict[str, bytes]:
    """The files of a package whose path contains this, by name."""
    with opened(store, package) as archive:
        return {
            PurePosixPath(member.name).name: components.read(archive, member)
            for member in archive
            if member.isfile() and part in member.name
        }
