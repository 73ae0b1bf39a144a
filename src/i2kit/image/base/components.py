"""The base's components as OCI images: made of packages and of the guest's own scripts.

In: packages in the store. Out: images in the store whose digests depend on nothing but the packages
and the scripts. Never uses what is installed on this machine but the programs that unpack.

What LinuxKit expects of a kernel image: files `kernel` and `kernel.tar`; init images are unpacked
over each other at the root. `usr/lib/i2kit/initramfs.list` names what goes into the initramfs.
"""

import io
import json
import re
import ssl
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from i2kit.errors import OperationError
from i2kit.image import sources
from i2kit.image.base import elf, kernel
from i2kit.image.base.packages import Distribution, Package, control, opened
from i2kit.image.store import Store
from i2kit.model import Architecture

GUEST = Path(__file__).parents[2] / "guest"
SCRIPTS = ("init", "supervisor", "watch")
LUA, AWS = "lua", "aws"
LUA_FOLDER, WATCH_FOLDER, AWS_FOLDER = (f"usr/lib/i2kit/{name}" for name in (LUA, "watch", AWS))
"""What the guest's programs in Lua share, what watches over the pod, and what calls AWS."""
INITRAMFS = ("bin/busybox", "usr/lib/i2kit/initramfs-fstab")
"""What an initramfs needs beside the kernel's modules."""
MOUNTPOINTS = ("dev", "etc", "proc", "run", "sys", "tmp", "var")
LIBRARIES: Mapping[Architecture, str] = {
    "amd64": "usr/lib/x86_64-linux-gnu",
    "arm64": "usr/lib/aarch64-linux-gnu",
}
LOADERS: Mapping[Architecture, str] = {
    "amd64": "lib64/ld-linux-x86-64.so.2",
    "arm64": "lib/ld-linux-aarch64.so.1",
}
"""What loads a program's libraries, at the place that programs name."""
SECCOMP = "seccomp.json"
SECCOMP_ARM64 = (
    ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    ("arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"),
)
"""What the containers' profile has instead of x86: the architectures, and calls that only these have
(moby, profiles/seccomp/default_linux.go)."""
RECORDED = ("Package", "Status", "Architecture", "Source", "Version", "Maintainer")
INSTALLED = "install ok installed"
RELEASES = {"bookworm": "12", "trixie": "13", "jammy": "22.04", "noble": "24.04"}
"""What scanners go by, which the package sources do not say."""
KERNEL_PACKAGE = re.compile(r"linux-(image|modules|binary)-(unsigned-)?[0-9].*")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a component: a regular file, or a link where `target` is set."""

    content: bytes = b""
    mode: int = 0o644
    target: str = ""


Files = Mapping[str, File]
"""Files by path, without leading slash. Directories come by themselves; one that ends in a slash is empty."""


def kernel_files(store: Store, packages: Sequence[Package]) -> Files:
    """The kernel and the modules that a machine needs, out of a kernel's image and module packages."""
    image = b""
    version = ""
    modules: dict[str, bytes] = {}
    for package in packages:
        with opened(store, package) as archive:
            found: dict[str, tarfile.TarInfo] = {}
            for member in archive:
                path = PurePosixPath(member.name)
                if member.isfile() and path.name.startswith("vmlinuz-"):
                    image = read(archive, member)
                elif member.isfile() and ".ko" in path.name and "modules" in path.parts:
                    version = path.parts[path.parts.index("modules") + 1]
                    found[kernel.module_name(path.name)] = member
            waiting = list(kernel.MODULES)
            while waiting:
                name = waiting.pop()
                if name in found and name not in modules:
                    module = kernel.decompress_module(found[name].name, read(archive, found[name]))
                    modules[name] = kernel.without_signature(module)
                    waiting += kernel.dependencies(modules[name])
    if not image or not modules:
        names = ", ".join(package.name for package in packages)
        raise OperationError(f"the kernel packages ({names}) hold no kernel or no modules")
    depends = {name: kernel.dependencies(module) for name, module in modules.items()}
    order = kernel.load_order(kernel.MODULES, depends)
    early = kernel.load_order(kernel.INITRAMFS_MODULES, depends)
    folder = f"lib/modules/{version}"
    tree = {f"{folder}/{name}.ko": File(modules[name]) for name in order}
    tree[f"{folder}/modules.dep"] = _text(kernel.modules_dep({name: depends[name] for name in order}))
    listed = [
        *INITRAMFS,
        f"{folder}/modules.dep",
        *(f"{folder}/{name}.ko" for name in early),
    ]
    tree["usr/lib/i2kit/initramfs.list"] = _text("".join(f"{path}\n" for path in listed))
    recorded = records(store, packages)
    # In the image as in the machine: of a kernel's image nothing but these two files gets there.
    return {"kernel": File(image), "kernel.tar": File(tar({**tree, **recorded})), **recorded}


def busybox_files(store: Store, package: Package) -> Files:
    """busybox and the shell. All other programs are reached through the shell."""
    with opened(store, package) as archive:
        for member in archive:
            if member.isfile() and PurePosixPath(member.name).name == "busybox":
                program = File(read(archive, member), 0o755)
                return {
                    "bin/busybox": program,
                    "bin/sh": File(target="busybox"),
                    **records(store, [package]),
                }
    raise OperationError(f"the package {package.name} {package.version} holds no busybox")


