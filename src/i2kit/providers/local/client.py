"""The command line's side: one deploy at a time, a keeper that runs, questions to its supervisor.

In: requests as plain data. Out: the supervisor's answers. Decides nothing about VMs.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from i2kit.errors import OperationError
from i2kit.events import Note, Watcher
from i2kit.providers.local import control
from i2kit.providers.local.design import desired
from i2kit.providers.local.layout import ALREADY_RUNS, Layout
from i2kit.providers.local.machines import capabilities
from i2kit.providers.local.reach import certificates
from i2kit.settings import Settings

START_S = 30.0
STOP_S = 15.0


class Client:
    """Talks to the supervisor; starts the keeper when something should run and it does not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.layout = Layout(settings.state_dir, settings.run_dir)

    def deployments(self, watch: Watcher) -> list[dict[str, Any]]:
        """All deployments as the supervisor describes them. What a reboot ended is brought back first."""
        try:
            return self._status(watch)
        except ConnectionError:
            wanted = self.noted()
            if not wanted.deployments:
                return []
            watch(Note(f"bringing back {len(wanted.deployments)} deployment(s) that should run"))
            self.start(wanted.deployments[0].machine, watch)
            return self._status(watch)

    def _status(self, watch: Watcher) -> list[dict[str, Any]]:
        """What the supervisor answers; one of another version of i2kit is replaced first."""
        answer = self.ask({"do": "status"})
        if answer.get("protocol") != control.PROTOCOL:
            watch(Note("the supervisor is of another version of i2kit: it starts anew, and its VMs with it"))
            control.end_listener(self.layout.control)
            deadline = time.monotonic() + START_S
            while answer.get("protocol") != control.PROTOCOL:
                if time.monotonic() > deadline:
                    raise OperationError(
                        "the supervisor of another version of i2kit did not start anew",
                        hint="use that version to destroy what runs",
                    )
                time.sleep(0.1)
                with contextlib.suppress(ConnectionError):
                    answer = self.ask({"do": "status"})
        found: list[dict[str, Any]] = answer["deployments"]
        return found

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One question, one answer; ConnectionError when no supervisor runs."""
        return control.ask(self.layout.control, request)

    def order(self, order: desired.Order, secrets: Mapping[str, str]) -> int:
        """Hand in what should run from now on, with the sets of secrets that are new, by their names; the
        number of its revision.
        """
        request = {"do": "apply", "order": asdict(order), "secrets": dict(secrets)}
        revision: int = self.ask(request)["revision"]
        return revision

    def is_leaving(self, key: str) -> bool:
        """Whether VMs of a deployment that was removed have not ended yet."""
        try:
            return key in self.ask({"do": "status"})["leaving"]
        except ConnectionError:
            return False

    def network_obstacle(self) -> str:
        """Why VMs have no network of their own, in words; "" where they have one, or would have."""
        try:
            if self.ask({"do": "status"}).get("network") == "namespace":
                return ""
        except ConnectionError:
            pass
        else:
            return "what runs already is in QEMU's user network"
        network, reason = capabilities.network(self._settings)
        return "" if network == "namespace" else reason

    def noted(self) -> desired.Desired:
        """What should run, as the supervisor wrote it down; nothing where that cannot be read."""
        try:
            return desired.from_json(self.layout.desired.read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return desired.Desired()

    def start(self, machine: desired.Machine, watch: Watcher) -> None:
        """Make sure that a keeper runs. `machine` is what KVM is tried with."""
        with contextlib.suppress(ConnectionError):
            self.ask({"do": "status"})
            return
        found = capabilities.inspect_with(self._settings, machine, watch)
        policies = self.noted().policies
        if policies and found.network == "user":
            raise OperationError(
                f"NetworkPolicy {policies[0].key} would not hold: {found.network_reason}",
                hint="mend that (see `i2kit doctor`), then try again",
            )
        for folder in (self.layout.state_dir, self.layout.run_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        words = [sys.executable, "-P", "-m", "i2kit.providers.local.keeper"]
        words += [str(self.layout.state_dir), str(self.layout.run_dir)]
        words += [found.network, found.accelerator, found.egress if found.network == "namespace" else "none"]
        deadline = time.monotonic() + START_S
        started = False
        while time.monotonic() < deadline:
            # A keeper that is just leaving still holds the lock: then it is our turn a little later.
            if not started:
                started = self._start_keeper(words)
            with contextlib.suppress(ConnectionError):
                self.ask({"do": "status"})
                return
            time.sleep(0.02)
        said = self.layout.keeper_log.read_text(errors="replace").strip().splitlines()[-12:]
        lines = "".join(f"\n    {line}" for line in said)
        raise OperationError(
            f"the supervisor did not start within {START_S:g} s{lines}", hint="run `i2kit doctor`"
        )

    def _start_keeper(self, words: Sequence[str]) -> bool:
        """Start the daemon; False if another one holds the lock."""
        with self.layout.keeper_log.open("ab") as log:
            status = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False
            ).returncode
        return status != ALREADY_RUNS

    @contextlib.contextmanager
    def alone(self, watch: Watcher) -> Iterator[None]:
        """Only one command changes this machine at a time; the others wait here."""
        lock = _lock(self.layout.deploy_lock, watch)
        try:
            yield
        finally:
            self._leave_nothing_idle()
            # Waiters notice that the file they locked is no longer the one with this name.
            if not self.layout.keeper_lock.exists():
                self.layout.deploy_lock.unlink(missing_ok=True)
            os.close(lock)
            for folder in (self.layout.run_dir, self.layout.state_dir):
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _leave_nothing_idle(self) -> None:
        """End a keeper that has nothing to keep: the last deployment went, or the first never came."""
        if self.layout.desired.exists():
            return
        deadline = time.monotonic() + STOP_S
        with contextlib.ExitStack() as opened:
            locks = []
            # A lock is free when the process is gone, not only its files. The watcher goes after the keeper.
            for path in (self.layout.keeper_lock, self.layout.watcher_lock):
                with contextlib.suppress(FileNotFoundError):
                    locks.append(opened.enter_context(path.open()))
            for lock in locks:
                while not _take(lock.fileno()):
                    if time.monotonic() > deadline:
                        return
                    # More than once: one that was just started does not listen yet.
                    with contextlib.suppress(ConnectionError, OperationError):
                        self.ask({"do": "end-if-idle"})
                    time.sleep(0.005)
                fcntl.flock(lock, fcntl.LOCK_UN)
        # What those that were killed could not take away.
        certificates.remove(self.layout.certificates)
        for path in self.layout.left_by_keeper():
            path.unlink(missing_ok=True)


def _take(lock: int) -> bool:
    """Lock the file if nobody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(path: Path, watch: Watcher) -> int:
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        if not _take(lock):
            if not told:
                watch(Note("waiting for another i2kit command to finish"))
                told = True
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)
