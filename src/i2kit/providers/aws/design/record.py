"""What a stack's template says of the deployment in its `Metadata`, and that read back. Pure.

All that a template is made of again: so rollback, scale and more services in front need nothing but the
stack. Never has environment variables or commands: those are in the machine image, and may be private.
The machine image of a release that was read back has no files.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from i2kit.errors import OperationError
from i2kit.model import (
    Alias,
    Amount,
    Container,
    Files,
    Job,
    MachineImage,
    Metric,
    NetworkPolicy,
    Port,
    Probe,
    Protocol,
    Release,
    Resources,
    Scaling,
    Service,
    ServicePort,
    Strategy,
    TcpSocket,
    Volume,
    Workload,
)
from i2kit.plain import data_of, value_of
from i2kit.providers.aws.values import Ami, Ebs, Link, Network, Options, Peer, Subnet, Zone

FORMAT = 1
"""Counts up when an older i2kit could not read it."""

MAX_HISTORY = 10
"""Earlier revisions that can be gone back to."""

Data = dict[str, Any]

_RESOURCES = (
    ("cpu_request_millis", "CpuRequestMillis"),
    ("cpu_limit_millis", "CpuLimitMillis"),
    ("memory_request_bytes", "MemoryRequestBytes"),
    ("memory_limit_bytes", "MemoryLimitBytes"),
)

_TIMES = (
    ("min_ready_s", "MinReadyS"),
    ("progress_deadline_s", "ProgressDeadlineS"),
    ("grace_s", "GraceS"),
)

_PROBES = (("startup", "Startup"), ("readiness", "Readiness"))
"""Those that decide how long a machine takes to be ready, and only when they ask: what, is in the image."""

_ASKED_IN_THE_IMAGE = TcpSocket(0)

_PLAIN = Workload("", ())
"""What a workload is where its manifest says nothing; none of that is written down."""


@dataclass(frozen=True, slots=True)
class Record:
    """One revision of a deployment. `created_at` is RFC 3339, UTC.

    `release` has the deployment's own services, `attached` are those of other files that select it.
    `history` are earlier ones, oldest first, each without a history of its own.
    """

    revision: int
    created_at: str
    release: Release
    ami: Ami
    options: Options
    network: Network
    zone: Zone | None = None
    attached: tuple[Service, ...] = ()
    implied: bool = True
    """Whether the service of the deployment's name came by itself."""
    secrets: str = ""
    """The set in Parameter Store that its machines read; empty where they read none."""
    links: tuple[Link, ...] = ()
    """The Ingresses that lead to it. Earlier revisions have none of their own."""
    volumes: tuple[Ebs, ...] = ()
    """The volumes of its claims."""
    peers: tuple[Peer, ...] = ()
    """The deployments that its network policies mean. Earlier revisions have none of their own."""
    held: tuple[NetworkPolicy, ...] = ()
    """Network policies that came with other deployments and select it too. Earlier revisions have none."""
    history: tuple["Record", ...] = field(default=())

    @property
    def key(self) -> str:
        return self.release.workload.key

    @property
    def manifest(self) -> str:
        return self.release.manifest

    @property
    def own(self) -> frozenset[str]:
        """The keys of the services that its own files have. Those of other files do not count beside them."""
        return keys_of(self.release, implied=self.implied)

    @property
    def services(self) -> tuple[Service, ...]:
        """All that are in front of it. A written one takes the place of the one that came by itself."""
        others = tuple(one for one in self.attached if one.key not in self.own)
        taken = {one.key for one in others}
        return (*(one for one in self.release.services if one.key not in taken), *others)

    @property
    def written(self) -> tuple[Service, ...]:
        """All but the one that came by itself."""
        known = self.own | {one.key for one in self.attached}
        return tuple(one for one in self.services if one.key in known)

    @property
    def governed(self) -> Release:
        """What it is with all network policies that select it."""
        return replace(self.release, policies=(*self.release.policies, *self.held))

    @property
    def whole(self) -> Release:
        """The same with all services in front."""
        return replace(self.governed, services=self.services)


def keys_of(release: Release, *, implied: bool) -> frozenset[str]:
    """The keys of the services that were written in the files of a release."""
    found = frozenset(service.key for service in release.services)
    return found - {release.workload.key} if implied else found


