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

LONGEST_LINE_BYTES = 64 << 10

UNPRINTABLE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
"""What a hostile guest could steer a terminal with."""

MEMORY = re.compile(r"([0-9]{1,12}) ([0-9]{1,12})")
"""Total and available, in kB. Not every text of digits is a number to int()."""


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
    forwards: dict[int, int]
    """Guest port → port on the host's loopback address, in QEMU's user network."""

    state: Literal["starting", "ready", "draining"] = "starting"
    detail: str = ""
    failures: int = 0
    """How often containers ended unasked."""

    memory_kb: tuple[int, int] | None = None
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    started_s: float = field(default_factory=time.monotonic)
    stop_at_s: float | None = None
    """When a draining VM is told to stop even though requests still run."""

    kill_at_s: float | None = None
    _heard: bytes = b""
    _logged: bytes = b""
    _file: BinaryIO | None = None

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
        word, _, rest = line.strip().partition(" ")
        match word:
            case "ready" if self.state == "starting":
                self.state, self.detail = "ready", ""
            case "unready" if self.state == "ready":
                self.state = "starting"
            case "waiting" if self.state == "starting":
                self.detail = f"its containers run, but nobody listens on port {printable(rest[:5])}"
            case "exited":
                name, status, delay, *reason = [*rest.split(" "), "", "", ""]
                self.failures += 1
                why = " ".join(reason).strip()
                again = f", starts again in {delay} s" if delay.isdigit() and delay != "0" else ""
                self.detail = f"container {name} ended with exit status {status}"
                self.detail += (f" ({why})" if why else "") + again
                self.detail = printable(self.detail)
            case "memory":
                if numbers := MEMORY.fullmatch(rest):
                    self.memory_kb = (int(numbers[1]), int(numbers[2]))

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
                self._file = None

    def close(self) -> None:
        """The process is gone: keep the last words, give the descriptors back."""
        while self.keep_log():
            try:
                if not self.log.recv(1, socket.MSG_PEEK):
                    continue
            except OSError:
                break
        self.hear()
        self.control.close()
        self.log.close()
        if self._file:
            self._file.close()

    def last_lines(self, count: int) -> list[str]:
        """The end of the containers' log, without the time."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - (16 << 10)))
                lines = file.read().decode(errors="replace").splitlines()[-count:]
        except OSError:
            return []
        return [line.partition(" ")[2] for line in lines]


def printable(text: str) -> str:
    """The text without what could steer a terminal."""
    return UNPRINTABLE.sub(b"?", text.encode(errors="replace")).decode(errors="replace")
