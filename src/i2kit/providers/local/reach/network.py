"""The network of the deployments, made inside a namespace that is ours: bridge, taps, rules.

In: nothing but the namespace that the caller is in. Never touches the host's network: every
function here runs after `unshare`.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from pathlib import Path

from i2kit.errors import OperationError
from i2kit.model import Protocol
from i2kit.process import ProgramError, run
from i2kit.providers.local.design.desired import GATEWAY, SUBNET, VIP_SUBNET, Desired

BRIDGE = "br0"
OUTSIDE = "ext0"
"""The interface that slirp4netns or pasta makes."""

HARDWARE = "52:54:00:4d:00:01"
"""The gateway's: a bridge that was not given one takes another with each VM, and what VMs know is wrong."""

METADATA = "169.254.169.254"

SETTINGS = {
    "ip_forward": "1",
    f"conf/{BRIDGE}/proxy_arp_pvlan": "1",
    "conf/all/send_redirects": "0",
    f"conf/{BRIDGE}/send_redirects": "0",
}
"""The gateway passes on what VMs say to each other. Ports of the bridge are isolated, so there is no other
way, past the rules, and nobody is told of one.
"""

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
"""linux/if_tun.h"""


def make() -> None:
    """Bridge, addresses of all services (the whole range is local: no address per service), rules."""
    commands = [
        "link set lo up",
        f"addr add {METADATA}/32 dev lo",
        f"link add {BRIDGE} address {HARDWARE} type bridge",
        f"addr add {GATEWAY}/16 dev {BRIDGE}",
        f"link set {BRIDGE} up",
        f"route add local {SUBNET}.{VIP_SUBNET}.0/24 dev lo",
    ]
    run(["ip", "-batch", "-"], stdin=("\n".join(commands) + "\n").encode())
    for name, value in SETTINGS.items():
        Path("/proc/sys/net/ipv4", name).write_text(value)
    # The kernel would think up to 0.8 s before it answers for another.
    run(["ip", "ntable", "change", "name", "arp_cache", "dev", BRIDGE, "proxy_delay", "0"])
    rules = f"""
table ip i2kit {{
  chain forward {{
    type filter hook forward priority filter
    # Link-local addresses of the host's network (a cloud's metadata!) are not for guests.
    ip daddr 169.254.0.0/16 drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat
    oifname "{OUTSIDE}" masquerade
  }}
}}
"""
    run(["nft", "-f", "-"], stdin=rules.encode())
    # A VM speaks as itself only: as another it would get that one's requests and metadata.
    guard = """
table bridge i2kit {
  map vms { type ifname : verdict; }
  chain prerouting {
    type filter hook prerouting priority filter
    iifname != "vm*" accept
    iifname vmap @vms
    drop
  }
}
"""
    run(["nft", "-f", "-"], stdin=guard.encode())


def guard_of(name: str, mac: str, address: str) -> str:
    """nftables' script for what may come out of this VM's tap: DHCP, ARP and IPv4 as itself.

    A DHCP message must be about its own hardware address too (chaddr, 28 bytes into it: RFC 2131):
    a VM could decline another's lease.
    """
    chain = f"bridge i2kit {name}"
    return f"""
add chain {chain}
flush chain {chain}
add rule {chain} ether saddr != {mac} drop
add rule {chain} ip saddr {{ 0.0.0.0, {address} }} udp dport 67 @th,288,48 0x{mac.replace(":", "")} accept
add rule {chain} udp dport 67 drop
add rule {chain} ether type arp arp saddr ether {mac} arp saddr ip {address} accept
add rule {chain} ip saddr {address} accept
add rule {chain} drop
add element bridge i2kit vms {{ {name} : jump {name} }}
"""


def enforce(rules: str) -> None:
    """Have these rules of nftables from now on."""
    run(["nft", "-f", "-"], stdin=rules.encode())


def open_tap(name: str, mac: str, address: str) -> int:
    """A new tap device on the bridge, as a file descriptor; it vanishes when the last copy is closed.

    `name` begins with `vm`; nothing gets in there but from this hardware and this IP address.
    """
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    for attempt in range(50):
        try:
            fcntl.ioctl(fd, TUNSETIFF, request)
            break
        except OSError as error:
            # The device of a VM that just died is busy for a moment.
            if error.errno != errno.EBUSY or attempt == 49:
                os.close(fd)
                raise OperationError(f"cannot make a network device: {error.strerror}") from error
            time.sleep(0.01)
    run(["nft", "-f", "-"], stdin=guard_of(name, mac, address).encode())
    run(["ip", "link", "set", name, "master", BRIDGE])
    # The bridge learns from some frames before any rule sees them: it is told instead.
    alone = ["learning", "off", "flood", "off", "isolated", "on"]
    run(["ip", "link", "set", name, "up", "type", "bridge_slave", *alone])
    run(["bridge", "fdb", "replace", mac, "dev", name, "master", "static"])
    return fd


def listen(address: str, port: int) -> socket.socket:
    """A TCP listener. Raises OSError when somebody else has the port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    return listener


def bind(address: str, port: int) -> socket.socket:
    """A socket for datagrams. Raises OSError when somebody else has the port."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.bind((address, port))
    except OSError:
        bound.close()
        raise
    return bound


def forget_connections(address: str) -> None:
    """End all connections to a VM that is gone: without this they hang until they time out."""
    # Kernels without INET_DIAG_DESTROY cannot; then the load balancer's retries do it, slower.
    with contextlib.suppress(ProgramError):
        run(["ss", "-K", "dst", address], check=False)


def unused_port(protocol: Protocol = "TCP") -> int:
    """A port on the loopback address that nobody uses at this moment."""
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":  # a trial of all that the supervisor will need, in namespaces of its own
    from i2kit.providers.local.reach import firewall

    make()
    enforce(firewall.rules(Desired()))
    os.close(open_tap("vm-trial", "52:54:00:4d:01:01", f"{SUBNET}.1.1"))
