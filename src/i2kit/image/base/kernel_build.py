"""A small kernel of our own: compiled of the distribution's kernel source, once per machine.

In: the distribution's package of the kernel's source, the options in kernel.config, the compiler of
this machine. Out: a component image in the store, `kernel` and `kernel.tar` as any kernel's, which the
base takes from then on; the lock file records it. The same three lead to the same bytes in any folder
on any machine. Never installs anything, and compiles nothing that it has compiled before.

Sources: Linux, Documentation/kbuild/kconfig.rst and Documentation/kbuild/reproducible-builds.rst.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path, PurePosixPath

from i2kit import process
from i2kit.errors import OperationError
from i2kit.events import Finished, Progress, Started, Warned, Watcher, ignore
from i2kit.image.base import components, lock, own_kernel
from i2kit.image.base.components import File
from i2kit.image.base.lock import Kernel, Lock
from i2kit.image.base.own_kernel import CONFIG_FILE
from i2kit.image.base.packages import Gone, Index, Package, distribution, opened
from i2kit.image.store import FULL, FULL_HINT, Store

RECIPE = 2
"""Counts up when the same source, configuration and compiler lead to other bytes than before."""

SOURCE = "linux-source"
_VERSIONED_SOURCE = re.compile(r"linux-source-[0-9][0-9.]*")

TOOLS: Mapping[str, str] = {
    "bc": "bc",
    "bison": "bison",
    "bzip2": "bzip2",
    "flex": "flex",
    "gcc": "gcc",
    "ld": "binutils",
    "lz4": "lz4",
    "make": "make",
    "xz": "xz-utils",
    "/usr/include/gelf.h": "libelf-dev",
    "/usr/include/stdio.h": "libc6-dev",
}
"""What it takes to compile a kernel: a program or a header → the package that holds it."""

NEEDED_BYTES = 2_500_000_000
"""The source takes 1.4 GB, packed 0.4 GB while it is unpacked, what is compiled 0.3 GB."""

STEP = "kernel-build"
STEPS = 1900
"""How many files the build compiles or joins, about: what the progress is measured by."""

Version = tuple[int, int]
ALWAYS: Version = (0, 0)
NEVER: Version = (1 << 31, 0)

VERSIONS: Mapping[str, tuple[Version, Version]] = {
    "CONFIG_BPF_JIT": ((6, 10), NEVER),  # before, it could not be had without modules
    "CONFIG_BPF_JIT_ALWAYS_ON": ((6, 10), NEVER),
    "CONFIG_VMGENID": ((5, 18), NEVER),
    "CONFIG_RANDOMIZE_KSTACK_OFFSET": ((5, 18), NEVER),
    "CONFIG_RANDOM_TRUST_CPU": (ALWAYS, (6, 2)),  # since then it is so unless the command line says no
    "CONFIG_RANDOM_TRUST_BOOTLOADER": (ALWAYS, (6, 2)),
    "CONFIG_BASE_FULL": (ALWAYS, (6, 10)),  # became the absence of BASE_SMALL
}
"""The options that not every version of Linux has: the first that does, and the first that does not."""

SLS = ("SLS", "MITIGATION_SLS")
"""It takes GCC 12."""


def build(
    *,
    store: Store,
    lock_file: Path,
    locked: bool = False,
    hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    watch: Watcher = ignore,
) -> Kernel:
    """Make the kernel of our own if the store does not have it, and record it in the lock file.

    The source is the one that the lock file names, else the distribution's newest. With `locked` the
    result has to be the lock file's kernel. `hold` keeps others from removing what is in the store; it is
    left while the compiler runs, for minutes, so that nobody waits for that. Raises OperationError when
    tools, space or the source are missing, or when it does not compile; InputError for a broken lock file.
    """
    _require_tools()
    recorded = lock.read(lock_file)
    if recorded is not None and recorded.distribution != distribution():
        recorded = None
    fragment, toolchain = CONFIG_FILE.read_text(encoding="utf-8"), _toolchain()
    with store.lock("kernel", "another i2kit kernel build"):
        with hold():
            index = Index(store)
            source = recorded.kernel.source if recorded and recorded.kernel else _newest(index)
            key = build_key(source, fragment, toolchain)
            kernel = own_kernel.recall(store, key)
            if kernel is not None:
                own_kernel.remember(store, key, kernel)
        if kernel is None:
            with store.scratch() as scratch:
                with hold():
                    source = _fetched(index, source, recorded, locked, watch)
                    _require_room(store)
                    watch(Started(STEP, f"kernel of {source.name} {source.version}"))
                    tree = _unpack(store, source, scratch)
                    # The package may be gone when the compiler is done.
                    records = components.records(store, [source])
                _configure(tree, fragment)
                image = _compiled(store, tree, watch)
                # Before the source is removed, which can take a while: from here on nothing is lost.
                with hold():
                    reference = components.add_image(store, "kernel", component(image, records))
                    digest = reference.rpartition(":")[2]
                    kernel = Kernel(source, hashlib.sha256(fragment.encode()).hexdigest(), digest)
                    own_kernel.remember(store, build_key(source, fragment, toolchain), kernel)
            watch(Finished(STEP, f"{len(image) / 1e6:.1f} MB"))
    if recorded is not None and recorded.kernel != kernel:
        if not locked:
            lock.write(lock_file, replace(recorded, kernel=kernel))
        elif recorded.kernel is not None:
            raise OperationError(
                f"the kernel came out different from the one that {lock_file} names",
                hint="its compiler or this i2kit was another one; run without --locked to record this one",
            )
    return kernel


def missing_packages() -> tuple[str, ...]:
    """The packages that hold what this machine lacks for compiling a kernel."""
    lacking = {
        package
        for tool, package in TOOLS.items()
        if not (Path(tool).exists() if tool.startswith("/") else process.which(tool))
    }
    return tuple(sorted(lacking))


def build_key(source: Package, fragment: str, toolchain: str) -> str:
    """What the kernel depends on, as 64 hexadecimal digits."""
    return hashlib.sha256(f"{RECIPE}\n{source.sha256}\n{toolchain}\n{fragment}".encode()).hexdigest()


def wanted(fragment: str, version: Version) -> Mapping[str, str]:
    """The options of a fragment that this version of Linux has, with their values; `n` for `is not set`."""
    options = {}
    for line in fragment.splitlines():
        if found := re.fullmatch(r"(CONFIG_\w+)=(.+)|# (CONFIG_\w+) is not set", line):
            name = found[1] or found[3]
            first, gone = VERSIONS.get(name, (ALWAYS, NEVER))
            if first <= version < gone:
                options[name] = found[2] or "n"
    return options


def unmet(options: Mapping[str, str], config: str) -> tuple[str, ...]:
    """The options that a finished configuration does not have as wanted, as `NAME=VALUE`."""
    found = dict(re.findall(r"^(CONFIG_\w+)=(.+)$", config, re.MULTILINE))
    return tuple(f"{name}={value}" for name, value in options.items() if found.get(name, "n") != value)


def mitigations(kconfig: str) -> tuple[str, ...]:
    """The mitigations of CPU vulnerabilities that are on by default, out of the text of arch/x86/Kconfig.

    Each version of Linux has its own, and allnoconfig would leave them all out. Also that one which the
    distributions have on beside, where the compiler knows it: of straight-line speculation.
    """
    menu = re.search(
        r"^menuconfig (?:CPU|SPECULATION)_MITIGATIONS\n.*?^endif\b", kconfig, re.MULTILINE | re.DOTALL
    )
    if menu is None:
        raise OperationError("this kernel's source has no menu of mitigations of CPU vulnerabilities")
    entries = re.split(r"^(?:menu)?config (\w+)\n", menu[0], flags=re.MULTILINE)[1:]
    return tuple(
        f"CONFIG_{name}"
        for name, text in zip(entries[::2], entries[1::2], strict=True)
        if name in SLS or re.search(r"^\tdef(?:ault|_bool) y", text, re.MULTILINE)
    )


def _require_tools() -> None:
    if missing := missing_packages():
        root = "" if os.geteuid() == 0 else "sudo "
        raise OperationError(
            f"compiling a kernel takes packages that are not installed: {', '.join(missing)}",
            hint=f"{root}apt-get install --no-install-recommends {' '.join(missing)}",
        )


def _toolchain() -> str:
    """The versions of all that makes bytes of the kernel."""
    lines = [process.run([tool, "--version"]).text.strip().splitlines()[0] for tool in ("gcc", "ld", "lz4")]
    return "\n".join(lines)


def _newest(index: Index) -> Package:
    """The source that the distribution has now. The system's lists come first, then own ones."""
    try:
        found = index.closure(SOURCE, lambda name: _VERSIONED_SOURCE.fullmatch(name) is not None)
    except Gone:
        index.refresh()
        found = index.closure(SOURCE, lambda name: _VERSIONED_SOURCE.fullmatch(name) is not None)
    # The metapackage holds nothing but the name of the newest source.
    sources = [package for package in found if package.name != SOURCE]
    if not sources:
        raise Gone(f"the distribution's package `{SOURCE}` names no source of a version")
    return sources[-1]


