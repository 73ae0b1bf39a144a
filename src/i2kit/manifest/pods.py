"""A pod, in either form of a manifest and in any kind of document: the part of a Workload that it is.

In: the records of a document's metadata, of the template's metadata and of the pod's spec. Out: a Found,
whose workload the caller completes with what its own kind says. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from i2kit.errors import Position
from i2kit.manifest import downward, pod, rollout, security
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Account, Needs, Reading
from i2kit.manifest.shape import Record, named
from i2kit.manifest.variables import variables
from i2kit.model import Pairs, Volume, Workload


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
    reading.accounts.append(
        Account(f"{namespace}/{account}", body.place("serviceAccountName"), body.at("serviceAccountName"))
    )
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
    containers = named(body, "containers")
    records = [holder for _, holder in containers]
    names = {id(holder): name for name, holder in containers}
    _check_names(containers, log)
    pod.check_ports(records, lambda holder: names[id(holder)], log)
    security.check_root(records, body, log)
    if any(map(pod.is_unsized, records)):
        reading.unsized.add(f"{head.namespace}/{head.name}")
    known = downward.Pod(
        namespace=head.namespace,
        account=head.account,
        labels=dict(head.labels),
        annotations=head.annotations,
        containers=dict(containers),
    )
    needs = Needs(tuple(variables(holder, known, log) for holder in records))
    workload = Workload(
        name=head.name,
        namespace=head.namespace,
        labels=head.labels,
        containers=tuple(pod.container(holder, name, body, log) for name, holder in containers),
        hosts=tuple(
            (alias.text("ip") or "", " ".join(alias.items("hostnames")))
            for alias in body.items("hostAliases")
            if alias.items("hostnames")
        ),
        facts=known.facts,
        instance_type=_instance_type(body.record("nodeSelector")),
        grace_s=rollout.grace(body),
        sysctls=security.sysctls(body, log),
        volumes=tuple(claims),
        position=head.position,
    )
    return Found(workload, needs)


def _instance_type(nodes: Record | None) -> str | None:
    """What a pod's node selector says of the machines that it wants."""
    words = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
    return next((found for word in words if nodes and (found := nodes.text(word))), None)


def _check_names(containers: Sequence[tuple[str, Record]], log: Log) -> None:
    first: dict[str, Position] = {}
    for name, holder in containers:
        if name in first:
            message = f"`{name}` is given twice; the first is at {first[name]}"
            log.problem(holder.place("name"), holder.at("name"), message, "give each container its own name")
        elif name:
            first[name] = holder.place("name")
