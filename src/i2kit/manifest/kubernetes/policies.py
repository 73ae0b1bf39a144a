"""Network policies: who may talk with whom.

In: one document as a record. Out: a NetworkPolicy, gathered in a Reading once the labels of all namespaces
are known. A policy is never dropped: one that selects nothing is a problem. Pure.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from i2kit.manifest.log import Log
from i2kit.manifest.pods.pod import protocol
from i2kit.manifest.reading import FoundPolicy, Reading
from i2kit.manifest.tables.shape import Record
from i2kit.model import (
    NetworkPeer,
    NetworkPolicy,
    Operator,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Selector,
)

NAME_LABEL = "kubernetes.io/metadata.name"
"""What Kubernetes labels each namespace with."""

_OPERATORS: tuple[Operator, ...] = ("In", "NotIn", "Exists", "DoesNotExist")


def policy(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A NetworkPolicy of any version."""
    metadata, spec = record.record("metadata"), record.record("spec")
    pods = spec.record("podSelector") if spec else None
    if not (metadata and spec and pods):
        return
    types: tuple[str, ...] = spec.items("policyTypes")
    if not types and not spec.is_wrong("policyTypes"):
        types = ("Ingress", "Egress") if spec.items("egress") else ("Ingress",)
    for word, name in (("Ingress", "ingress"), ("Egress", "egress")):
        if spec.items(name) and word not in types and not spec.is_wrong("policyTypes"):
            log.warn(spec.place(name), spec.at(name), f"has no effect: policyTypes has no {word}")
        for rule in spec.items(name):
            _check(rule, "from" if name == "ingress" else "to", log)
    reading.found_policies.append(
        FoundPolicy(
            name=metadata.text("name") or "",
            namespace=metadata.text("namespace") or "default",
            selector=selector(pods, log),
            spec=spec,
            ingress="Ingress" in types,
            egress="Egress" in types,
            place=metadata.place("name"),
            position=pods.position,
            path=pods.path,
        )
    )


def join(reading: Reading, log: Log) -> None:
    """The policies of the reading, now that all namespaces are known, and whether they select anything."""
    names = {one.namespace for one in reading.workloads} | {one.namespace for one in reading.found_policies}
    known = {name: dict(reading.namespaces.get(name, ())) for name in names | reading.namespaces.keys()}
    for found in reading.found_policies:
        maker = _Maker(found.namespace, known, log)
        one = NetworkPolicy(
            name=found.name,
            selector=found.selector,
            ingress=tuple(maker.rules(found.spec, "ingress", "from")) if found.ingress else None,
            egress=tuple(maker.rules(found.spec, "egress", "to")) if found.egress else None,
            namespace=found.namespace,
            position=found.place,
        )
        reading.policies.append(one)
        if reading.complete and not any(map(one.selects, reading.workloads)) and not log.full:
            message = lost(found)
            hint = "give the deployment's file too, with another -f"
            log.problem(found.position, found.path, message, hint)


def lost(found: FoundPolicy) -> str:
    """What is said of a policy that selects nothing."""
    which = _written(found.selector) or "any labels"
    return f"no deployment here has pods with {which} in namespace `{found.namespace}`"


