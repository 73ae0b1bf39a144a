"""A pod, in either form of a manifest and in any kind of document: the part of a Workload that it is.

In: the records of a document's metadata, of the template's metadata and of the pod's spec. Out: a Found,
whose workload the caller completes with what its own kind says. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.pods import downward, pod, rollout, security, volumes
from i2kit.manifest.pods.variables import variables
from i2kit.manifest.reading import (
    Account,
    NeededVolume,
    Needs,
    Reading,
    Reference,
)
from i2kit.manifest.tables.shape import Record, named
from i2kit.model import Dns, Pairs, Scratch, Volume, Workload

_WRITTEN = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Found:
    """A pod: its workload with one replica, and what it needs of other documents. Reading.add takes both."""

    workload: Workload
    needs: Needs


@dataclass(frozen=True, slots=True)
class Head:
    """What a pod is called, and what is written on it."""

    name: str
    namespace: str
    labels: Pairs
    annotations: Mapping[str, str]
    account: str
    position: Position


def read(
    metadata: Record,
    head: Record | None,
    body: Record,
    reading: Reading,
    log: Log,
    *,
    claims: Sequence[Volume] = (),
) -> Found:
    """The pod of a document with this `metadata`; `head` and `body` are the pod's own metadata and spec.

    `claims` are volumes that the pod has beside those in its spec, as a StatefulSet's templates give them.
    """
    if head and head.is_wrong("labels"):
        reading.complete = False
    namespace = metadata.text("namespace") or "default"
    account = body.text("serviceAccountName") or body.text("serviceAccount") or "default"
    word = "serviceAccount" if body.text("serviceAccount") else "serviceAccountName"
    word = "serviceAccountName" if body.text("serviceAccountName") else word
    token = body.flag("automountServiceAccountToken")
    reading.accounts.append(Account(f"{namespace}/{account}", body.place(word), body.at(word), token))
    of_pod = Head(
        name=metadata.text("name") or "",
        namespace=namespace,
        labels=head.pairs("labels") if head else (),
        annotations=dict(head.pairs("annotations")) if head else {},
        account=account,
        position=metadata.place("name"),
    )
    return assemble(of_pod, body, reading, log, claims=claims)


def assemble(head: Head, body: Record, reading: Reading, log: Log, *, claims: Sequence[Volume] = ()) -> Found:
    """The pod that `body` describes: a pod's spec, or an i2kit manifest."""
    containers, before = named(body, "containers"), named(body, "initContainers")
    every = (*before, *containers)
    records = [holder for _, holder in every]
    names = {id(holder): name for name, holder in every}
    together = [*(one for _, one in before if one.text("restartPolicy") == "Always")]
    together += [holder for _, holder in containers]
    _check_names(every, log)
    pod.check_ports(together, lambda holder: names[id(holder)], log)
    security.check_root(records, body, log)
    if any(map(pod.is_unsized, records)):
        reading.unsized.add(f"{head.namespace}/{head.name}")
    known = downward.Pod(
        namespace=head.namespace,
        account=head.account,
        labels=dict(head.labels),
        annotations=head.annotations,
        containers=dict(every),
    )
    templates = [one.name for one in claims]
    needed = volumes.volumes(body, head.name, known, templates, log)
    declared = [*(name for name, _ in named(body, "volumes")), *templates]
    mounted = [volumes.mounts(holder, declared, log) for holder in records]
    read_containers = [
        pod.container(holder, name, body, mounts, log, first=index < len(before))
        for index, ((name, holder), (mounts, _)) in enumerate(zip(every, mounted, strict=True))
    ]
    needs = Needs(
        variables=tuple(variables(holder, known, log) for holder in records),
        logins=tuple(
            Reference("Secret", name, login.place("name"), login.at("name"))
            for login in body.items("imagePullSecrets")
            if (name := login.text("name"))
        ),
        volumes=_limited(needed, records, log),
        expressions=tuple(expressions for _, expressions in mounted),
    )
    workload = Workload(
        name=head.name,
        namespace=head.namespace,
        labels=head.labels,
        init=tuple(read_containers[: len(before)]),
        containers=tuple(read_containers[len(before) :]),
        hosts=tuple(
            (alias.text("ip") or "", " ".join(alias.items("hostnames")))
            for alias in body.items("hostAliases")
            if alias.items("hostnames")
        ),
        facts=known.facts,
        instance_type=_instance_type(body.record("nodeSelector"), log),
        grace_s=rollout.grace(body),
        sysctls=security.sysctls(body, log),
        volumes=tuple(claims),
        hostname=body.text("hostname") or None,
        subdomain=body.text("subdomain") or None,
        dns=_dns(body, log),
        shared_processes=body.flag("shareProcessNamespace") or False,
        host_processes=body.flag("hostPID") or False,
        position=head.position,
    )
    if workload.shared_processes and workload.host_processes:
        place = body.place("shareProcessNamespace"), body.at("shareProcessNamespace")
        log.problem(*place, "cannot be beside hostPID", "leave one out")
    return Found(workload, needs)


