"""The pod, which both forms of a manifest describe: records → Containers, checked against each other.

In: records of the tables in `fields`. Out: model values. Where a value was wrong, which is in the
log by then, the Container still comes out, so that the checks after this one see the rest. Pure.
"""

from collections.abc import Callable, Sequence

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.pods import rollout
from i2kit.manifest.pods.hooks import hook
from i2kit.manifest.pods.probes import probe
from i2kit.manifest.pods.security import security
from i2kit.manifest.tables.shape import Record
from i2kit.model import Container, Mount, Port, Protocol, Resources

SMALLEST_MEMORY_LIMIT_BYTES = 6 * 2**20
"""What runc and containerd ask for at least: below, the runtime itself does not fit into the cgroup."""


def container(
    record: Record, name: str, pod: Record, mounts: tuple[Mount, ...], log: Log, *, first: bool = False
) -> Container:
    """One container of a pod, without its environment, of which other documents say a part.

    Of those that come `first`, some are sidecars; the others just end.
    """
    sidecar = first and record.text("restartPolicy") == "Always"
    if first and not (sidecar or record.is_wrong("restartPolicy")):
        for word in ("lifecycle", "startupProbe", "livenessProbe", "readinessProbe"):
            if record.has(word):
                message = "is only for containers that run on, and this one has to end"
                hint = "leave it out, or write restartPolicy: Always"
                log.problem(record.place(word), record.at(word), message, hint)
    grace_s = rollout.grace(pod)
    lifecycle = record.record("lifecycle")
    return Container(
        name=name,
        image=record.text("image") or "",
        command=_words(record, "command"),
        args=_words(record, "args"),
        working_dir=record.text("workingDir"),
        ports=_ports(record, log),
        resources=_resources(record, log),
        startup=probe(record, "startupProbe", log),
        liveness=probe(record, "livenessProbe", log),
        readiness=probe(record, "readinessProbe", log),
        post_start=hook(record, "postStart", grace_s, log),
        pre_stop=hook(record, "preStop", grace_s, log),
        mounts=mounts,
        sidecar=sidecar,
        security=security(record, pod, log),
        stop_signal=(lifecycle.text("stopSignal") or "") if lifecycle else "",
        position=record.place("image"),
    )


def is_unsized(record: Record) -> bool:
    """Whether something is wrong with what a container says it needs, which is in the log by then."""
    resources = record.record("resources")
    if resources is None:
        return record.is_wrong("resources")
    parts = [part for name in ("requests", "limits") if (part := resources.record(name))]
    return any(each.is_wrong(name) for each in (resources, *parts) for name in each.places)


def check_ports(containers: Sequence[Record], name_of: Callable[[Record], str], log: Log) -> None:
    """The containers of a pod share one network: a port can be taken once."""
    taken: dict[tuple[int, Protocol], tuple[Record, Position]] = {}
    for holder in containers:
        for record in holder.items("ports"):
            number = record.whole("containerPort")
            if number is None:
                continue
            place = record.place("containerPort")
            key = number, protocol(record)
            if key not in taken:
                taken[key] = (holder, place)
                continue
            other, first = taken[key]
            where = "in this container" if other is holder else f"by container `{name_of(other)}`"
            message = f"port {number} is taken already {where}, at {first}"
            hint = (
                "remove one of them"
                if other is holder
                else "containers of a pod share one network: use another port"
            )
            log.problem(place, record.at("containerPort"), message, hint)


def protocol(port: Record) -> Protocol:
    """A port's protocol, by default TCP."""
    return "UDP" if port.text("protocol") == "UDP" else "TCP"


def _words(record: Record, name: str) -> tuple[str, ...] | None:
    # An empty list says nothing, as in Kubernetes: the image's own is used.
    return record.items(name) or None


def _ports(record: Record, log: Log) -> tuple[Port, ...]:
    ports = []
    named: dict[str, Position] = {}
    for port in record.items("ports"):
        if (name := port.text("name")) is not None:
            if name in named:
                log.problem(
                    port.place("name"),
                    port.at("name"),
                    f"`{name}` is given twice; the first is at {named[name]}",
                )
            named.setdefault(name, port.place("name"))
        if (number := port.whole("containerPort")) is not None:
            ports.append(Port(number, name, protocol(port)))
    return tuple(ports)


def _resources(record: Record, log: Log) -> Resources:
    resources = record.record("resources")
    if resources is None:
        return Resources()
    requests, limits = resources.record("requests"), resources.record("limits")
    for name in ("cpu", "memory"):
        request = requests.whole(name) if requests else None
        limit = limits.whole(name) if limits else None
        if requests and limits and request is not None and limit is not None and request > limit:
            message = f"asks for more than the limit at {limits.place(name)}"
            log.problem(
                requests.place(name), requests.at(name), message, "raise the limit or lower the request"
            )
    # A limit of 0 is none (kubelet, cm/helpers_linux.go); a request of 0 is one: no limit takes its place.
    memory = (limits.whole("memory") or None) if limits else None
    if limits and memory is not None and memory < SMALLEST_MEMORY_LIMIT_BYTES:
        message = f"{memory:,} bytes are below what a container needs to start (6Mi)"
        units = ": `m` is thousandths of a byte, and no unit is bytes" if memory < 100_000 else ""
        hint = f"such as 128Mi{units}"
        log.problem(limits.place("memory"), limits.at("memory"), message, hint)
    return Resources(
        cpu_request_millis=requests.whole("cpu") if requests else None,
        cpu_limit_millis=(limits.whole("cpu") or None) if limits else None,
        memory_request_bytes=requests.whole("memory") if requests else None,
        memory_limit_bytes=memory,
    )
