"""Compiles the kernel of our own while other tests run, since that takes minutes.

    python -m tests.vm.own_kernel STORE LOCK_FILE

Started by `conftest`, and nice to all others. `prepare` finds in the store what it compiled, and waits for it
where it still does.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit import settings
from i2kit.image.base import kernel_build, own_kernel
from i2kit.image.base.lock import Kernel
from i2kit.image.store import Store
from i2kit.settings import Settings

NICENESS = 15


def store_dir(config: pytest.Config) -> Path:
    """The store that outlives the run."""
    return config.cache.mkdir("store-own-kernel")


def start(config: pytest.Config, folder: Path) -> subprocess.Popen[bytes]:
    """Begin to compile, in a process group of its own; its lock file is in `folder`."""
    argv = [sys.executable, "-m", "tests.vm.own_kernel", str(store_dir(config)), str(folder / "i2kit.lock")]
    return subprocess.Popen(
        argv,
        cwd=config.rootpath,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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