def _limited(
    needed: Sequence[NeededVolume], containers: Sequence[Record], log: Log
) -> tuple[NeededVolume, ...]:
    """The volumes, with what containers may write at most as the limit of those that have no other."""
    parts = [
        (one, word, amounts)
        for one in containers
        if (resources := one.record("resources"))
        for word in ("requests", "limits")
        if (amounts := resources.record(word)) and amounts.whole(_WRITTEN)
    ]
    limit = sum(amounts.whole(_WRITTEN) or 0 for _, word, amounts in parts if word == "limits") or None
    scratch = [
        one
        for one in needed
        if isinstance(one, Volume) and isinstance(one.source, Scratch) and not one.source.memory
    ]
    for _, _, amounts in () if scratch else parts:
        message = "has no effect: what containers write is in the machine's memory, which `memory` sizes"
        log.warn(amounts.place(_WRITTEN), amounts.at(_WRITTEN), message)
    return tuple(
        Volume(one.name, Scratch(limit_bytes=limit))
        if isinstance(one, Volume) and one.source == Scratch()
        else one
        for one in needed
    )


def _dns(body: Record, log: Log) -> Dns:
    """By the API server's rules (core/validation, validatePodDNSConfig)."""
    config, only = body.record("dnsConfig"), body.text("dnsPolicy") == "None"
    servers: tuple[str, ...] = config.items("nameservers") if config else ()
    searches: tuple[str, ...] = config.items("searches") if config else ()
    if (
        only
        and not servers
        and not (body.is_wrong("dnsConfig") or (config and config.is_wrong("nameservers")))
    ):
        hint = "write dnsConfig: {nameservers: [ADDRESS]}"
        log.problem(body.place("dnsPolicy"), body.at("dnsPolicy"), "`None` needs a server to ask", hint)
    for name, found, most in (("nameservers", servers, 3), ("searches", searches, 32)):
        if config and len(found) > most:
            message = f"has {len(found)} items and may have {most}"
            log.problem(config.place(name), config.at(name), message)
    options = []
    for option in config.items("options") if config else ():
        if (name := option.text("name")) is not None:
            value = option.text("value")
            options.append(name if value is None else f"{name}:{value}")
    return Dns(servers, searches, tuple(options), only)


def _instance_type(nodes: Record | None, log: Log) -> str | None:
    """What a pod's node selector says of the machines that it wants."""
    words = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
    found = next((found for word in words if nodes and (found := nodes.text(word))), None)
    for word in ("kubernetes.io/arch", "beta.kubernetes.io/arch"):
        if nodes and not found and (wanted := nodes.text(word)) and wanted != "amd64":
            message = "has no effect: machines are as the provider has them, which an instance type chooses"
            log.warn(nodes.place(word), nodes.at(word), message)
    return found


def _check_names(containers: Sequence[tuple[str, Record]], log: Log) -> None:
    first: dict[str, Position] = {}
    for name, holder in containers:
        if name in first:
            message = f"`{name}` is given twice; the first is at {first[name]}"
            log.problem(holder.place("name"), holder.at("name"), message, "give each container its own name")
        elif name:
            first[name] = holder.place("name")
