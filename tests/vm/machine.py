"""Machines for tests: pods of busybox, booted under emulation and watched from outside."""

import hashlib
import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from i2kit.blocks import BLOCK_BYTES, blocks
from i2kit.image import sources
from i2kit.image.base import components
from i2kit.image.base.components import File
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import HEALTH_PORTS, Container, MachineImage, ResolvedImage, Resources

PATIENCE_S = 60
METADATA = Path(__file__).with_name("metadata.py")
RELAY = Path(__file__).with_name("relay.py")
ENDPOINT = "169.254.169.200"
"""Where guests that ask the metadata service reach what a test serves as AWS's API."""
OVMF = Path("/usr/share/OVMF")
VOLUME_BYTES = 1 << 30
Source = Literal["fw_cfg", "disk", "metadata"]


def busybox_image(store: Store, base: Base, user: str = "", stop_signal: str = "") -> ResolvedImage:
    """An image with the shell and its programs, a page to serve and some groups."""
    busybox = next(image for image in base.init if "/busybox@" in image)
    (layer,) = sources.resolve(busybox, store=store).layers
    files = {
        "www/index.html": File(b"hello\n"),
        "tmp/": File(mode=0o1777),
        "etc/passwd": File(b"root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"),
        "etc/group": File(b"root:x:0:\napp:x:1001:\nextra:x:5:app\n"),
    }
    with store.scratch() as folder:
        page = folder / "page.tar"
        page.write_bytes(components.tar(files))
        below = store.blob(layer.diff_id)
        assert below
        config = {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["sh"], "User": user, "StopSignal": stop_signal}
        return sources.add_local_image(store, [below, page], config, "test-busybox")


def container(name: str, script: str, *, user: str = "", memory_bytes: int | None = None) -> Container:
    """A container that runs a line of shell; `user` as in a Dockerfile. Its image is filled in by `build`."""
    return Container(
        name, user, command=("sh", "-c", script), resources=Resources(memory_limit_bytes=memory_bytes)
    )


@dataclass(slots=True)
class Machine:
    """A machine that runs; `said` is all that it told, as (seconds since its start, channel, line)."""

    process: subprocess.Popen[bytes]
    control: socket.socket | None
    port: int
    health_port: int
    """Where the machine's own health port is reached."""
    console: Path
    started: float = field(default_factory=time.monotonic)
    said: list[tuple[float, str, str]] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def listen(self, channel: str, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                self.said.append(
                    (time.monotonic() - self.started, channel, line.decode(errors="replace").rstrip("\n"))
                )

    def lines(self, channel: str) -> list[str]:
        if channel == "console":
            return self.console.read_text(errors="replace").splitlines()
        return [line for _, where, line in list(self.said) if where == channel]

    def wait_for(self, channel: str, accept: Callable[[str], bool] | str) -> str:
        """The first line that is accepted: one with this beginning, or for which this holds.

        Channels have no order among them: what comes on one says nothing of what came on another.
        """
        test = accept if callable(accept) else lambda line: line.startswith(accept)
        while True:
            last = time.monotonic() - self.started > PATIENCE_S or self.has_ended()
            for line in self.lines(channel):
                if test(line):
                    return line
            if last:
                raise AssertionError(f"never came on {channel}: {accept}\n{self.evidence()}")
            time.sleep(0.02)

    def has_ended(self) -> bool:
        """Whether the machine is off, and all that it told is in `said`."""
        if self.process.poll() is None:
            return False
        for reader in self.readers:
            reader.join()
        return True

    def wait_for_end(self, seconds: float) -> int:
        """QEMU's exit status, once the machine switched itself off and all that it told is in `said`."""
        self.process.wait(seconds)
        self.has_ended()
        return self.process.returncode

    def get(self, path: str = "/") -> bytes:
        """What the machine's port 80 answers, as soon as it does."""
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=1) as answer:
                    body: bytes = answer.read()
                    return body
            except OSError:
                if time.monotonic() - self.started > PATIENCE_S or self.process.poll() is not None:
                    raise AssertionError(f"no answer\n{self.evidence()}") from None
                time.sleep(0.02)

    def ready(self) -> int | None:
        """The status of /ready as a load balancer asks for it; None where nobody answers."""
        asked = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=5)
        try:
            asked.request("GET", "/ready")
            return asked.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            asked.close()

    def say(self, line: str) -> None:
        assert self.control
        self.control.sendall(f"{line}\n".encode())

    def evidence(self) -> str:
        told = "\n".join(f"{time_s:6.2f} {channel:8}{line}" for time_s, channel, line in self.said)
        return f"{told}\nconsole:\n{self.console.read_text(errors='replace')[-3000:]}"


def as_volume(image: Path, volume: Path) -> Path:
    """What EBS makes of an uploaded disk: the blocks that were sent, zeros between them, whole GiB."""
    with volume.open("xb") as file:
        file.truncate(VOLUME_BYTES)
        for block, data in blocks(image):
            assert hashlib.sha256(data).hexdigest() == block.sha256
            file.seek(block.index * BLOCK_BYTES)
            file.write(data)
    return volume