def _fetched(index: Index, source: Package, recorded: Lock | None, locked: bool, watch: Watcher) -> Package:
    """The source, in the store; the newest one where it cannot be had any more."""
    step = "kernel-source"
    watch(Started(step, "kernel source"))
    try:
        index.fetch([source])
    except Gone as error:
        if locked and recorded is not None and recorded.kernel is not None:
            raise
        # The system's lists may be older than the mirror.
        index.refresh()
        newest = _newest(index)
        if newest != source:
            watch(Warned(f"the newest source is taken instead: {error.message}"))
        index.fetch([newest])
        source = newest
    watch(Finished(step, f"{source.name} {source.version}"))
    return source


def _require_room(store: Store) -> None:
    free = shutil.disk_usage(store.root).free
    if free < NEEDED_BYTES:
        raise OperationError(
            f"compiling a kernel takes {NEEDED_BYTES / 1e9:.1f} GB for a while, and {store.root} has "
            f"{free / 1e9:.1f} GB",
            hint=FULL_HINT,
        )


def _compiled(store: Store, tree: Path, watch: Watcher) -> bytes:
    """The bzImage of the configured source."""
    log = store.root / "kernels" / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        _compile(tree, log, lambda done: watch(Progress(STEP, done, max(STEPS, done), "items")))
        image = (tree / "arch/x86/boot/bzImage").read_bytes()
    except process.ProgramError as error:
        raise OperationError(
            f"the kernel does not compile: {error.message}",
            hint=_hint(error) or f"all that was said is in {log}",
        ) from error
    except OSError as error:
        hint = FULL_HINT if error.errno in FULL else None
        raise OperationError(f"the kernel does not compile: {error.strerror}", hint=hint) from error
    log.unlink()
    return image


