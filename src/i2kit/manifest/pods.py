"""A pod template of Kubernetes, whatever kind of document it is in: the part of a Workload that is the pod.

In: the records of a document's metadata, of the template's metadata and of the pod's spec. Out: a Found,
whose workload the caller completes with what its own kind says. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from i2kit.errors import Position
from i2kit.manifest import downward, pod, rollout, security
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Account, Needs, Reading
from i2kit.manifest.shape import Record
from i2kit.model import Volume, Workload


@dataclass(frozen=True, slots=True)
class Found:
    """A pod: its workload with one replica, and what it needs of other documents. Reading.add takes both."""

    workload: Workload
    needs: Needs


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
    name, namespace = metadata.text("name") or "", metadata.text("namespace") or "default"
    containers: tuple[Record, ...] = body.items("containers")
    _check_names(containers, log)
    pod.check_ports(containers, lambda holder: holder.text("name") or "", log)
    security.check_root(containers, body, log)
    account = body.text("serviceAccountName") or body.text("serviceAccount") or "default"
    reading.accounts.append(
        Account(f"{namespace}/{account}", body.place("serviceAccountName"), body.at("serviceAccountName"))
    )
    if any(map(pod.is_unsized, containers)):
        reading.unsized.add(f"{namespace}/{name}")
    known = downward.Pod(
        namespace=namespace,
        account=account,
        labels=dict(head.pairs("labels")) if head else {},
        annotations=dict(head.pairs("annotations")) if head else {},
        containers={holder.text("name") or "": holder for holder in containers},
    )
    read_containers = tuple(
        pod.container(holder, holder.text("name") or "", _env(holder, known, log), body, log)
        for holder in containers
    )
    workload = Workload(
        name=name,
        namespace=namespace,
        labels=head.pairs("labels") if head else (),
        containers=read_containers,
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
        position=metadata.place("name"),
    )
    return Found(workload, Needs())


def _instance_type(nodes: Record | None) -> str | None:
    """What a pod's node selector says of the machines that it wants."""
    words = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
    return next((found for word in words if nodes and (found := nodes.text(word))), None)


def _env(holder: Record, known: downward.Pod, log: Log) -> Sequence[tuple[str, str]]:
    env = []
    first: dict[str, Position] = {}
    for variable in holder.items("env"):
        name = variable.text("name")
        if name is None:
            continue
        if name in first:
            message = f"`{name}` is given twice and the last counts; the first is at {first[name]}"
            log.warn(variable.place("name"), variable.at("name"), message)
        first.setdefault(name, variable.place("name"))
        source = variable.record("valueFrom")
        given = downward.value(variable, source, holder, known, log) if source else variable.text("value")
        env.append((name, given or ""))
    return env


def _check_names(containers: Sequence[Record], log: Log) -> None:
    first: dict[str, Position] = {}
    for holder in containers:
        name = holder.text("name")
        if name is not None and name in first:
            message = f"`{name}` is given twice; the first is at {first[name]}"
            log.problem(holder.place("name"), holder.at("name"), message, "give each container its own name")
        elif name is not None:
            first[name] = holder.place("name")
