"""VMs whose guests are tests."""

import socket
import subprocess
from pathlib import Path

from i2kit.providers.local.machine import Vm


class Guest:
    """A VM whose guest is this test."""

    def __init__(self, log_path: Path, *, id: str = "web-1", machine: str = "") -> None:
        ours, self._control = socket.socketpair()
        log, self._log = socket.socketpair()
        process = subprocess.Popen(["true"])
        process.wait()
        self.vm = Vm(id, "default/web", 0, machine, "", "10.77.1.1", process, ours, log, log_path, {})

    def says(self, *lines: str) -> tuple[str, str]:
        """What is shown of it afterwards: its state, and why."""
        self._control.sendall("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
        self.vm.hear()
        return self.vm.shown_state, self.vm.detail

    def end(self) -> None:
        for one in (self._control, self._log, self.vm.control, self.vm.log):
            one.close()
