"""The ports of a service in a compose file. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.places import shown
from i2kit.manifest.tables.shape import Record
from i2kit.model import Protocol

MOST = 100
"""Ports of one range or service: each is a listener of the load balancer."""

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container, and the one that outside it is reached at; None where that is left open."""

    target: int
    published: int | None
    protocol: Protocol
    position: Position
    path: str


def published(record: Record, log: Log) -> tuple[Published, ...]:
    """What `ports` says, each pair of ports once."""
    found: dict[tuple[str, int], Published] = {}
    for port in record.items("ports"):
        for one in _pairs(port, log):
            number = one.target if one.published is None else one.published
            found.setdefault((one.protocol, number), one)
    if len(found) > MOST:
        log.problem(record.place("ports"), record.at("ports"), f"has more than {MOST} ports", "publish fewer")
        return ()
    return tuple(found.values())


def exposed(record: Record, log: Log) -> None:
    """What `expose` says must be ports; all are open to other services in any case."""
    for index, text in enumerate(record.items("expose")):
        number, _, protocol = text.partition("/")
        if _range(number) is None or protocol.lower() not in ("", "tcp", "udp"):
            message = f"`{shown(text)}` is not a port"
            log.problem(record.place("expose"), f"{record.at('expose')}[{index}]", message, "such as 8080")


def _pairs(port: Record, log: Log) -> Iterator[Published]:
    target, host = port.text("target"), port.text("published")
    if target is None:
        return
    protocol = port.text("protocol") or "tcp"
    if protocol not in ("tcp", "udp"):
        hint = "load balancers speak tcp and udp"
        log.problem(port.place("protocol"), port.path, f"`{shown(protocol)}` is not supported", hint)
        return
    address = port.text("host_ip")
    if address not in (None, "0.0.0.0", "127.0.0.1", "::", "::1"):  # noqa: S104 (nothing listens there)
        log.warn(port.place("host_ip"), port.path, "the address has no effect: provider local uses 127.0.0.1")
    inside = _range(target)
    outside = _range(host) if host else None
    if inside is None or (host and outside is None):
        wrong = target if inside is None else host or ""
        message = f"`{shown(wrong)}` is not a port"
        log.problem(
            port.place("target"), port.path, message, 'such as "8080:80", with numbers from 1 to 65535'
        )
        return
    if len(inside) > MOST:
        log.problem(port.place("target"), port.path, f"has more than {MOST} ports", "publish fewer")
        return
    if outside is not None and len(inside) > 1 and len(outside) != len(inside):
        log.problem(
            port.place("target"), port.path, "the two ranges are not of one length", "such as 8000-8009:80-89"
        )
        return
    kind: Protocol = "UDP" if protocol == "udp" else "TCP"
    for index, number in enumerate(inside):
        # Of a range for one port, docker takes the first that is free.
        yield Published(number, outside[index] if outside else None, kind, port.place("target"), port.path)


def _range(text: str) -> range | None:
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first = int(match[1])
    last = int(match[2] or match[1])
    return range(first, last + 1) if 1 <= first <= last <= 65535 else None
