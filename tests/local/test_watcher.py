"""The watcher, for real, with keepers that are only locks."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from i2kit.providers.local.keeper import WATCHER
from i2kit.providers.local.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state", tmp_path / "run")
    made.state_dir.mkdir()
    made.run_dir.mkdir()
    made.desired.touch()
    return made


@contextmanager
def keeper(layout: Layout) -> Iterator[None]:
    """As long as it lives, it holds its lock."""
    with layout.keeper_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def watch(layout: Layout, start: str = "exit 1") -> "subprocess.Popen[bytes]":
    """A watcher that starts this script in place of Python."""
    python = layout.state_dir / "python"
    python.write_text(f"#!/bin/sh\n{start}\n")
    python.chmod(0o755)
    watcher = subprocess.Popen(["sh", WATCHER, python, layout.state_dir, layout.run_dir, "tcg"])
    while not (locks(layout.watcher_lock, " FLOCK ") and locks(layout.keeper_lock, "->")):
        assert watcher.poll() is None
    return watcher


def locks(path: Path, kind: str) -> bool:
    """Whether proc_locks(5) has such a lock of this file; an arrow is for one that is waited for."""
    inode = f":{path.stat().st_ino} " if path.exists() else "none"
    return any(kind in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def is_locked(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_it_starts_another_keeper_when_one_dies_and_ends(layout: Layout) -> None:
    with keeper(layout):
        watcher = watch(layout, 'echo "$@"')
        assert subprocess.run(["sh", WATCHER, "false", layout.state_dir, layout.run_dir]).returncode == 0
        with pytest.raises(subprocess.TimeoutExpired):
            watcher.wait(0.3)
    assert watcher.wait(10) == 0
    arguments = f"-P -m i2kit.providers.local.keeper {layout.state_dir} {layout.run_dir} tcg\n"
    assert layout.keeper_log.read_text() == arguments
    assert not is_locked(layout.watcher_lock), "the next keeper's watcher can take it"


def test_a_folder_that_was_removed_is_made_anew_and_a_keeper_that_fails_tried_again(layout: Layout) -> None:
    with keeper(layout):
        watcher = watch(layout, f'mkdir "{layout.state_dir}/tried" && exit 1; echo done')
        for path in layout.run_dir.iterdir():
            path.unlink()
        layout.run_dir.rmdir()
    assert watcher.wait(10) == 0
    assert layout.keeper_log.read_text().endswith("done\n")


def test_a_keeper_that_was_stopped_goes_on(layout: Layout) -> None:
    script = 'exec 9>"$1/keeper.lock"; flock 9; sh "$2" false "$3" "$1" & kill -STOP $$; kill $!; exit 3'
    words = ["sh", "-c", script, "sh", str(layout.run_dir), str(WATCHER), str(layout.state_dir)]
    assert subprocess.run(words, timeout=60).returncode == 3


def test_nothing_to_keep_leaves_nothing(layout: Layout) -> None:
    with keeper(layout):
        watcher = watch(layout)
        layout.desired.unlink()
        layout.keeper_lock.unlink()
    assert watcher.wait(10) == 0
    assert not layout.run_dir.exists()


def test_one_that_is_stopped_does_not_hold_up_another_keeper(layout: Layout) -> None:
    with keeper(layout):
        watcher = watch(layout)
        waiting = Path(f"/proc/{watcher.pid}/task/{watcher.pid}/children").read_text().strip()
        os.kill(watcher.pid, signal.SIGSTOP)
    try:
        while ") Z " not in Path(f"/proc/{waiting}/stat").read_text():
            pass  # until it has had the lock, and ended
        assert not is_locked(layout.keeper_lock)
    finally:
        watcher.kill()
        watcher.wait()
