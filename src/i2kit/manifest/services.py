"""Services: names and addresses in front of pods.

In: one document as a record. Out: a Service, gathered in a Reading. Pure.
"""

from collections.abc import Sequence

from i2kit.errors import Position
from i2kit.manifest import kinds
from i2kit.manifest.log import Log
from i2kit.manifest.reading import FoundService, Reading
from i2kit.manifest.shape import Record
from i2kit.model import Service, ServicePort

FIRST_NODE_PORT = 1024


def service(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Service."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if not (metadata and spec):
        return
    if not (spec.pairs("selector") or spec.is_wrong("selector") or spec.is_wrong("type")):
        log.problem(
            spec.place("selector"),
            spec.path,
            "has no selector, so nothing would answer",
            "write selector: with the pods' labels",
        )
    ports: tuple[Record, ...] = spec.items("ports")
    _check_service_ports(ports, log)
    if spec.text("type") == "NodePort":
        message = "`NodePort` is not public on a cloud, which has no nodes; `LoadBalancer` is"
        log.warn(spec.place("type"), spec.at("type"), message)
    read = []
    for port in ports:
        if (number := port.whole("port")) is not None:
            target = port.values.get("targetPort", number)
            assert isinstance(target, int | str)
            node_port = _node_port(port, spec, log)
            one = ServicePort(number, target, port.text("name"), node_port=node_port)
            read.append((one, port.place("targetPort"), port.place("nodePort")))
    one_service = Service(
        name=metadata.text("name") or "",
        namespace=metadata.text("namespace") or "default",
        selector=spec.pairs("selector"),
        ports=tuple(port for port, _, _ in read),
        public=spec.text("type") == "LoadBalancer" and not _is_internal(metadata.record("annotations")),
        position=metadata.place("name"),
    )
    targets = tuple(place for _, place, _ in read)
    node_ports = tuple(place for _, _, place in read)
    reading.services.append(FoundService(one_service, spec.place("selector"), targets, node_ports))


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
    return (
        notes.text(kinds.AWS_INTERNAL) in ("true", "0.0.0.0/0") or notes.text(kinds.AWS_SCHEME) == "internal"
    )


def _check_service_ports(ports: Sequence[Record], log: Log) -> None:
    numbers: dict[int, Position] = {}
    named: dict[str, Position] = {}
    for port in ports:
        number, name = port.whole("port"), port.text("name")
        if number is not None and number in numbers:
            log.problem(
                port.place("port"),
                port.at("port"),
                f"{number} is given twice; the first is at {numbers[number]}",
            )
        elif number is not None:
            numbers[number] = port.place("port")
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
