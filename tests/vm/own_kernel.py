"""Compiles the kernel of our own while other tests run, since that takes minutes.

    python -m tests.vm.own_kernel STORE LOCK_FILE

Started by tests/conftest.py, and nice to all others. `prepare` finds in the store what it compiled, and waits
for it where it still does.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import settings
from i2kit.image.base import kernel_build, own_kernel
from i2kit.image.base.lock import Kernel
from i2kit.image.store import Store
from i2kit.settings import Settings

NICENESS = 15

STARTED = pytest.StashKey[bool]()


def store_dir(config: pytest.Config) -> Path:
    """The store that outlives the run."""
    return config.cache.mkdir("store-own-kernel")


def needed_by(tests: Iterable[str]) -> bool:
    """Whether one of these tests runs with it."""
    return any("test_own_kernel.py" in test for test in tests)


def compile_beside(config: pytest.Config) -> None:
    """Begin to compile, once, in a process group that ends when pytest does."""
    if STARTED in config.stash or kernel_build.missing_packages():
        return
    config.stash[STARTED] = True
    folder = tempfile.TemporaryDirectory(prefix="i2kit-")
    lock_file = str(Path(folder.name) / "i2kit.lock")
    compiler = subprocess.Popen(
        [sys.executable, "-m", "tests.vm.own_kernel", str(store_dir(config)), lock_file],
        cwd=config.rootpath,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def end() -> None:
        with suppress(ProcessLookupError):
            os.killpg(compiler.pid, signal.SIGKILL)
        compiler.wait()
        folder.cleanup()

    config.add_cleanup(end)


def prepare(given: Settings) -> Kernel:
    """The kernel in this store: that which is there, or the user's, or one that is compiled now."""
    store = Store(given.store_dir)
    borrow(settings.load().store_dir, store)
    return kernel_build.build(store=store, lock_file=given.lock_file)


def borrow(users: Path, store: Store) -> None:
    """Save minutes where the user has a kernel already; one of other inputs is compiled all the same."""
    if not (users / "kernels").exists() or own_kernel.latest(store):
        return
    theirs = Store(users)
    if kernel := own_kernel.latest(theirs):
        own = f"sha256:{kernel.image_sha256}"
        manifest = json.loads(theirs.read_blob(own) or b"")
        for digest in (own, *(blob["digest"] for blob in (manifest["config"], *manifest["layers"]))):
            store.add_bytes(theirs.read_blob(digest) or b"")
        shutil.copytree(users / "kernels", store.root / "kernels", dirs_exist_ok=True)


if __name__ == "__main__":
    os.nice(NICENESS)
    prepare(replace(settings.load(), store_dir=Path(sys.argv[1]), lock_file=Path(sys.argv[2])))