def is_implied(release: Release) -> bool:
    """Whether the service of its name, if there is one, was not written."""
    own = [service for service in release.services if service.key == release.workload.key]
    return all(
        service.position is None
        and service.public == release.workload.public
        and service.selector == release.workload.labels
        and not service.headless
        and not service.sticky_s
        and [(port.number, port.target) for port in service.ports]
        == [(port.number, port.number) for port in release.workload.ports]
        for service in own
    )


def metadata(record: Record) -> Data:
    """As the template has it, with as much history as there is."""
    network, zone = record.network, record.zone
    place = {
        "Vpc": network.vpc,
        "Cidrs": list(network.cidrs),
        "Subnets": [[one.id, one.zone, one.public] for one in network.subnets],
        "SecurityGroup": network.security_group,
    }
    return {
        **_data(record),
        "Network": _given(place),
        **({"Zone": _zone(zone)} if zone else {}),
        **({"Links": data_of(record.links)} if record.links else {}),
        **({"Peers": data_of(record.peers)} if record.peers else {}),
        **({"Held": data_of(record.held)} if record.held else {}),
        **({"History": _packed([_data(one) for one in record.history])} if record.history else {}),
    }


def of(template: Mapping[str, Any]) -> Record:
    """The record in a stack's template. Raises OperationError where it can't be read."""
    found = template.get("Metadata", {}).get("i2kit")
    if not isinstance(found, Mapping) or "Format" not in found:
        raise OperationError(
            "a stack that is tagged as a deployment has no record of i2kit in its template",
            hint="remove the tag i2kit:deployment if it is not one of i2kit's",
        )
    key = found.get("Deployment", "of this stack")
    if found["Format"] != FORMAT:
        raise OperationError(
            f"the deployment {key} was deployed by another version of i2kit: its record has format "
            f"{found['Format']}, and this version knows {FORMAT}",
            hint="use that version, or update i2kit",
        )
    try:
        network, zone = found["Network"], found.get("Zone")
        record = replace(
            _record(found),
            network=Network(
                network["Vpc"],
                tuple(network["Cidrs"]),
                tuple(Subnet(*one) for one in network["Subnets"]),
                network.get("SecurityGroup"),
            ),
            zone=_zone_of(zone) if zone else None,
            links=tuple(value_of(Link, one) for one in found.get("Links", ())),
            peers=tuple(value_of(Peer, one) for one in found.get("Peers", ())),
            held=tuple(value_of(NetworkPolicy, one) for one in found.get("Held", ())),
        )
        if packed := found.get("History"):
            past = _unpacked(packed)
            record = replace(
                record,
                history=tuple(
                    replace(_record(one), network=record.network, zone=record.zone) for one in past
                ),
            )
        return record
    except (LookupError, TypeError, ValueError, AttributeError, zlib.error, binascii.Error) as error:
        raise OperationError(
            f"the record of the deployment {key} in its stack's template can't be read: {error!r}",
            hint="deploy it again, from its files",
        ) from error


def after(before: Record | None, record: Record) -> Record:
    """The record as the next revision of what was there before."""
    if before is None:
        return replace(record, revision=1, history=())
    past = (*before.history, replace(before, history=(), links=(), peers=(), held=()))[-MAX_HISTORY:]
    return replace(record, revision=before.revision + 1, history=past)