def _compile(tree: Path, log: Path, tell: Callable[[int], None]) -> None:
    """Run make in the configured source; `tell` hears how many files were compiled so far."""
    done = 0
    with log.open("w", encoding="utf-8") as lines:

        def on_line(line: str) -> None:
            nonlocal done
            lines.write(f"{line}\n")
            # `  CC      kernel/fork.o`
            if line.startswith("  "):
                done += 1
                tell(done)

        process.follow(_make(tree.parent, f"-j{len(os.sched_getaffinity(0))}", "bzImage"), on_line, cwd=tree)


def component(bzimage: bytes, records: components.Files) -> components.Files:
    """The files of the component image. An initramfs of this kernel needs no modules."""
    listed = "".join(f"{path}\n" for path in components.INITRAMFS)
    tree = {"usr/lib/i2kit/initramfs.list": File(listed.encode()), **records}
    return {"kernel": File(bzimage), "kernel.tar": File(components.tar(tree)), **records}


def _unpack(store: Store, source: Package, scratch: Path) -> Path:
    """The source's folder, unpacked below `scratch`."""
    archive = scratch / "archive"
    with opened(store, source) as package:
        for member in package:
            name = PurePosixPath(member.name).name
            if member.isfile() and name.startswith(SOURCE) and ".tar." in name:
                content = package.extractfile(member)
                assert content
                with content, archive.open("wb") as file:
                    shutil.copyfileobj(content, file)
                break
        else:
            raise OperationError(f"the package {source.name} {source.version} holds no archive of a source")
    tree = scratch / "linux"
    tree.mkdir()
    try:
        process.run(["tar", "-x", "--no-same-owner", "--strip-components=1", "-f", archive], cwd=tree)
    except process.ProgramError as error:
        raise OperationError(
            f"the kernel's source cannot be unpacked: {error.message}", hint=_hint(error)
        ) from error
    archive.unlink()
    return tree


def _configure(tree: Path, fragment: str) -> None:
    """Write the kernel's configuration. Raises OperationError naming each option that does not hold."""
    try:
        makefile = (tree / "Makefile").read_text()
        numbers = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)$", makefile, re.MULTILINE))
        version = int(numbers["VERSION"]), int(numbers["PATCHLEVEL"])
        kconfig = (tree / "arch/x86/Kconfig").read_text()
    except (OSError, KeyError) as error:
        raise OperationError("the kernel's source is not what it was taken for") from error
    options = wanted(fragment, version)
    asked = {**dict.fromkeys(mitigations(kconfig), "y"), **options}
    chosen = tree.parent / "chosen.config"
    chosen.write_text("".join(f"{name}={value}\n" for name, value in asked.items()))
    process.run(_make(tree.parent, f"KCONFIG_ALLCONFIG={chosen}", "allnoconfig"), cwd=tree)
    if broken := unmet(options, (tree / ".config").read_text()):
        raise OperationError(
            f"Linux {version[0]}.{version[1]} does not take these options of {CONFIG_FILE.name}: "
            f"{', '.join(broken)}",
            hint="this i2kit does not know that version yet; the distribution's kernel serves",
        )


def _hint(error: process.ProgramError) -> str | None:
    """What to do where a program found the disk full, which others can fill meanwhile."""
    return FULL_HINT if any(os.strerror(number) in error.message for number in FULL) else None


def _make(folder: Path, *words: str) -> list[str | Path]:
    """make in an environment that is the same everywhere, politely, and not outliving us."""
    return [
        *("setpriv", "--pdeathsig", "TERM", "nice", "-n", "10"),
        *("env", "-i", f"PATH={process.SEARCH_PATH}", "LC_ALL=C", f"TMPDIR={folder}", f"HOME={folder}"),
        # Of any time: dates do not depend on when it was compiled.
        *("KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_VERSION=1"),
        *("KBUILD_BUILD_USER=i2kit", "KBUILD_BUILD_HOST=i2kit"),
        *("make", "ARCH=x86_64", *words),
    ]