def program_files(
    store: Store,
    packages: Sequence[Package],
    path: str,
    architecture: Architecture = "amd64",
    *,
    loads: Sequence[str] = (),
    without: str = "",
) -> tuple[Files, tuple[Package, ...]]:
    """The program of this path with the libraries that it needs, and the packages that these are from.

    It comes with the libraries that it `loads` as it runs, and is made to go `without` one of those that
    it names (`elf.without_library`).
    """
    program: tuple[bytes, Package] | None = None
    libraries: dict[str, tuple[bytes, Package]] = {}
    for package in packages:
        with opened(store, package) as archive:
            links: dict[str, str] = {}
            for member in archive:
                name = PurePosixPath(member.name).name
                # Distributions move what is in /sbin to /usr/sbin, which are one folder there.
                if member.isfile() and member.name.removeprefix("./") in (path, f"usr/{path}"):
                    program = read(archive, member), package
                elif ".so" not in name or "/gconv/" in member.name or "/audit/" in member.name:
                    continue
                elif member.isfile():
                    libraries[name] = read(archive, member), package
                elif member.issym():
                    links[name] = PurePosixPath(member.linkname).name
            libraries |= {link: libraries[to] for link, to in links.items() if to in libraries}
    if program is None:
        raise OperationError(f"no package holds the program {path}")
    loader = LOADERS[architecture]
    content = elf.without_library(program[0], without)
    files = {path: File(content, 0o755)}
    used = {program[1]}
    waiting = [*loads, *elf.needed(content)]
    while waiting:
        name = waiting.pop()
        place = loader if PurePosixPath(loader).name == name else f"{LIBRARIES[architecture]}/{name}"
        if place in files:
            continue
        if name not in libraries:
            raise OperationError(f"no package that {path} depends on holds the library {name}")
        content, package = libraries[name]
        files[place] = File(content, 0o755)
        used.add(package)
        waiting += elf.needed(content)
    return files, tuple(sorted(used))


def root_certificates(store: Store, package: Package, names: Sequence[str]) -> bytes:
    """The certificates of these names that a package of them has, in DER, one behind the other."""
    with opened(store, package) as archive:
        texts = {
            PurePosixPath(member.name).stem: read(archive, member).decode()
            for member in archive
            if member.isfile() and member.name.endswith(".crt")
        }
    if absent := [name for name in names if name not in texts]:
        raise OperationError(f"{package.name} {package.version} holds no {', '.join(absent)}")
    return b"".join(ssl.PEM_cert_to_DER_cert(texts[name].strip()) for name in names)


def records(store: Store, packages: Sequence[Package]) -> Files:
    """dpkg's record of each package that something was taken from, one file each as distroless has them.

    Scanners find them, and so does the list of what a machine is made of (image.sbom).
    """
    found = {}
    for package in packages:
        fields = {**control(store, package), "Status": INSTALLED}
        lines = "".join(f"{name}: {fields[name]}\n" for name in RECORDED if name in fields)
        found[f"var/lib/dpkg/status.d/{package.name}"] = _text(lines)
    return found


def os_release(distribution: Distribution) -> Files:
    """What the records' packages are from (os-release(5)), in short."""
    text = f"ID={distribution.id}\nVERSION_CODENAME={distribution.codename}\n"
    if number := RELEASES.get(distribution.codename):
        text += f"VERSION_ID={number}\n"
    return {"usr/lib/os-release": _text(text)}


def script_files(component: str, architecture: Architecture = "amd64") -> Files:
    """One folder of the guest's scripts, and for the first one the mount points of the root."""
    root = GUEST / component
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == SECCOMP and architecture == "arm64":
                content = seccomp_for_arm64(content)
            # By what it is: installers do not keep modes.
            mode = 0o755 if content.startswith(b"#!") else 0o644
            files[path.relative_to(root).as_posix()] = File(content, mode)
    if component == SCRIPTS[0]:
        files |= {f"{name}/": File(mode=0o755) for name in MOUNTPOINTS}
    return files


def seccomp_for_arm64(profile: bytes) -> bytes:
    """The containers' seccomp profile, which is written for x86, for a machine of arm64."""
    document = json.loads(profile)
    architectures, calls = SECCOMP_ARM64
    document["architectures"] = architectures
    document["syscalls"].append({"action": "SCMP_ACT_ALLOW", "names": calls})
    return json.dumps(document, indent=4).encode() + b"\n"


def add_image(store: Store, name: str, files: Files, architecture: Architecture = "amd64") -> str:
    """Put a component into the store as the image `i2kit/NAME`, one layer. Returns its pinned reference."""
    with store.scratch() as folder:
        layer = folder / "layer.tar"
        layer.write_bytes(tar(files))
        return sources.add_local_image(store, [layer], {}, name, platform=platform_of(architecture)).pinned


def is_whole(store: Store, reference: str, architecture: Architecture = "amd64") -> bool:
    """Whether the image of this pinned reference is in the store, undamaged and with all that it needs."""
    try:
        image = sources.resolve(reference, store=store, platform=platform_of(architecture))
    except OperationError:
        return False
    return all(store.verified_blob(layer.diff_id) for layer in image.layers)


def platform_of(architecture: Architecture) -> str:
    """What images for machines of this architecture say of themselves."""
    return f"linux/{architecture}"


def tar(files: Files) -> bytes:
    """A tar file that depends on the files alone: sorted, owned by root, without times."""
    folders = {f"{parent}/" for path in files for parent in _parents(path)}
    names = sorted({*files, *folders})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            file = files.get(name, File(mode=0o755))
            member.mode = file.mode
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif file.target:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, file.target, 0o777
            else:
                member.size = len(file.content)
            archive.addfile(member, io.BytesIO(file.content))
    return buffer.getvalue()


def _parents(path: str) -> list[str]:
    return [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]


def _text(text: str) -> File:
    return File(text.encode())


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise OperationError(f"{member.name} has no content")
    with file:
        return file.read()
