"""A VM as QEMU's argument list. Pure.

The form was chosen by measurement: q35 boots faster than pc under emulation, an ELF kernel by PVH
is shared between VMs, virtio-serial needs no root. Options are qemu(1)'s, version 7.2 and later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from i2kit.providers.local.design.desired import Machine


@dataclass(frozen=True, slots=True)
class TapNetwork:
    """A tap device that is open as this file descriptor."""

    fd: int
    mac: str


@dataclass(frozen=True, slots=True)
class UserNetwork:
    """QEMU's user network; `forwards` are (port on the host's loopback address, port of the guest), and
    `datagrams` the same for UDP.
    """

    forwards: tuple[tuple[int, int], ...]
    mac: str
    datagrams: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Channels:
    """Connected sockets for the guest's virtio-serial ports and its console."""

    control_fd: int
    log_fd: int
    console_fd: int


@dataclass(frozen=True, slots=True)
class Drive:
    """A disk that is open as this file descriptor; `serial` is what the guest knows it by."""

    fd: int
    serial: str
    read_only: bool = False


def argv(
    name: str,
    machine: Machine,
    network: TapNetwork | UserNetwork,
    channels: Channels,
    *,
    accelerator: Literal["kvm", "tcg"],
    most_cpus: int,
    userdata: Path | None,
    drives: Sequence[Drive] = (),
) -> Sequence[str]:
    """QEMU's arguments for this VM. `name` is for people who look at processes.

    `most_cpus` is as many as the host has. `userdata` is a file for machines without a metadata service.
    """
    words = [
        "qemu-system-x86_64",
        *("-name", _escape(name)),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        *("-display", "none"),
        *("-machine", "q35,graphics=off,i8042=off,vmport=off"),
        *("-accel", accelerator),
        *("-cpu", "host" if accelerator == "kvm" else "max"),
        *("-m", f"{machine.memory_bytes >> 20}M"),
        *("-smp", str(min(machine.cpus, most_cpus))),
        *("-kernel", machine.kernel),
        *(("-initrd", machine.initrd) if machine.initrd else ()),
        *("-append", machine.cmdline),
        *("-drive", f"if=none,id=root,file={_escape(machine.root)},format=raw,readonly=on"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-balloon-pci,free-page-reporting=on"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=console,fd={channels.console_fd}"),
        *("-device", "virtconsole,chardev=console"),
        *("-chardev", f"socket,id=control,fd={channels.control_fd}"),
        *("-device", "virtserialport,chardev=control,name=io.i2kit.control"),
        *("-chardev", f"socket,id=log,fd={channels.log_fd}"),
        *("-device", "virtserialport,chardev=log,name=io.i2kit.log"),
    ]
    match network:
        case TapNetwork(fd=fd, mac=mac):
            words += ["-netdev", f"tap,id=net,fd={fd}"]
        case UserNetwork(forwards=forwards, mac=mac, datagrams=datagrams):
            rules = "".join(
                f",hostfwd={protocol}:127.0.0.1:{outside}-:{inside}"
                for protocol, pairs in (("tcp", forwards), ("udp", datagrams))
                for outside, inside in pairs
            )
            words += ["-netdev", f"user,id=net,ipv6=off{rules}"]
    words += ["-device", f"virtio-net-pci,netdev=net,mac={mac},romfile="]
    if userdata is not None:
        # A disk, not fw_cfg: Ubuntu's kernel has no module for that.
        words += ["-drive", f"if=none,id=user-data,file={_escape(str(userdata))},format=raw,readonly=on"]
        words += ["-device", "virtio-blk-pci,drive=user-data,serial=user-data"]
    for number, drive in enumerate(drives):
        # As descriptors: the lock on a disk is theirs, and there is no path to it in QEMU's sandbox.
        words += ["-add-fd", f"fd={drive.fd},set={number}"]
        how = "readonly=on" if drive.read_only else "auto-read-only=off,discard=unmap"
        words += ["-drive", f"if=none,id=drive{number},file=/dev/fdset/{number},format=raw,{how}"]
        words += ["-device", f"virtio-blk-pci,drive=drive{number},serial={drive.serial}"]
    # Last, after QEMU opened what it needs: no new programs, no privileges, no old system calls.
    words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    return words


def confined(words: Sequence[str], *, privileged: bool) -> Sequence[str]:
    """The same command, ended when its parent ends and without a way to gain privileges.

    `privileged` says that there are capabilities to give up.
    """
    drop = ["setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if privileged:
        drop += ["--inh-caps=-all", "--bounding-set=-all"]
    return [*drop, *words]


def sandboxed(
    words: Sequence[str],
    *,
    reads: Sequence[str | Path],
    devices: Sequence[str],
    own_network: bool,
) -> Sequence[str]:
    """The same command in a file system of its own: programs and libraries, and the named files.

    A guest that breaks out of QEMU finds no home, no store, no socket of ours; with `own_network`
    no network either but its tap. By bwrap(1), which also drops all capabilities.
    """
    box = ["bwrap", "--die-with-parent", "--new-session", "--unshare-ipc", "--cap-drop", "ALL"]
    box += ["--unshare-net"] if own_network else ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    box += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib64"):
        box += ["--symlink", f"usr/{name}", f"/{name}"]
    box += ["--dev", "/dev"]
    for path in devices:
        box += ["--dev-bind", path, path]
    for path in map(str, reads):
        box += ["--ro-bind", path, path]
    return [*box, *words]


def _escape(path: str) -> str:
    """A path inside one of QEMU's comma-separated options."""
    return path.replace(",", ",,")
