"""What every machine has beside its pod: kernel, programs, the supervisor, and what boots a disk.

In: the distribution's packages, as the lock file names them or as the distribution has them now. Out:
a Base, pinned references of images in the store that are the same wherever the packages are. The
lock file is written when it is missing or when the distribution has moved on. A kernel of our own is
taken instead of the distribution's where the store has one and it fits. Never installs.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

from i2kit.errors import InputError, OperationError, Problem
from i2kit.events import Finished, Started, Warned, Watcher
from i2kit.image.base import boot, components, lock, own_kernel
from i2kit.image.base.components import AWS, KERNEL_PACKAGE, LUA, SCRIPTS, File
from i2kit.image.base.lock import Lock
from i2kit.image.base.packages import BUILDERS, Distribution, Gone, Index, Package, distribution
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Architecture

CMDLINE = (
    "console=ttyS0 console=hvc0 quiet panic=1 oops=panic no_timer_check cryptomgr.notests percpu_alloc=page"
)
CMDLINE_ARM64 = "console=ttyAMA0 " + CMDLINE.replace(" no_timer_check", "")
"""All consoles, whichever the machine has: EC2's is ttyS0 with either architecture, QEMU's is ttyAMA0 with
arm64. The last one that is there is /dev/console. A machine whose kernel fails ends, so that it is replaced.
Without no_timer_check the kernel finds a slow emulator's timer broken; the self-tests of its ciphers
take 0.2 s of a boot under emulation. Memory that each processor has its own of comes in units of 2 MB
where there is one processor, and the accounts of the next unit take 4 MB: by pages it is a tenth."""
NO_TRACING = " initcall_blacklist=tracer_init_tracefs"
"""Files to control tracing, which nobody mounts, take 9 MB: Linux before 6.6 makes all 10,000 of them at
boot. Later ones make them when they are asked for, and Ubuntu's 6.8 cannot boot without the first."""

MEMORY_FLOOR_BYTES = 96 << 20

KERNELS = {
    "debian": "linux-image-cloud-{}",
    "ubuntu": "linux-image-virtual",
    "jammy": "linux-image-virtual-hwe-22.04",  # the package of its first kernel's modules has no erofs
}
"""By the distribution's code name, or else by its family; with the architecture in it."""
BUSYBOX, CRUN, EXT4 = "busybox-static", "crun", "e2fsprogs"
LUAJIT, TLS, CERTIFICATES = "luajit", "libbearssl0", "ca-certificates"
EXT4_PROGRAMS = ("mke2fs", "e2fsck", "resize2fs")
NEEDED = frozenset({BUSYBOX, CRUN, EXT4, LUAJIT, TLS, CERTIFICATES})
"""What every lock file names, beside what boots a disk. One without is of an i2kit that needed less."""

TLS_LIBRARY = "libbearssl.so.0"
UNUSED_LIBRARY = "libsystemd.so.0"
"""crun has it for machines that systemd runs, which ours are not. With all that it needs in turn it would be
1.2 MB of the compressed base, and memory of every container."""
ROOTS = (
    *(f"Amazon_Root_CA_{number}" for number in (1, 2, 3, 4)),
    "Starfield_Services_Root_Certificate_Authority_-_G2",
)
"""Where the certificates of AWS's endpoints come from (https://www.amazontrust.com/repository)."""


