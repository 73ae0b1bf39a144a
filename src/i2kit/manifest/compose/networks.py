"""The networks of a compose file → who may talk with whom. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from i2kit.errors import Position
from i2kit.manifest.compose.ports import Published
from i2kit.manifest.compose.project import Project
from i2kit.manifest.tables.shape import Record
from i2kit.model import (
    NetworkPolicy,
    Pairs,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)

NETWORK = "io.kompose.network/"
"""What labels of pods begin with that tell their networks, as kompose's."""

DEFAULT = "default"
"""The network of services that name none."""


class Networks:
    """Which services may talk with which: those that have a network in common."""

    def __init__(self, one: Project, services: Mapping[str, Record]) -> None:
        self.known = dict(one.top.named("networks"))
        self.of = {name: _networks_of(record) for name, record in services.items()}
        internal = {name for name, record in self.known.items() if record.flag("internal")}
        self.closed = {name for name, mine in self.of.items() if mine and set(mine) <= internal}
        """Services that reach nothing outside."""
        common = set.intersection(*map(set, self.of.values())) if self.of else set()
        self.parted = bool(self.closed) or (not common and self._is_parted())

    def _is_parted(self) -> bool:
        everything = [set(mine) for mine in dict.fromkeys(self.of.values())]
        return any(not mine & other for at, mine in enumerate(everything) for other in everything[at + 1 :])

    def labels(self, name: str) -> Pairs:
        return tuple((f"{NETWORK}{one}", "true") for one in self.of[name]) if self.parted else ()

    def policies(
        self, name: str, label: str, ports: Sequence[Published], position: Position
    ) -> Iterator[NetworkPolicy]:
        """What may reach a service: all with a network in common, and everybody what it publishes."""
        if not self.parted:
            return
        peers = tuple(
            PodPeer(Selector(((f"{NETWORK}{one}", "true"),)), ("default",)) for one in self.of[name]
        )
        inward = [PolicyRule(peers)]
        if ports:
            opened = tuple(PolicyPort(port.protocol, port.target) for port in ports)
            inward.append(PolicyRule(None, opened))
        outward = None
        if name in self.closed:
            names_ = (PolicyPort("UDP", 53), PolicyPort("TCP", 53))
            outward = (PolicyRule(peers), PolicyRule(None, names_))
        yield NetworkPolicy(label, Selector((("app", label),)), tuple(inward), outward, position=position)


def _networks_of(record: Record) -> tuple[str, ...]:
    return tuple(name for name, _ in record.named("networks")) or (DEFAULT,)
