"""What this machine allows: which network the VMs get, whether KVM really boots a guest, the way out.

In: settings and, for KVM, a machine image to try. Out: findings with their reasons. Touches only
namespaces and VMs of its own, and a note in the store of what the KVM trial gave.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from i2kit.errors import OperationError
from i2kit.events import Note, Warned, Watcher
from i2kit.process import ProgramError, require, run, which
from i2kit.providers.local.design.desired import Machine
from i2kit.providers.local.machines import vm
from i2kit.providers.local.machines.namespaces import isolated
from i2kit.settings import Settings

KVM_BOOT_S = 6.0
"""A guest that says nothing for this long is faster without KVM (emulated, it takes 2 s)."""

MESSAGE_LENGTH = 60
"""How much of QEMU's complaint goes into one line."""

GOOD_PASTA = "2024_03_26"
"""Before this release pasta resets forwarded TCP connections (podman issue 22146)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What `i2kit doctor` tells and what the keeper is started with."""

    network: Literal["namespace", "user"]
    network_reason: str
    accelerator: Literal["kvm", "tcg"]
    accelerator_reason: str
    egress: Literal["pasta", "slirp4netns", "none"]


def inspect(settings: Settings) -> Capabilities:
    """All findings that need no machine image: KVM counts once a guest has booted with it."""
    kind, network_reason = network(settings)
    accelerator, accelerator_reason = _accelerator(settings, None)
    return Capabilities(kind, network_reason, accelerator, accelerator_reason, _egress())


def inspect_with(settings: Settings, machine: Machine, watch: Watcher) -> Capabilities:
    """The same, after really booting this machine with KVM if there is one to try. Tells what is lost."""
    found = inspect(settings)
    if found.accelerator == "tcg":
        accelerator, reason = _accelerator(settings, machine)
        found = replace(found, accelerator=accelerator, accelerator_reason=reason)
    if found.accelerator == "tcg":
        watch(Note(f"no hardware virtualization: {found.accelerator_reason}; VMs are emulated (slower)"))
    if found.network == "user":
        watch(
            Warned(
                f"{found.network_reason}: VMs get QEMU's user network. Lost: names and addresses of other"
                " VMs and services (they are reached by NAME_SERVICE_HOST and NAME_SERVICE_PORT instead);"
                " and VMs can reach what listens on this machine's loopback address"
            )
        )
    elif found.egress == "none":
        watch(Warned("neither slirp4netns nor a recent pasta is installed: VMs cannot reach the outside"))
    return found


def network(settings: Settings) -> tuple[Literal["namespace", "user"], str]:
    """Which network VMs can have, and why."""
    if settings.network == "user":
        return "user", "I2KIT_LOCAL_NETWORK=user was given"
    reason = _namespace_obstacle()
    if reason is None:
        return "namespace", "namespaces and tap devices can be had"
    if settings.network == "namespace":
        raise OperationError(
            f"I2KIT_LOCAL_NETWORK=namespace was given, but {reason}", hint="unset it to fall back"
        )
    return "user", reason


def _namespace_obstacle() -> str | None:
    """Why the namespace network cannot be had; None if a trial of all of it went well."""
    missing = [
        one for one in ("unshare", "setpriv", "ip", "bridge", "nft", "dnsmasq", "ss") if which(one) is None
    ]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tun = Path("/dev/net/tun")
    if not tun.exists():
        return "there is no /dev/net/tun"
    if not os.access(tun, os.R_OK | os.W_OK):
        return "/dev/net/tun may not be opened by this user"
    try:
        run(isolated(["true"], network_too=True), timeout_s=10)
    except ProgramError as error:
        return f"this user cannot make namespaces ({_last_line(error)})"
    trial = [sys.executable, "-P", "-m", "i2kit.providers.local.reach.network"]
    try:
        run(isolated(trial, network_too=True), timeout_s=30)
    except ProgramError as error:
        return f"a network in a namespace cannot be made ({_last_line(error)})"
    return None