def ensure(
    *,
    store: Store,
    lock_file: Path,
    locked: bool,
    architecture: Architecture = "amd64",
    watch: Watcher,
) -> Base:
    """Bring the base into the store and say what it is. Costs next to nothing when it is there.

    With `locked` exactly the packages of the lock file are used or nothing is changed. Raises
    InputError for a lock file that is missing then, broken or of another distribution, OperationError
    when packages cannot be had.
    """
    here = distribution(architecture=architecture)
    locks = lock.read_all(lock_file)
    recorded = locks.get(architecture)
    if locked and recorded is None:
        what = (
            f"{lock_file} names no packages for {architecture}"
            if locks
            else f"there is no lock file {lock_file}"
        )
        raise InputError([Problem(what, hint="run once without --locked, which writes it")])
    with store.lock("base"):
        index = Index(store, architecture)
        if recorded is not None and recorded.distribution != here:
            what = f"{lock_file} is for {recorded.distribution}, and this machine is {here}"
            if architecture not in BUILDERS:
                what = f"{lock_file} is for {recorded.distribution}, and this machine has packages of {here}"
            if locked:
                raise InputError(
                    [Problem(what, hint="use a machine of that distribution, or another lock file")]
                )
            watch(Warned(f"{what}: its packages are taken and recorded"))
            recorded = None
        own = None
        if architecture == own_kernel.ARCHITECTURE:
            own = own_kernel.choose(store, recorded, locked=locked, lock_file=lock_file, watch=watch)
        memo = _memo(store, recorded.packages, here) if recorded else None
        made = _recall(store, memo, architecture) if memo else None
        # What is made already needs its packages no more; else each is read, and must be as it was.
        present = store.blob if made else store.verified_blob
        current = _locked_packages(store, index, recorded, locked, lock_file, watch, present) or _newest(
            store, index, here, watch
        )
        if made is None or recorded is None or current != recorded.packages:
            made = _components(store, current, here, watch)
    references, used = made
    # A kernel that this store does not have stays recorded: others who share the lock file have it.
    meant = Lock(here, used, own or (recorded.kernel if recorded else None))
    if recorded != meant and not locked:
        for change in lock.changes(recorded.packages, used) if recorded else ():
            watch(Warned(f"the distribution has moved on: {change}"))
        lock.write(lock_file, meant)
    return Base(
        kernel=own.image if own else references["kernel"],
        init=tuple(references[name] for name in ("busybox", "crun", LUA, AWS, *SCRIPTS)),
        boot=references["boot"],
        ext4=references["ext4"],
        cmdline=own_kernel.CMDLINE if own else cmdline(used, architecture),
        memory_floor_bytes=own_kernel.MEMORY_FLOOR_BYTES if own else MEMORY_FLOOR_BYTES,
    )


def kernel_package(here: Distribution) -> str:
    """The package that names the distribution's newest kernel for virtual machines."""
    return (KERNELS.get(here.codename) or KERNELS[here.family]).format(here.architecture)


def cmdline(packages: Sequence[Package], architecture: Architecture = "amd64") -> str:
    """The arguments that the kernel among these packages needs."""
    names = " ".join(package.name for package in packages)
    major, minor = (re.findall(r"\blinux-image-(?:unsigned-)?(\d+)\.(\d+)\.", names) or [(0, 0)])[0]
    usual = CMDLINE if architecture == "amd64" else CMDLINE_ARM64
    return usual + (NO_TRACING if (int(major), int(minor)) < (6, 6) else "")


def recorded_components(store: Store, found: Lock) -> frozenset[str]:
    """The pinned references of what was made of a lock file's packages, as this version of i2kit does."""
    known = store.record(_memo(store, found.packages, found.distribution)) or {}
    return frozenset(known.get("references", {}).values())


def _locked_packages(
    store: Store,
    index: Index,
    recorded: Lock | None,
    locked: bool,
    file: Path,
    watch: Watcher,
    present: Callable[[str], Path | None],
) -> tuple[Package, ...] | None:
    """The packages of the lock file, all in the store; None when some cannot be had any more."""
    if recorded is None:
        return None
    needed = NEEDED.union(boot.needed(index.architecture))
    if absent := needed - {package.name for package in recorded.packages}:
        if locked:
            raise OperationError(
                f"{file} does not name {', '.join(sorted(absent))}, and --locked forbids anything else",
                hint="run without --locked to record what this version of i2kit needs",
            )
        return None
    if all(present(package.digest) for package in recorded.packages):
        return recorded.packages
    try:
        _fetch(index, recorded.packages, watch)
    except Gone as first:
        # The system's lists may be older than the mirror.
        try:
            index.refresh()
            _fetch(index, recorded.packages, watch)
        except OperationError as error:
            if locked:
                raise OperationError(
                    f"{file} cannot be followed, and --locked forbids anything else: {error.message}",
                    hint="run without --locked to take what the distribution has now",
                ) from error
            if not isinstance(error, Gone):
                raise first from error
            return None
    return recorded.packages


def _newest(store: Store, index: Index, here: Distribution, watch: Watcher) -> tuple[Package, ...]:
    """What the distribution has now, in the store. The system's lists come first, then own ones."""
    try:
        packages = _resolve(index, here)
        _fetch(index, packages, watch)
    except Gone:
        index.refresh()
        packages = _resolve(index, here)
        _fetch(index, packages, watch)
    return packages


def _resolve(index: Index, here: Distribution) -> tuple[Package, ...]:
    image = kernel_package(here)
    kernel = index.closure(image, lambda name: KERNEL_PACKAGE.fullmatch(name) is not None)
    needed = boot.needed(here.architecture)
    programs = [name for name in needed if name == boot.GRUB]
    others = [name for name in needed if name != boot.GRUB]
    stub = next((name for name in boot.STUBS if index.offers([name])), boot.STUBS[0])
    return (
        # The metapackage holds nothing but the name of the newest kernel.
        *(package for package in kernel if package.name != image),
        *index.closure(BUSYBOX, lambda _: False),
        *_with_libraries(index, CRUN, EXT4, LUAJIT, TLS, *programs),
        *(
            package
            for name in (CERTIFICATES, *others, stub)
            for package in index.closure(name, lambda _: False)
        ),
    )


