"""HAProxy as a process: started, told which slots serve, reloaded, asked what it sees.

In: the configuration text of `haproxy` and inherited listeners. Out: commands on its runtime
socket (management guide, "Unix Socket commands"). Decides nothing.
"""

import csv
import io
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from i2kit.providers.local import control
from i2kit.providers.local.machines import processes
from i2kit.providers.local.reach.haproxy import MEMORY

Spawn = Callable[[Sequence[str], Sequence[int]], subprocess.Popen[bytes]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What HAProxy says of one slot: requests in flight, and its last check's result (L7OK, L4TOUT, …)."""

    server: str
    requests: int
    check: str


class Balancer:
    """One HAProxy at a time; the ones before finish their last responses."""

    def __init__(self, config: Path, stats_path: Path, spawn: Spawn) -> None:
        self._config = config
        self._stats_path = stats_path
        self._spawn = spawn
        self._stats = control.listen(stats_path)
        self._listeners: tuple[int, ...] = ()
        self._shape = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._leaving: dict[int, subprocess.Popen[bytes]] = {}
        """Kept until the supervisor has their exit status: `subprocess` takes that of those it may forget."""

    @property
    def stats_fd(self) -> int:
        return self._stats.fileno()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_leaving(self) -> bool:
        """Whether one before still finishes responses, on slots that this one knows nothing of."""
        return bool(self._leaving)

    def configure(self, text: str, shape: str, listeners: Iterable[int]) -> None:
        """Serve this configuration from now on; one of the same `shape` differs in what is told anyway."""
        given = tuple(listeners)
        if self._process and shape == self._shape and given == self._listeners:
            return
        self._start(text, given, finish=self._process)
        self._shape, self._listeners = shape, given

    def ended(self, pid: int) -> bool:
        """A process ended: whether it was the HAProxy that serves. The next `configure` starts another.

        The listeners stay open: nobody is refused.
        """
        if gone := self._leaving.pop(pid, None):
            gone.returncode = 0  # it has been waited for
        if self._process is None or self._process.pid != pid:
            return False
        self._process.returncode = 0
        self._process = None
        return True

    def _start(self, text: str, listeners: Sequence[int], *, finish: subprocess.Popen[bytes] | None) -> None:
        aside = self._config.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self._config)
        words = ["haproxy", "-db", "-q", "-L", MEMORY, "-f", str(self._config)]
        if finish:
            words += ["-sf", str(finish.pid)]
            self._leaving[finish.pid] = finish
        started = self._spawn(words, (self.stats_fd, *listeners))
        self._process = started
        # Commands must not go to the process that is leaving: wait until the new one answers.
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and _alive(started.pid):
            if f"Pid: {started.pid}\n" in self.command("show info"):
                return
            if processes.is_stopped(started.pid):
                os.kill(started.pid, signal.SIGCONT)
            time.sleep(0.005)

    def command(self, text: str) -> str:
        """Run one command; "" if HAProxy cannot answer now."""
        if self._process is None:
            return ""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                with control.reachable(self._stats_path) as address:
                    connection.connect(address)
                connection.sendall(text.encode() + b"\n")
                chunks = []
                while chunk := connection.recv(1 << 16):
                    chunks.append(chunk)
                return b"".join(chunks).decode(errors="replace")
        except OSError:
            return ""

    def switch_on(self, backend: str, server: str) -> None:
        """Send requests there: the guest said that it is ready, and is believed before the first check."""
        self.command(f"set server {backend}/{server} state ready")

    def switch_off(self, backend: str, server: str) -> None:
        """Send nothing there: there is no VM, or it is not ready."""
        self.command(f"set server {backend}/{server} state maint")

    def drain(self, backend: str, server: str) -> None:
        """Send nothing new there; what runs may finish."""
        self.command(f"set server {backend}/{server} state drain")

    def forget(self, backend: str, server: str) -> None:
        """Callers that keep to this slot may have another: draining does not send them away."""
        for line in self.command(f"show servers state {backend}").splitlines():
            words = line.split()
            if words[3:4] == [server]:
                self.command(f"clear table {backend} data.server_id eq {words[2]}")

    def seen(self) -> Sequence[Seen]:
        """All slots as HAProxy sees them now."""
        text = self.command("show stat -1 4 -1").removeprefix("# ")
        return [
            Seen(
                server=row["svname"],
                requests=int(row["scur"] or 0),
                check=(row.get("check_status") or "").removeprefix("* "),  # "* ": the next one is under way
            )
            for row in csv.DictReader(io.StringIO(text))
            if row.get("svname")
        ]

    def stop(self) -> None:
        """End it now."""
        if self._process:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._stats.close()


def _alive(pid: int) -> bool:
    """Whether it runs, without taking its exit status from whoever waits for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
