"""Starts the programs that stay running (QEMU, HAProxy, dnsmasq): with as little as each needs.

In: an argument list and the descriptors it inherits. Out: the process, which ends when we do.
"""

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from i2kit.process import require, run, which
from i2kit.providers.local.design.desired import Machine
from i2kit.providers.local.machines import vm


@cache
def can_drop_privileges() -> bool:
    """Whether capabilities can be given up: outside of a user namespace an ordinary user has none."""
    return run(vm.confined(["true"], privileged=True), check=False).status == 0


@cache
def can_sandbox() -> bool:
    """Whether bwrap is there and may do its work, and QEMU is where it shows it."""
    qemu = which("qemu-system-x86_64")
    if which("bwrap") is None or qemu is None or not qemu.is_relative_to("/usr"):
        return False
    trial = vm.sandboxed(["true"], reads=(), devices=(), own_network=False)
    return run(trial, check=False).status == 0


def spawn(
    words: Sequence[str], fds: Sequence[int] = (), *, keep_privileges: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program. Raises ProgramError when it is not installed, OSError when it cannot be started."""
    require(words[0])
    if keep_privileges:
        return _start(["setpriv", "--pdeathsig", "KILL", *words], fds)
    return _start(vm.confined(words, privileged=can_drop_privileges()), fds)


def spawn_vm(
    words: Sequence[str],
    fds: Sequence[int],
    machine: Machine,
    *,
    console_fd: int,
    userdata: Path | None,
    kvm: bool,
    own_network: bool,
) -> subprocess.Popen[bytes]:
    """Start QEMU, shut in as far as this machine allows; what it complains of goes to the console."""
    require(words[0])
    confined = vm.confined(words, privileged=can_drop_privileges())
    if can_sandbox():
        confined = vm.sandboxed(
            words,
            reads=[path for path in (machine.kernel, machine.initrd, machine.root, userdata) if path],
            devices=["/dev/kvm"] if kvm else [],
            own_network=own_network,
        )
    elif own_network:
        confined = ["unshare", "--net", *confined]
    return _start(confined, fds, console_fd)


def _start(command: Sequence[str], fds: Sequence[int], stderr: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=fds,
        cwd="/",
    )