@contextmanager
def booted(
    built: MachineImage,
    folder: Path,
    user_data: str | None,
    *,
    memory_mb: int = 128,
    channels: bool = True,
    source: Source = "fw_cfg",
    initrd: Path | None = None,
    endpoint: Path | None = None,
    words: Sequence[str] = (),
) -> Iterator[Machine]:
    """Boot a machine; it is ended at the end. `source` is where it finds its user data.

    With `initrd`, one that holds the root as well, it has no disk. `endpoint` is the Unix socket of what
    answers at ENDPOINT, and `words` are more of QEMU's arguments.
    """
    words = [
        *words,
        *("-M", "q35,graphics=off,i8042=off,vmport=off", "-m", str(memory_mb)),
        *("-kernel", str(built.kernel), "-append", built.arguments("/dev/vda")),
        *(("-initrd", str(initrd or built.initrd)) if initrd or not built.direct else ()),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-balloon-pci,free-page-reporting=on", "-device", "virtio-serial-pci"),
        *("-device", "virtconsole,chardev=console"),
    ]
    if not initrd:
        words += ["-drive", f"if=none,id=root,file={built.root},format=raw,readonly=on"]
        words += ["-device", "virtio-blk-pci,drive=root"]
    with running(words, folder, user_data, channels=channels, source=source, endpoint=endpoint) as machine:
        yield machine


@contextmanager
def booted_disk(
    disks: Sequence[Path],
    folder: Path,
    user_data: str | None,
    *,
    firmware: Literal["uefi", "bios"],
    bus: Literal["nvme", "virtio-blk"],
) -> Iterator[Machine]:
    """Boot a machine from the first of the disks as a cloud does, with a serial console and metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["-M", "q35,graphics=off", "-m", "256", "-serial", "chardev:console"]
    if firmware == "uefi":
        variables = folder / "variables.fd"
        shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
        words += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}"]
        words += ["-drive", f"if=pflash,format=raw,file={variables}"]
    for number, disk in enumerate(disks):
        format_ = {".vhd": "vpc"}.get(disk.suffix, disk.suffix[1:])
        words += ["-drive", f"if=none,id=disk{number},file={disk},format={format_},snapshot=on"]
        device = f"nvme,serial={number}" if bus == "nvme" else "virtio-blk-pci"
        words += ["-device", f"{device},drive=disk{number},bootindex={number}"]
    with running(words, folder, user_data, channels=False, source="metadata") as machine:
        yield machine


@contextmanager
def running(
    words: Sequence[str],
    folder: Path,
    user_data: str | None,
    *,
    channels: bool,
    source: Source,
    endpoint: Path | None = None,
) -> Iterator[Machine]:
    """A machine with these arguments, a network, a console (the chardev of this name), and user data."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "user-data"
    if user_data is not None:
        data.write_text(user_data)
    console = folder / "console"
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        port, health_port = (int(probe.getsockname()[1]) for probe in (one, other))
    pairs = {name: socket.socketpair() for name in ("control", "log")} if channels else {}
    words = [
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nodefaults", "-no-user-config"),
        *("-display", "none", "-no-reboot", "-chardev", f"file,id=console,path={console}"),
        *(*words, "-device", "virtio-net-pci,netdev=net,romfile="),
    ]
    network = f"user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:80"
    network += f",hostfwd=tcp:127.0.0.1:{health_port}-:{HEALTH_PORTS[0]}"
    if source == "metadata":
        # The service's address has to lie within the network.
        network += ",net=169.254.169.0/24,dhcpstart=169.254.169.15,guestfwd=tcp:169.254.169.254:80-cmd:"
        network += f"{sys.executable} {METADATA} {data}"
        if endpoint:
            network += f",guestfwd=tcp:{ENDPOINT}:443-cmd:{sys.executable} {RELAY} {endpoint}"
    elif source == "disk":
        words += ["-drive", f"if=none,id=data,file={data},format=raw,readonly=on"]
        words += ["-device", "virtio-blk-pci,drive=data,serial=user-data"]
    elif user_data is not None:
        words += ["-fw_cfg", f"name=opt/i2kit/user-data,file={data}"]
    words += ["-netdev", network]
    for name, (_, theirs) in pairs.items():
        words += ["-chardev", f"socket,id={name},fd={theirs.fileno()}"]
        words += ["-device", f"virtserialport,chardev={name},name=io.i2kit.{name}"]
    console.touch()
    process = subprocess.Popen(words, pass_fds=[theirs.fileno() for _, theirs in pairs.values()])
    for _, theirs in pairs.values():
        theirs.close()
    ours = {name: pair[0] for name, pair in pairs.items()}
    machine = Machine(process, ours.get("control"), port, health_port, console)
    for item in ours.items():
        machine.readers.append(threading.Thread(target=machine.listen, args=item))
        machine.readers[-1].start()
    try:
        yield machine
    finally:
        process.kill()
        machine.wait_for_end(PATIENCE_S)
        for connection in ours.values():
            connection.close()