def _last_line(error: ProgramError) -> str:
    return error.message.splitlines()[-1].strip()


def _egress() -> Literal["pasta", "slirp4netns", "none"]:
    if which("pasta"):
        said = run(["pasta", "--version"], check=False).text
        found = re.search(r"(\d{4})_(\d\d)_(\d\d)|git(\d{4})(\d\d)(\d\d)", said)
        if found and "_".join(part for part in found.groups() if part) >= GOOD_PASTA:
            return "pasta"
    return "slirp4netns" if which("slirp4netns") else "none"


def _accelerator(settings: Settings, machine: Machine | None) -> tuple[Literal["kvm", "tcg"], str]:
    if settings.accelerator == "tcg":
        return "tcg", "I2KIT_ACCEL=tcg was given"
    if settings.accelerator == "kvm":
        return "kvm", "I2KIT_ACCEL=kvm was given"
    device = Path("/dev/kvm")
    if not device.exists():
        return "tcg", "there is no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "tcg", "/dev/kvm may not be opened by this user (join the group kvm)"
    key = _kvm_key()
    memory = settings.store_dir / "kvm.json"
    known = _recall(memory, key)
    if known is None and machine is None:
        return "tcg", "/dev/kvm is there; the first deploy tries whether a guest boots with it"
    if known is None:
        assert machine
        known = _try_kvm(machine)
        # Only remembered: on a full disk the next deploy tries again.
        with contextlib.suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps({"key": key, "obstacle": known}))
    if known == "":
        return "kvm", "a guest boots with KVM"
    return "tcg", known


def _kvm_key() -> str:
    """What the result of a trial holds for: this boot of the machine and this QEMU."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {run(['qemu-system-x86_64', '--version']).text.splitlines()[0]}"


def _recall(memory: Path, key: str) -> str | None:
    try:
        data: Mapping[str, str] = json.loads(memory.read_text())
        return data["obstacle"] if data["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _try_kvm(machine: Machine) -> str:
    """Boot the machine with KVM until its guest speaks: "" if it does, else what went wrong.

    /dev/kvm may be there and useless (nested without support, a broken host): only a boot tells.
    """
    ours, theirs = socket.socketpair()
    log, log_theirs = socket.socketpair()
    console, console_theirs = socket.socketpair()
    with (
        ours,
        theirs,
        log,
        log_theirs,
        console,
        console_theirs,
        tempfile.TemporaryDirectory(prefix="i2kit-kvm-") as folder,
    ):
        channels = vm.Channels(theirs.fileno(), log_theirs.fileno(), console_theirs.fileno())
        net = vm.UserNetwork((), "52:54:00:4d:00:01")
        userdata = Path(folder) / "user-data"
        userdata.write_text("hostname=trial\n")
        words = list(
            vm.argv("trial", machine, net, channels, accelerator="kvm", most_cpus=1, userdata=userdata)
        )
        words[0] = str(require(words[0]))
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(channels.control_fd, channels.log_fd, channels.console_fd),
        )
        theirs.close()
        try:
            ours.settimeout(0.1)
            deadline = time.monotonic() + KVM_BOOT_S
            heard = b""
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    chunk = ours.recv(4096)
                except TimeoutError:
                    continue
                if not chunk:  # QEMU gave up
                    process.wait(5)
                    break
                heard += chunk
                if b"booted\n" in heard:
                    return ""
            if process.poll() is None:
                return f"/dev/kvm is there, but a guest does not boot with it within {KVM_BOOT_S:g} s"
            assert process.stderr
            said = process.stderr.read().decode(errors="replace").strip().splitlines() or ["no message"]
            text = said[-1].removeprefix("qemu-system-x86_64: ")
            short = text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"
            return f"/dev/kvm is there, but QEMU fails with it ({short})"
        finally:
            process.kill()
            process.communicate()
