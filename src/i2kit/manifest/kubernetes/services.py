"""Services: names and addresses in front of pods.

In: one document as a record. Out: a Service, gathered in a Reading. Pure.
"""

import ipaddress
from collections.abc import Sequence

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.pods.pod import protocol
from i2kit.manifest.reading import FoundService, Reading
from i2kit.manifest.tables import names, service_fields
from i2kit.manifest.tables.shape import Record
from i2kit.model import Alias, Protocol, Service, ServicePort

FIRST_NODE_PORT = 1024

STICKY_S = 10800
"""Kubernetes' default: three hours."""


def service(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Service, or another name for one outside."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if not (metadata and spec):
        return
    if spec.text("type") == "ExternalName":
        _alias(metadata, spec, reading, log)
        return
    _check(spec, log)
    if spec.text("type") == "NodePort":
        message = "`NodePort` is not public on a cloud, which has no nodes; `LoadBalancer` is"
        log.warn(spec.place("type"), spec.at("type"), message)
    read = []
    for port in spec.items("ports"):
        if (number := port.whole("port")) is not None:
            target = port.values.get("targetPort", number)
            assert isinstance(target, int | str)
            node_port = _node_port(port, spec, log)
            one = ServicePort(number, target, port.text("name"), protocol(port), node_port)
            read.append((one, port.place("targetPort"), port.place("nodePort")))
    notes = metadata.record("annotations")
    public = spec.text("type") == "LoadBalancer" and not _is_internal(notes)
    headless = spec.text("clusterIP") == "None"
    one_service = Service(
        name=metadata.text("name") or "",
        namespace=metadata.text("namespace") or "default",
        selector=spec.pairs("selector"),
        ports=tuple(port for port, _, _ in read),
        public=public,
        headless=headless,
        unready=headless and (spec.flag("publishNotReadyAddresses") or False),
        sticky_s=_sticky(spec, log),
        sources=_sources(spec, notes, public, log),
        position=metadata.place("name"),
    )
    targets = tuple(place for _, place, _ in read)
    node_ports = tuple(place for _, _, place in read)
    reading.services.append(FoundService(one_service, spec.place("selector"), targets, node_ports))


def _alias(metadata: Record, spec: Record, reading: Reading, log: Log) -> None:
    name = spec.text("externalName")
    if not spec.has("externalName"):
        hint = "such as externalName: db.example.com"
        log.problem(spec.position, spec.path, "`externalName` is missing", hint)
    alias = Alias(
        name=metadata.text("name") or "",
        target=(name or "").removesuffix("."),
        namespace=metadata.text("namespace") or "default",
    )
    reading.aliases.append(alias)
    reading.alias_places.append(metadata.place("name"))


def _check(spec: Record, log: Log) -> None:
    if not (spec.pairs("selector") or spec.is_wrong("selector") or spec.is_wrong("type")):
        log.problem(
            spec.place("selector"),
            spec.path,
            "has no selector, so nothing would answer",
            "write selector: with the pods' labels",
        )
    if spec.has("externalName") and not spec.is_wrong("type"):
        message = "has no effect: the type is not ExternalName"
        log.warn(spec.place("externalName"), spec.at("externalName"), message)
    headless = spec.text("clusterIP") == "None"
    if headless and spec.text("type") in ("NodePort", "LoadBalancer"):
        message = f"is not possible with type: {spec.text('type')}"
        log.problem(spec.place("clusterIP"), spec.at("clusterIP"), message, "leave one of them out")
    ports: tuple[Record, ...] = spec.items("ports")
    if not (ports or headless or spec.is_wrong("ports") or spec.is_wrong("clusterIP")):
        if not spec.has("ports"):
            log.problem(spec.position, spec.path, "`ports` is missing", "such as ports: [{port: 80}]")
        else:
            log.problem(spec.place("ports"), spec.at("ports"), "is an empty list", "a Service needs a port")
    _check_service_ports(ports, log)


def _sticky(spec: Record, log: Log) -> int | None:
    """For how long a caller comes back to the same machine."""
    config = spec.record("sessionAffinityConfig")
    if spec.text("sessionAffinity") != "ClientIP":
        if config and config.places and not spec.is_wrong("sessionAffinity"):
            message = "has no meaning without sessionAffinity: ClientIP"
            log.problem(config.position, config.path, message, "leave it out")
        return None
    by_address = config.record("clientIP") if config else None
    return (by_address.whole("timeoutSeconds") if by_address else None) or STICKY_S


def _sources(spec: Record, notes: Record | None, public: bool, log: Log) -> tuple[str, ...]:
    """The networks that may call a public Service. IPv6 is left out: nothing comes by it."""
    holder, name, given = spec, "loadBalancerSourceRanges", spec.items("loadBalancerSourceRanges")
    if not given and notes and (text := notes.text(service_fields.SOURCES_NOTE)):
        holder, name, given = notes, service_fields.SOURCES_NOTE, tuple(text.split(","))
        for one in given:
            if complaint := names.network(one):
                log.problem(notes.place(name), notes.at(name), *complaint)
                return ()
    if not given:
        return ()
    place = holder.place(name), holder.at(name)
    if spec.text("type") != "LoadBalancer" and not spec.is_wrong("type"):
        log.problem(*place, "is only for the type LoadBalancer", "leave it out, or write a NetworkPolicy")
        return ()
    if not public:
        hint = "write a NetworkPolicy for its pods"
        log.problem(*place, "is not supported for a Service that is not public", hint)
        return ()
    networks = [ipaddress.ip_network(one.strip(), strict=False) for one in given]
    sources = tuple(str(one) for one in networks if one.version == 4)
    if not sources and not holder.is_wrong(name):
        message = "has networks of IPv6 only, by which nothing can call: machines have IPv4 addresses"
        log.problem(*place, message, "give those of IPv4")
    elif len(sources) < len(networks):
        log.warn(*place, "has no effect for IPv6: machines have IPv4 addresses")
    return sources


def _node_port(port: Record, spec: Record, log: Log) -> int | None:
    """Where a port is published; None where that is left open. Kubernetes refuses one of another type."""
    number = port.whole("nodePort")
    if not number:
        return None
    place = port.place("nodePort"), port.at("nodePort")
    if spec.text("type") not in ("NodePort", "LoadBalancer") and not spec.is_wrong("type"):
        log.problem(*place, "is only for the types NodePort and LoadBalancer", "leave it out")
    elif number < FIRST_NODE_PORT:
        hint = "ports below it are the system's; Kubernetes' own are 30000 to 32767"
        log.problem(*place, f"must be at least {FIRST_NODE_PORT} and is {number}", hint)
    else:
        return number
    return None


def _is_internal(notes: Record | None) -> bool:
    """Whether a Service's annotations keep its load balancer within the network."""
    if notes is None:
        return False
    internal, scheme = notes.text(service_fields.AWS_INTERNAL), notes.text(service_fields.AWS_SCHEME)
    if internal or scheme:
        return internal in ("true", "0.0.0.0/0") or scheme == "internal"
    return notes.text(service_fields.AWS_TYPE) in service_fields.AWS_CONTROLLED


def _check_service_ports(ports: Sequence[Record], log: Log) -> None:
    numbers: dict[tuple[int, Protocol], Position] = {}
    named: dict[str, Position] = {}
    for port in ports:
        number, name = port.whole("port"), port.text("name")
        key = number or 0, protocol(port)
        if number is not None and key in numbers:
            message = f"{number} is given twice; the first is at {numbers[key]}"
            log.problem(port.place("port"), port.at("port"), message)
        elif number is not None:
            numbers[key] = port.place("port")
        if name is not None and name in named:
            log.problem(
                port.place("name"), port.at("name"), f"`{name}` is given twice; the first is at {named[name]}"
            )
        elif name is not None:
            named[name] = port.place("name")
        elif len(ports) > 1 and not port.has("name"):
            log.problem(
                port.position, port.path, "`name` is missing", "ports need names where there are several"
            )
