"""A running VM: QEMU's process, its two channels, and what the guest said about itself.

In: QEMU's argument list and where logs go. Out: `Vm`, whose `hear` turns the guest's words into
state. Decides nothing about other VMs.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

MOST_LOG_BYTES = 8 << 20
"""A VM's log file starts anew past this; one older file is kept."""

MOST_CONSOLE_BYTES = 4 << 20
"""What a guest says on its console may have no end."""

LONGEST_LINE_BYTES = 64 << 10

UNPRINTABLE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""What a hostile guest could steer a terminal with."""

TWO_NUMBERS = re.compile(r"([0-9]{1,15}) ([0-9]{1,15})")
"""Not every text of digits is a number to int()."""

MOST_WORDS = 400
"""How many characters of what a guest says about itself are kept."""

MOST_PROBES = 64
"""Of how many probes a guest may tell."""

FAILING_S = 20.0
"""A VM that was never ready and one of whose probes fails for this long is shown as failed."""

STARTS_AGAIN = ", starts again in "
Kind = Literal["startup", "liveness", "readiness"]
KINDS: dict[str, Kind] = {"startup": "startup", "liveness": "liveness", "readiness": "readiness"}


@dataclass(slots=True)
class Vm:
    """One VM of a deployment. Everything that the guest sends is data from a stranger."""

    id: str
    key: str
    slot: int
    machine: str
    image: str
    address: str
    process: subprocess.Popen[bytes]
    control: socket.socket
    log: socket.socket
    log_path: Path
    console: socket.socket
    console_path: Path
    forwards: dict[int, int]
    """Guest port → port on the host's loopback address, in QEMU's user network."""
    datagrams: dict[int, int] = field(default_factory=dict)
    """The same for UDP."""

    run: int = 0
    """Of a job's runs, the one that it is part of."""
    finished: str = ""
    """How its pod ended: `0` for well, another word for not; empty as long as it has not."""
    finished_s: float = 0.0
    """When it said so."""
    place: int = 0
    """Wanted.index: its deployment's in the network."""
    claims: tuple[str, ...] = ()
    """The claims in its namespace whose disks it has."""
    grace_s: int = 30
    """How long it has to finish its requests and to end."""
    health_port: int | None = None
    """Where it answers `/ready`."""
    state: Literal["starting", "ready", "draining"] = "starting"
    detail: str = ""
    culprit: str = ""
    """The container that the detail is about."""
    failures: int = 0
    """How often containers ended unasked."""
    crashed: bool = False
    """Whether one ended since it was last ready."""
    broken: str = ""
    """Why it ends itself, beyond repair."""
    ready_since_s: float | None = None
    served: bool = False
    """Whether it was ever ready."""
    booted: bool = False
    """Whether its guest ever said anything."""
    mounted: bool = False
    """Whether it has its volumes and secrets."""
    stopped: bool = False
    """Whether its process was seen stopped at the last look."""
    silent_since: tuple[float, float] | None = None
    """When its checks began to get no answer at all, and the CPU time that it had used by then."""
    sampled: tuple[float, float] | None = None
    """When its CPU time was last looked at, and what that was (s)."""

    memory_kb: tuple[int, int] | None = None
    usage: tuple[int, int] | None = None
    """What its containers use: 1/1000 CPUs, bytes of memory."""
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    started_s: float = field(default_factory=time.monotonic)
    gone_by_s: float | None = None
    """When a draining VM has to be gone, whatever runs in it."""
    told_to_stop: bool = False
    _probes: dict[tuple[str, Kind], str] = field(default_factory=dict)
    """The probes that fail, with what they were answered."""
    _failing_since_s: dict[tuple[str, Kind], float] = field(default_factory=dict)
    _heard: bytes = b""
    _logged: bytes = b""
    _file: BinaryIO | None = None
    _logged_from: int = 0
    """Where its part of the log begins: a VM of the same name may have been before it."""

    def __post_init__(self) -> None:
        with contextlib.suppress(OSError):
            self._logged_from = self.log_path.stat().st_size

    @property
    def handle(self) -> str:
        """What it is known by here: VMs of two namespaces may have one id."""
        return f"{self.key}/{self.id}"

    def hear(self) -> bool:
        """Take in what the guest said on its control channel; True if readiness changed."""
        before = self.state
        try:
            chunk = self.control.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        *lines, rest = (self._heard + chunk).split(b"\n")
        self._heard = rest[-LONGEST_LINE_BYTES:]
        for line in lines:
            self._word(line.decode(errors="replace"))
        return self.state != before

    def _word(self, line: str) -> None:
        self.booted = True
        word, _, rest = line.strip().partition(" ")
        match word:
            case "ready" if self.state == "starting":
                self.state, self.detail, self.culprit, self.crashed = "ready", "", "", False
                self.ready_since_s, self.served = time.monotonic(), True
            case "unready" if self.state == "ready":
                self.state, self.ready_since_s = "starting", None
            case "waiting" if self.state == "starting":
                self.detail = f"its containers run, but nobody listens on port {printable(rest[:5])}"
            case "mounted":
                self.mounted = True
            case "init" | "started" if not self.crashed and not self._probes:
                # What ended well before it is no news any more.
                self.detail = ""
            case "exited":
                name, status, delay, *reason = [*rest.split(" "), "", "", ""]
                self._probes = {which: text for which, text in self._probes.items() if which[0] != name}
                why = " ".join(reason).strip()
                if (status, delay, why) != ("0", "0", ""):
                    self.failures += 1
                    self.crashed, self.culprit = True, name[:MOST_WORDS]
                elif self.culprit == name[:MOST_WORDS]:
                    # It was tried again, has done its work, and is not started any more.
                    self.crashed, self.culprit = False, ""
                again = f"{STARTS_AGAIN}{delay} s" if delay.isdigit() and delay != "0" else ""
                self.detail = f"container {name} ended with exit status {status}"
                self.detail += (f" ({why})" if why else "") + again
                self.detail = printable(self.detail)[:MOST_WORDS]
            case "probe":
                self._probed(*[*rest.split(" ", 3), "", "", "", ""][:4])
            case "finished":
                self.finished = printable(rest)[:MOST_WORDS] or "without a status"
                self.finished_s = time.monotonic()
                self.detail = self.detail.partition(STARTS_AGAIN)[0]
            case "broken":
                self.broken = self.detail = printable(rest)[:MOST_WORDS] or "beyond repair"
            case "memory":
                if numbers := TWO_NUMBERS.fullmatch(rest):
                    self.memory_kb = (int(numbers[1]), int(numbers[2]))
            case "usage":
                if numbers := TWO_NUMBERS.fullmatch(rest):
                    self.usage = (int(numbers[1]), int(numbers[2]))

    def _probed(self, name: str, kind: str, outcome: str, text: str) -> None:
        """A probe's outcome changed."""
        if kind not in KINDS:
            return
        which = (name, KINDS[kind])
        if outcome == "ok":
            self._failing_since_s.pop(which, None)
        if outcome == "failed" and (which in self._probes or len(self._probes) < MOST_PROBES):
            self._failing_since_s.setdefault(which, time.monotonic())
            self._probes[which] = printable(f"container {name}: {kind} probe failed: {text}")[:MOST_WORDS]
            self.detail, self.culprit = self._probes[which], name[:MOST_WORDS]
        elif outcome == "ok" and self._probes.pop(which, None) == self.detail and not self.crashed:
            self.detail = next(iter(self._probes.values()), "")

    @property
    def shown_state(self) -> Literal["starting", "ready", "draining", "failed", "succeeded"]:
        """The state as people are told it: a VM that starts and has trouble has failed so far."""
        if self.finished:
            return "succeeded" if self.finished == "0" else "failed"
        trouble = self.crashed or self.broken or any(self._is_trouble(*which) for which in self._probes)
        return "failed" if self.state == "starting" and trouble else self.state

    def _is_trouble(self, container: str, kind: Kind) -> bool:
        """Whether it is more than starting that this probe fails."""
        if kind == "startup":
            return False
        return self.served or time.monotonic() - self._failing_since_s[container, kind] >= FAILING_S

    def is_available(self, min_ready_s: float) -> bool:
        """Whether it has been ready for this long."""
        since = self.ready_since_s
        return self.state == "ready" and since is not None and time.monotonic() - since >= min_ready_s

    def kill(self) -> None:
        """End it now. Not by Popen.kill, which would take the exit status that the supervisor waits for."""
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGKILL)

    def say(self, line: str) -> None:
        """Tell the guest something; a guest that does not listen is not waited for."""
        with contextlib.suppress(OSError):
            self.control.send(line.encode() + b"\n")

    def keep_log(self) -> bool:
        """Write what the containers said to the log file; False when the channel is closed."""
        try:
            chunk = self.log.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            self._write(self._logged.split(b"\n") if self._logged else [])
            self._logged = b""
            return False
        *lines, rest = (self._logged + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._logged = rest
        self._write(lines)
        return True

    def keep_console(self) -> bool:
        """Write what the kernel and QEMU said to the console's file; False when the channel is closed."""
        try:
            chunk = self.console.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            return False
        with contextlib.suppress(OSError), self.console_path.open("ab") as file:
            file.write(chunk[: max(0, MOST_CONSOLE_BYTES - file.tell())])
        return True

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").encode()
        text = b"".join(stamp + b" " + UNPRINTABLE.sub(b"?", line.rstrip(b"\r")) + b"\n" for line in lines)
        # A full disk must not end the supervisor, and so all VMs.
        with contextlib.suppress(OSError):
            if self._file is None:
                self._file = self.log_path.open("ab", buffering=0)
            self._file.write(text)
            if self._file.tell() > MOST_LOG_BYTES:
                self._file.close()
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
                self._file, self._logged_from = None, 0

    def close(self) -> None:
        """The process is gone: keep the last words, give the descriptors back."""
        for channel, keep in ((self.log, self.keep_log), (self.console, self.keep_console)):
            while keep():
                try:
                    if not channel.recv(1, socket.MSG_PEEK):
                        continue
                except OSError:
                    break
        self.hear()
        self.control.close()
        self.log.close()
        self.console.close()
        if self._file:
            self._file.close()

    def last_lines(self, count: int) -> list[str]:
        """The end of the log, without the time; of the container that failed, where it said anything."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(self._logged_from, os.fstat(file.fileno()).st_size - (64 << 10)))
                lines = [line.partition(" ")[2] for line in file.read().decode(errors="replace").splitlines()]
        except OSError:
            return []
        own = [line for line in lines if self.culprit and line.startswith(f"{self.culprit} ")]
        return (own or lines)[-count:]


def printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return UNPRINTABLE.sub(b"?", text.encode(errors="replace")).decode(errors="replace")
