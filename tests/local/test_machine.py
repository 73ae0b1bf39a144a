"""What a guest says is data from a stranger."""

import socket
import subprocess
from pathlib import Path

import pytest

from i2kit.providers.local.machine import Vm


@pytest.mark.parametrize(
    "said",
    [
        "memory ² 1",
        f"memory {'9' * 5000} 1",
        "memory",
        "exited",
        "exited \x1b[2J a b",
        "waiting",
        "ready now",
        "\udcff",
    ],
)
def test_odd_words_do_no_harm(said: str, tmp_path: Path) -> None:
    """Words that look like numbers and are not, words without their arguments, terminal escapes."""
    ours, theirs = socket.socketpair()
    log, log_theirs = socket.socketpair()
    process = subprocess.Popen(["true"])
    process.wait()
    vm = Vm("web-1", "default/web", 0, "", "", "10.77.1.1", process, ours, log, tmp_path / "log", {})
    with ours, theirs, log, log_theirs:
        theirs.sendall(said.encode(errors="surrogateescape") + b"\nmemory 10 5\n")
        vm.hear()
    assert vm.memory_kb == (10, 5)
    assert "\x1b" not in vm.detail