def _data(record: Record) -> Data:
    """One revision. What differences and lists read comes first."""
    release, options = record.release, record.options
    workload, image = release.workload, release.image
    near = _services(release.neighbours)
    return {
        "Format": FORMAT,
        "Deployment": record.key,
        "Revision": record.revision,
        "CreatedAt": record.created_at,
        "Manifest": release.manifest,
        "Image": record.ami.image,
        "ImageBytes": record.ami.size_bytes,
        "Architecture": options.architecture,
        "Containers": dict(image.containers),
        "Ami": record.ami.id,
        "MemoryFloorBytes": image.memory_floor_bytes,
        "Workload": _given(
            {
                "Labels": dict(workload.labels),
                "Replicas": workload.replicas,
                "Public": workload.public,
                "InstanceType": workload.instance_type,
                "Certificate": workload.certificate,
                "Strategy": _strategy(workload.strategy) if workload.strategy != Strategy() else None,
                **{
                    name: getattr(workload, field_)
                    for field_, name in _TIMES
                    if getattr(workload, field_) != getattr(_PLAIN, field_)
                },
                "Scaling": _scaling(workload.scaling) if workload.scaling else None,
                "Facts": dict(workload.facts) or None,
                "Volumes": [data_of(one) for one in workload.volumes if not isinstance(one.source, Files)]
                or None,
                "Subdomain": workload.subdomain,
                "Hostname": workload.hostname,
                "Stateful": workload.stateful or None,
                "Job": data_of(workload.job) if workload.job else None,
                "Containers": [_container(one) for one in workload.containers],
            }
        ),
        "Options": _given(
            {
                "Region": options.region,
                "InstanceType": options.instance_type,
                "KeyPair": options.key_pair,
                "Certificate": options.certificate,
                "Alarms": list(options.alarms) or None,
                "BakeTimeS": options.bake_time_s or None,
                "Addresses": dict(options.addresses),
            }
        ),
        "Implied": record.implied,
        "Services": _services(release.services),
        "Attached": _services(record.attached),
        **({"Aliases": data_of(release.aliases)} if release.aliases else {}),
        **({"Policies": data_of(release.policies)} if release.policies else {}),
        **({"Secrets": record.secrets} if record.secrets else {}),
        **({"Volumes": [data_of(one) for one in record.volumes]} if record.volumes else {}),
        # There can be many, and they are much alike.
        **({"Neighbours": _packed(near)} if near else {}),
    }


def _zone(one: Zone) -> Data:
    inner = {"Inner": _zone(one.inner)} if one.inner else {}
    return {"Id": one.id, "Name": one.name, "Private": one.private, **inner}


def _zone_of(data: Mapping[str, Any]) -> Zone:
    inner = _zone_of(data["Inner"]) if "Inner" in data else None
    return Zone(data["Id"], data["Name"], data["Private"], inner)


def _given(data: Data) -> Data:
    """Templates have no nulls."""
    return {name: value for name, value in data.items() if value is not None}


