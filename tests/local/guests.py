"""VMs whose guests are tests."""

import socket
import subprocess
from pathlib import Path

from i2kit.providers.local.machines.machine import Vm


class Guest:
    """A VM whose guest is this test."""

    def __init__(self, log_path: Path, *, id: str = "web-1", machine: str = "") -> None:
        ours, self._control = socket.socketpair()
        log, self._log = socket.socketpair()
        process = subprocess.Popen(["true"])
        process.wait()
        console, self._console = socket.socketpair()
        console.setblocking(False)
        self.vm = Vm(
            *(id, "default/web", 0, machine, "", "10.77.1.1", process, ours, log, log_path),
            *(console, log_path.with_name("console.log"), {}),
        )

    def says(self, *lines: str) -> tuple[str, str]:
        """What is shown of it afterwards: its state, and why."""
        self._control.sendall("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
        self.vm.hear()
        return self.vm.shown_state, self.vm.detail

    def says_on_its_console(self, text: bytes) -> None:
        """All of it arrives, however much."""
        for start in range(0, len(text), 1 << 14):
            self._console.sendall(text[start : start + (1 << 14)])
            self.vm.keep_console()

    def end(self) -> None:
        for one in (self._control, self._log, self._console, self.vm.control, self.vm.log, self.vm.console):
            one.close()
