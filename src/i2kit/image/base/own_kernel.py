"""The kernels of our own that a store has, and which one a base takes.

In: the store and what the lock file says. Out: the Kernel to boot, or None for the distribution's.
Never compiles anything: that is kernel_build's, which takes minutes and happens only when asked for.

    kernels/KEY.json       what the build of this key led to
    kernels/latest.json    what was built last: taken where the lock file names none
"""

import hashlib
from dataclasses import asdict
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.events import Note, Warned, Watcher
from i2kit.image.base import components
from i2kit.image.base.lock import Kernel, Lock
from i2kit.image.base.packages import Package
from i2kit.image.store import Store
from i2kit.model import Architecture

CMDLINE = "console=ttyS0 console=hvc0 quiet panic=1 oops=panic no_timer_check percpu_alloc=page"
"""As the distribution's kernel has it, without what is about parts that are not in this one."""

MEMORY_FLOOR_BYTES = 48 << 20
"""Kernel and base take 28 MiB; a pod that serves runs in a machine of 40 MB as well."""

CONFIG_FILE = Path(__file__).with_name("kernel.config")
OUTDATED = "other options than this i2kit has: i2kit kernel build makes a new one"

LATEST = "latest"
ARCHITECTURE: Architecture = "amd64"
"""What they are compiled for. Machines of others have the distribution's kernel."""


def choose(
    store: Store, recorded: Lock | None, *, locked: bool, lock_file: Path, watch: Watcher
) -> Kernel | None:
    """The kernel of our own to use: the lock file's, else the one built last; None for the distribution's.

    Raises OperationError when it has to be the lock file's and the store does not have that.
    """
    named = recorded.kernel if recorded else None
    # Whoever runs with --locked gets what the lock file says, also by its silence.
    found = named or (None if locked else latest(store))
    if found is None:
        return None
    if found is not named or components.is_whole(store, found.image):
        if not is_current(found):
            watch(Note(f"the kernel of our own was made with {OUTDATED}"))
        return found
    what = f"{lock_file} names a kernel of our own, {found.source.name} {found.source.version}"
    if locked:
        raise OperationError(f"{what}, which is not in this store", hint="make it: i2kit kernel build")
    watch(Warned(f"{what}, which is not in this store: the distribution's serves until `i2kit kernel build`"))
    return None


def is_current(kernel: Kernel) -> bool:
    """Whether it has the options that this i2kit has for kernels: what came later may need others."""
    return kernel.config_sha256 == hashlib.sha256(CONFIG_FILE.read_bytes()).hexdigest()


def latest(store: Store) -> Kernel | None:
    """The kernel that was built last, of those that are still in the store."""
    if kernel := recall(store, LATEST):
        return kernel
    # That one or its record may be damaged: others take its place, in an order that is always the same.
    others = (recall(store, path.stem) for path in sorted((store.root / "kernels").glob("*.json")))
    return next((kernel for kernel in others if kernel), None)


def remember(store: Store, key: str, kernel: Kernel) -> None:
    """Note what a build led to, as the result of this key and as the latest."""
    for name in (key, LATEST):
        store.write_record(_record(store, name), asdict(kernel))


def recall(store: Store, key: str) -> Kernel | None:
    """What was noted under this key, if its image is still in the store."""
    document = store.record(_record(store, key))
    if document is None:
        return None
    try:
        kernel = Kernel(**{**document, "source": Package(**document["source"])})
    except (KeyError, TypeError):  # of another i2kit
        return None
    return kernel if components.is_whole(store, kernel.image) else None


def _record(store: Store, name: str) -> Path:
    return store.root / "kernels" / f"{name}.json"