def selector(record: Record, log: Log) -> Selector:
    """A selector of labels; what is wrong with its expressions is in the log then."""
    expressions = []
    for one in record.items("matchExpressions"):
        operator = next((word for word in _OPERATORS if word == one.text("operator")), None)
        values: tuple[str, ...] = one.items("values")
        if operator in ("In", "NotIn") and not values and not one.is_wrong("values"):
            log.problem(one.position, one.path, f"`{operator}` needs values", "such as values: [web]")
        elif operator in ("Exists", "DoesNotExist") and values:
            log.problem(
                one.place("values"), one.at("values"), f"`{operator}` takes no values", "leave them out"
            )
        if operator and (key := one.text("key")):
            expressions.append((key, operator, values))
    return Selector(record.pairs("matchLabels"), tuple(expressions))


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the rules of a policy of a namespace; `known` are the labels of namespaces."""

    namespace: str
    known: Mapping[str, Mapping[str, str]]
    log: Log

    def rules(self, spec: Record, name: str, peers_name: str) -> Iterator[PolicyRule]:
        for rule in spec.items(name):
            peers = None
            if given := rule.items(peers_name):
                peers = tuple(peer for one in given for peer in self._peer(one))
                if not peers:
                    continue  # nobody is meant, which is not the same as nothing being said
            ports = tuple(_port(one) for one in rule.items("ports")) or None
            yield PolicyRule(peers, ports)

    def _peer(self, record: Record) -> Iterator[PodPeer | NetworkPeer]:
        if block := record.record("ipBlock"):
            network = _network(block.text("cidr"))
            if network and network.version == 4:
                found = [_network(one) for one in block.items("except")]
                yield NetworkPeer(str(network), tuple(str(one) for one in found if one and one.version == 4))
            return
        pods, spaces = record.record("podSelector"), record.record("namespaceSelector")
        if record.is_wrong("podSelector") or record.is_wrong("namespaceSelector"):
            return
        which = selector(pods, Log()) if pods else Selector()
        yield PodPeer(which, self._namespaces(spaces) if spaces else (self.namespace,))

    def _namespaces(self, record: Record) -> tuple[str, ...] | None:
        which = selector(record, Log())
        if which == Selector():
            return None
        named = [value for key, value in which.labels if key == NAME_LABEL]
        for key, operator, values in which.expressions:
            named.extend(values if key == NAME_LABEL and operator == "In" else ())
        names = sorted({*self.known, *named})
        found = tuple(
            name
            for name in names
            if which.matches(tuple({**self.known.get(name, {}), NAME_LABEL: name}.items()))
        )
        if not found:
            message = f"no namespace of these files has {_written(which)}, so nobody is meant"
            self.log.warn(record.position, record.path, message)
        return found


def _check(rule: Record, peers_name: str, log: Log) -> None:
    for peer in rule.items(peers_name):
        kinds = [name for name in ("ipBlock", "podSelector", "namespaceSelector") if peer.has(name)]
        if not kinds:
            hint = "write podSelector, namespaceSelector or ipBlock; for anybody, leave the list out"
            log.problem(peer.position, peer.path, "says nobody", hint)
        elif "ipBlock" in kinds and len(kinds) > 1:
            message = f"cannot be beside {kinds[1]}"
            log.problem(peer.place("ipBlock"), peer.at("ipBlock"), message, "make two of them")
        for name in ("podSelector", "namespaceSelector"):
            if one := peer.record(name):
                selector(one, log)
        if block := peer.record("ipBlock"):
            _check_block(block, log)
    for port in rule.items("ports"):
        first, last = port.values.get("port"), port.whole("endPort")
        if last is not None and not port.is_wrong("port"):
            if not isinstance(first, int):
                log.problem(port.place("endPort"), port.at("endPort"), "needs a `port` that is a number")
            elif last < first:
                message = f"must be at least the port ({first}) and is {last}"
                log.problem(port.place("endPort"), port.at("endPort"), message)


def _check_block(block: Record, log: Log) -> None:
    network = _network(block.text("cidr"))
    if network is None:
        return
    if network.version == 6:
        message = "has no effect: machines have IPv4 addresses"
        log.warn(block.place("cidr"), block.at("cidr"), message)
    for text in block.items("except"):
        inner = _network(text)
        if inner is None:
            continue
        within = inner.version == network.version and inner != network and _is_within(inner, network)
        if not within:
            message = f"`{inner}` is not a part of {network}"
            log.problem(block.place("except"), block.at("except"), message)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _is_within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _network(text: str | None) -> Network | None:
    return ipaddress.ip_network(text.strip(), strict=False) if text else None


def _port(record: Record) -> PolicyPort:
    number = record.values.get("port")
    assert number is None or isinstance(number, int | str)
    return PolicyPort(protocol(record), number, record.whole("endPort"))


def _written(which: Selector) -> str:
    words = [f"{key}: {value}" for key, value in which.labels]
    for key, operator, values in which.expressions:
        words.append(" ".join(filter(None, (key, operator, ", ".join(values)))))
    return ", ".join(words)