def _with_libraries(index: Index, *names: str) -> tuple[Package, ...]:
    found = {one for name in names for one in index.closure(name, lambda needed: needed.startswith("lib"))}
    return tuple(sorted(found))


def _fetch(index: Index, packages: Sequence[Package], watch: Watcher) -> None:
    key = "base-packages"
    watch(Started(key, "base packages"))
    index.fetch(packages)
    watch(Finished(key, f"{len(packages)} packages"))


def _components(
    store: Store, packages: Sequence[Package], here: Distribution, watch: Watcher
) -> tuple[Mapping[str, str], tuple[Package, ...]]:
    """The components' references by name, and the packages that something was taken from."""
    if (known := _recall(store, _memo(store, packages, here), here.architecture)) is not None:
        return known
    architecture = here.architecture
    watch(Started("base", "base components"))
    kernels = [package for package in packages if KERNEL_PACKAGE.fullmatch(package.name)]
    (busybox,) = (package for package in packages if package.name == BUSYBOX)
    loaders = [package for package in packages if package.name in (*boot.STUBS, boot.GRUB, boot.GRUB_MODULES)]
    libraries = [package for package in packages if package not in (*kernels, busybox, *loaders)]
    crun, of_crun = components.program_files(
        store, libraries, "usr/bin/crun", architecture, without=UNUSED_LIBRARY
    )
    lua, of_lua = components.program_files(
        store, libraries, "usr/bin/luajit", architecture, loads=[TLS_LIBRARY]
    )
    ext4: dict[str, components.File] = {}
    of_ext4: set[Package] = set()
    for program in EXT4_PROGRAMS:
        found, used = components.program_files(store, libraries, f"sbin/{program}", architecture)
        ext4 |= found
        of_ext4 |= set(used)
    (certificates,) = (package for package in packages if package.name == CERTIFICATES)
    roots = components.root_certificates(store, certificates, ROOTS)
    loader, of_loader = boot.files(store, [*loaders, *libraries], architecture)
    files = {
        "kernel": components.kernel_files(store, kernels),
        "busybox": {**components.busybox_files(store, busybox), **components.os_release(here)},
        "crun": {**crun, **components.records(store, of_crun)},
        LUA: {
            **lua,
            **components.script_files(LUA, architecture),
            **components.records(store, of_lua),
        },
        AWS: {
            **components.script_files(AWS, architecture),
            f"{components.AWS_FOLDER}/roots.der": File(roots),
            **components.records(store, [certificates]),
        },
        "boot": loader,
        "ext4": {**ext4, **components.records(store, sorted(of_ext4))},
        **{name: components.script_files(name, architecture) for name in SCRIPTS},
    }
    references = {name: components.add_image(store, name, files[name], architecture) for name in files}
    everything = tuple(sorted({*kernels, busybox, *of_crun, *of_lua, *of_ext4, certificates, *of_loader}))
    # Two keys lead here: what was resolved, and what of it the lock file will name.
    document = {"references": references, "packages": [list(astuple(package)) for package in everything]}
    for some in (packages, everything):
        store.write_record(_memo(store, some, here), document)
    watch(Finished("base", f"{len(files)} components"))
    return references, everything


def _memo(store: Store, packages: Sequence[Package], here: Distribution) -> Path:
    return store.root / "base" / f"{_key(packages, here)}.json"


def _recall(
    store: Store, memo: Path, architecture: Architecture
) -> tuple[Mapping[str, str], tuple[Package, ...]] | None:
    """What `_components` found before, if its images are still in the store, undamaged."""
    document = store.record(memo)
    if document is None:
        return None
    references = dict(document["references"])
    packages = tuple(Package(*words) for words in document["packages"])
    whole = all(components.is_whole(store, reference, architecture) for reference in references.values())
    return (references, packages) if whole else None


def _key(packages: Sequence[Package], here: Distribution) -> str:
    """The hash of all that the components depend on: packages, scripts, and the code that makes them."""
    digest = hashlib.sha256(f"{here}\n".encode())
    for package in sorted(packages):
        digest.update(f"{package.sha256}\n".encode())
    code = [
        Path(__file__).with_name(name)
        for name in ("boot.py", "components.py", "elf.py", "kernel.py", "packages.py")
    ]
    for path in [*code, *sorted(path for path in components.GUEST.rglob("*") if path.is_file())]:
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()