def _packed(data: Any) -> str:
    text = json.dumps(data, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


def _container(one: Container) -> Data:
    given = {name: getattr(one.resources, field_) for field_, name in _RESOURCES}
    probes = {name: getattr(one, field_) for field_, name in _PROBES}
    return {
        "Name": one.name,
        "Image": one.image,
        "Ports": [[port.number, *_about(port)] for port in one.ports],
        "Resources": _given(given),
        **{name: _timing(probe) for name, probe in probes.items() if probe},
    }


def _timing(one: Probe) -> list[int]:
    return [
        one.initial_delay_s,
        one.period_s,
        one.timeout_s,
        one.success_threshold,
        one.failure_threshold,
    ]


def _strategy(one: Strategy) -> Data:
    if one.recreate:
        return {"Recreate": True}
    amounts = {"MaxSurge": one.max_surge, "MaxUnavailable": one.max_unavailable}
    return {name: [amount.number, amount.percent] for name, amount in amounts.items()}


def _scaling(one: Scaling) -> Data:
    return {
        "Least": one.least,
        "Most": one.most,
        "Metrics": [
            _given({"Resource": metric.resource, "Percent": metric.percent, "Value": metric.value})
            for metric in one.metrics
        ],
        "WindowsS": [one.down_window_s, one.up_window_s],
    }


def _services(given: Iterable[Service]) -> list[Data]:
    """In the same order, whatever that of the files was."""
    return [_service(one) for one in sorted(given, key=lambda one: one.key)]


def _service(one: Service) -> Data:
    return {
        "Name": one.name,
        "Namespace": one.namespace,
        "Selector": dict(one.selector),
        "Ports": [[port.number, port.target, *_about(port)] for port in one.ports],
        "Public": one.public,
        **_given(
            {
                "Headless": one.headless or None,
                "Unready": one.unready or None,
                "StickyS": one.sticky_s,
                "Sources": list(one.sources) or None,
            }
        ),
    }


def _about(port: Port | ServicePort) -> list[str]:
    """Its name and its protocol, as far as there is something to say."""
    if port.protocol != "TCP":
        return [port.name or "", port.protocol]
    return [port.name] if port.name else []


def _about_of(name: str = "", protocol: Protocol = "TCP") -> tuple[str | None, Protocol]:
    return name or None, protocol


def _record(data: Mapping[str, Any]) -> Record:
    """One revision, its place aside."""
    namespace, name = data["Deployment"].split("/")
    said, options = data["Workload"], data["Options"]
    workload = Workload(
        name=name,
        namespace=namespace,
        containers=tuple(_container_of(one) for one in said["Containers"]),
        replicas=said["Replicas"],
        labels=tuple(said["Labels"].items()),
        public=said["Public"],
        instance_type=said.get("InstanceType"),
        certificate=said.get("Certificate"),
        strategy=_strategy_of(said["Strategy"]) if "Strategy" in said else Strategy(),
        scaling=_scaling_of(said["Scaling"]) if "Scaling" in said else None,
        facts=tuple(said.get("Facts", {}).items()),
        volumes=tuple(value_of(Volume, one) for one in said.get("Volumes", ())),
        subdomain=said.get("Subdomain"),
        hostname=said.get("Hostname"),
        stateful=said.get("Stateful", False),
        job=value_of(Job, said["Job"]) if "Job" in said else None,
        **{field_: said.get(name, getattr(_PLAIN, field_)) for field_, name in _TIMES},
    )
    nowhere = Path()
    image = MachineImage(
        id=data["Image"],
        vmlinuz=nowhere,
        kernel=nowhere,
        initrd=nowhere,
        root=None,
        cmdline="",
        memory_floor_bytes=data["MemoryFloorBytes"],
        containers=tuple(data["Containers"].items()),
    )
    near = _unpacked(data["Neighbours"]) if "Neighbours" in data else ()
    services, attached, neighbours = (
        tuple(_service_of(one) for one in found) for found in (data["Services"], data["Attached"], near)
    )
    return Record(
        revision=data["Revision"],
        created_at=data["CreatedAt"],
        release=Release(
            workload,
            image,
            services,
            neighbours,
            manifest=data["Manifest"],
            aliases=tuple(value_of(Alias, one) for one in data.get("Aliases", ())),
            policies=tuple(value_of(NetworkPolicy, one) for one in data.get("Policies", ())),
        ),
        ami=Ami(data["Ami"], data["Image"], data["ImageBytes"]),
        options=Options(
            options["Region"],
            data["Architecture"],
            options.get("InstanceType"),
            options.get("KeyPair"),
            options.get("Certificate"),
            tuple(options.get("Alarms", ())),
            options.get("BakeTimeS", 0),
            tuple(options["Addresses"].items()),
        ),
        network=Network("", (), ()),
        attached=attached,
        implied=data["Implied"],
        secrets=data.get("Secrets", ""),
        volumes=tuple(value_of(Ebs, one) for one in data.get("Volumes", ())),
    )


def _container_of(data: Mapping[str, Any]) -> Container:
    given = data["Resources"]
    return Container(
        name=data["Name"],
        image=data["Image"],
        ports=tuple(Port(number, *_about_of(*rest)) for number, *rest in data["Ports"]),
        resources=Resources(**{field_: given.get(name) for field_, name in _RESOURCES}),
        **_probes_of(data),
    )


def _probes_of(data: Mapping[str, Any]) -> Data:
    return {field_: Probe(_ASKED_IN_THE_IMAGE, *data[name]) for field_, name in _PROBES if name in data}


def _strategy_of(data: Data) -> Strategy:
    if data.get("Recreate"):
        return Strategy(recreate=True)
    return Strategy(False, Amount(*data["MaxSurge"]), Amount(*data["MaxUnavailable"]))


def _scaling_of(data: Data) -> Scaling:
    metrics = tuple(Metric(one["Resource"], one.get("Percent"), one.get("Value")) for one in data["Metrics"])
    return Scaling(data["Least"], data["Most"], metrics, *data["WindowsS"])


def _service_of(data: Mapping[str, Any]) -> Service:
    return Service(
        name=data["Name"],
        selector=tuple(data["Selector"].items()),
        ports=tuple(
            ServicePort(number, target, *_about_of(*rest)) for number, target, *rest in data["Ports"]
        ),
        namespace=data["Namespace"],
        public=data["Public"],
        headless=data.get("Headless", False),
        unready=data.get("Unready", False),
        sticky_s=data.get("StickyS"),
        sources=tuple(data.get("Sources", ())),
    )
