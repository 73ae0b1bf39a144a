"""What a hostile VM can send: frames written to its tap, in namespaces made for the test; no VM needed."""

import os
import select
import socket
import struct
import sys

import pytest

from i2kit.process import ProgramError, run
from i2kit.providers.local.machines.namespaces import isolated
from i2kit.providers.local.reach import network

MALLORY, ALICE = ("52:54:00:4d:01:01", "10.77.1.1"), ("52:54:00:4d:02:01", "10.77.2.1")
EVERYBODY = "ff:ff:ff:ff:ff:ff"
LLDP = "01:80:c2:00:00:0e"
"""Bridges look at frames to this address before any rule does."""

VNET_HEADER = bytes(10)


def ethernet(source: str, target: str, kind: int, content: bytes) -> bytes:
    return hardware(target) + hardware(source) + struct.pack("!H", kind) + content


def hardware(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def arp(mac: str, ip: str) -> bytes:
    """An announcement: this address is at this hardware address."""
    own, other = hardware(mac) + socket.inet_aton(ip), bytes(6) + socket.inet_aton(ALICE[1])
    return struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + own + other


def udp(source: str, target: str, ports: tuple[int, int], content: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(content), 1, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", *ports, 8 + len(content), 0) + content


def dhcp(about: str) -> bytes:
    return bytes(28) + hardware(about) + bytes(202)


def frames() -> dict[str, bytes]:
    """What Mallory sends, by name: `honest …` has to get through, anything else has not."""
    mac, ip = MALLORY
    return {
        "honest arp": ethernet(mac, EVERYBODY, 0x806, arp(mac, ip)),
        "honest udp": ethernet(mac, network.HARDWARE, 0x800, udp(ip, ALICE[1], (9, 9), b"hi")),
        "honest dhcp": ethernet(
            mac, EVERYBODY, 0x800, udp("0.0.0.0", "255.255.255.255", (68, 67), dhcp(mac))
        ),
        "arp for another": ethernet(mac, EVERYBODY, 0x806, arp(mac, ALICE[1])),
        "arp for the gateway": ethernet(mac, EVERYBODY, 0x806, arp(mac, "10.77.0.1")),
        "arp from another's hardware": ethernet(ALICE[0], EVERYBODY, 0x806, arp(mac, ip)),
        "ip of another": ethernet(mac, network.HARDWARE, 0x800, udp("10.77.0.1", ALICE[1], (9, 9), b"hi")),
        "udp past the gateway": ethernet(mac, ALICE[0], 0x800, udp(ip, ALICE[1], (9, 9), b"hi")),
        "dhcp about another": ethernet(
            mac, EVERYBODY, 0x800, udp("0.0.0.0", "255.255.255.255", (68, 67), dhcp(ALICE[0]))
        ),
        "dhcp about another, by address": ethernet(
            mac, EVERYBODY, 0x800, udp(ip, "255.255.255.255", (68, 67), dhcp(ALICE[0]))
        ),
        "ipv6": ethernet(mac, EVERYBODY, 0x86DD, bytes(60)),
        "lldp from another's hardware": ethernet(ALICE[0], LLDP, 0x88CC, bytes(60)),
    }


def know(vm: tuple[str, str]) -> None:
    """Have the gateway know a VM's hardware address, which would have to be asked for."""
    run(["ip", "neigh", "replace", vm[1], "lladdr", vm[0], "dev", network.BRIDGE])


def send_all() -> None:
    """Print what of Mallory got to the gateway or to Alice; then, what is for Alice still gets to her."""
    network.make()
    mallory = network.open_tap("vm1.0", *MALLORY)
    alice = network.open_tap("vm2.0", *ALICE)
    know(ALICE)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as bridge:
        bridge.bind((network.BRIDGE, 0))
        bridge.setblocking(False)
        for name, frame in frames().items():
            received(alice)
            heard(bridge)
            os.write(mallory, VNET_HEADER + frame)
            if frame in [*received(alice), *heard(bridge)]:
                print(name)
    third = network.open_tap("vm3.0", "52:54:00:4d:03:01", "10.77.3.1")
    letter = ethernet(
        "52:54:00:4d:03:01", network.HARDWARE, 0x800, udp("10.77.3.1", ALICE[1], (9, 9), b"for Alice")
    )
    received(mallory)
    os.write(third, VNET_HEADER + letter)
    if any(b"for Alice" in one for one in received(alice)):
        print("Alice has her letter")
    if any(b"for Alice" in one for one in received(mallory)):
        print("Mallory has her letter")


def heard(bridge: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(bridge.recv(65536))
        except BlockingIOError:
            return found


def received(tap: int) -> list[bytes]:
    found = []
    while select.select([tap], [], [], 0.05)[0]:
        found.append(os.read(tap, 65536)[len(VNET_HEADER) :])
    return found


def test_a_vm_speaks_as_itself_only() -> None:
    """Neither another's address nor another's hardware: it would get that one's requests and metadata."""
    child = [sys.executable, "-c", "from tests.local import test_network; test_network.send_all()"]
    try:
        run(isolated([sys.executable, "-m", "i2kit.providers.local.reach.network"], network_too=True))
    except ProgramError as error:
        pytest.skip(f"no network in a namespace here: {error}")
    arrived = run(isolated(child, network_too=True)).text.splitlines()
    assert arrived == [name for name in frames() if name.startswith("honest")] + ["Alice has her letter"]
