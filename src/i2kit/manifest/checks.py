"""What only shows when all documents are there: names used twice, Services that lead nowhere.

In: what was read from all files. Out: problems in the log, and the workloads with what scales them. Pure.
"""

from collections.abc import Iterable

from i2kit.errors import Position
from i2kit.manifest.kubernetes import disks, ingress, policies
from i2kit.manifest.log import Finding, Log
from i2kit.manifest.pods import scaling
from i2kit.manifest.reading import FoundService, Grant, Reading
from i2kit.model import Pairs, Protocol, Service, Workload

MAX_DOCUMENTS = 2000
"""Deployments, Services and autoscalers: far above what is deployed at once, and pairs are looked at."""


def whole(reading: Reading, log: Log) -> tuple[tuple[Service, Finding], ...]:
    """Check everything that was read against each other. Gives the services that select nothing here."""
    if too_many(reading.count, log):
        return ()
    _unique(
        "deployment",
        ((workload.name, workload.key, workload.position) for workload in reading.workloads),
        log,
    )
    for kind in ("ConfigMap", "Secret"):
        found = [one for one in reading.configs if one.kind == kind]
        _unique(kind, ((one.name, one.key, one.position) for one in found), log)
    of_claims = ((one.claim.name, one.key, one.position) for one in reading.claims)
    _unique("PersistentVolumeClaim", of_claims, log)
    scaling.join(reading, log)
    services = [(found.service.name, found.service.key, found.service.position) for found in reading.services]
    aliases = zip(reading.aliases, reading.alias_places, strict=True)
    _unique("service", (*services, *((one.name, one.key, place) for one, place in aliases)), log)
    lonely = [
        (found.service, problem)
        for found in reading.services
        if (problem := _leads_somewhere(found, reading, log))
    ]
    _unique_node_ports(reading.services, log)
    _unique("Ingress", ((one.name, one.key, one.position) for one in reading.ingresses), log)
    ingress.check_twice(reading.routes, reading.ingresses, log)
    if reading.complete:
        by_key = {found.service.key: found.service for found in reading.services}
        others = {one.key for one in reading.aliases}
        for route in reading.routes:
            ingress.check(route, by_key, others, log)
    _unique("NetworkPolicy", ((one.name, one.key, one.place) for one in reading.found_policies), log)
    policies.join(reading, log)
    disks.join(reading, log)
    _named(reading, log)
    _check_accounts(reading, log)
    return tuple(lonely)


def _check_accounts(reading: Reading, log: Log) -> None:
    """What pods may do as their service account, which a machine's may not."""
    grants: dict[str, str] = {}
    for grant in reading.grants:
        grants.setdefault(grant.account, grant.binding)
    identities = {(one.account, one.note): one for one in reading.identities}
    for account in reading.accounts:
        place = account.position, account.path
        of_account = filter(None, map(grants.get, Grant.accounts(account.key)))
        token = account.key not in reading.tokenless if account.token is None else account.token
        if token and (binding := next(of_account, None)):
            message = f"{binding} lets these pods use the Kubernetes API, and a machine has none"
            log.refuse(*place, message, "leave the binding out if they can do without")
        for note in dict.fromkeys(note for _, note in identities):
            if not (one := identities.get((account.key, note))):
                continue
            if one.needed:
                hint = f"leave {note} out, and give them credentials in a Secret if they need any"
                log.refuse(*place, f"{one.message}, and a machine cannot have it", hint, name=note)
            else:
                log.warn(*place, f"{one.message}, which has no effect: a machine is in no such cluster")


def too_many(count: int, log: Log) -> bool:
    """Whether there are too many documents to compare, which is in the log then."""
    if count > MAX_DOCUMENTS:
        message = f"more than {MAX_DOCUMENTS:,} deployments and services at once"
        log.problem(None, "", message, "deploy them in parts")
    return count > MAX_DOCUMENTS


def twice(kind: str, key: str, position: Position, first: Position, log: Log) -> None:
    """Complain about the second of two with the same key."""
    message = f"the {kind} `{key}` is given twice; the first is at {first}"
    log.problem(position, "", message, "remove one of them, or give one file only")


def _unique(kind: str, found: Iterable[tuple[str, str, Position | None]], log: Log) -> None:
    first: dict[str, Position] = {}
    for name, key, position in found:
        if not name or position is None:
            continue
        if key in first:
            twice(kind, key, position, first[key], log)
        else:
            first[key] = position


def _unique_node_ports(services: Iterable[FoundService], log: Log) -> None:
    first: dict[tuple[int, Protocol], Position] = {}
    for found in services:
        for port, place in zip(found.service.ports, found.node_ports, strict=False):
            if port.node_port is None:
                continue
            key = port.node_port, port.protocol
            if key in first:
                message = f"{port.node_port} is given twice; the first is at {first[key]}"
                log.problem(place, "spec.ports.nodePort", message, "leave one of them out")
            first.setdefault(key, place)


def _named(reading: Reading, log: Log) -> None:
    """Machines of a stateful workload have names only below a headless Service."""
    headless = {found.service.key for found in reading.services if found.service.headless}
    others = {found.service.key for found in reading.services} - headless
    for one in reading.domains:
        if one.service in headless:
            continue
        name = one.service.rpartition("/")[2]
        why = (
            f"service `{name}` is not headless"
            if one.service in others
            else f"there is no service `{name}` here"
        )
        message = f"{why}, so names such as {one.workload}-0.{name} do not exist"
        log.warn(one.position, one.path, message)


def _leads_somewhere(found: FoundService, reading: Reading, log: Log) -> Finding | None:
    """The problem where it leads nowhere, as far as these files tell."""
    service = found.service
    if not service.selector:
        return None
    selected = [workload for workload in reading.workloads if service.selects(workload)]
    if not selected and reading.complete:
        message = f"service `{service.name}`: no deployment here has pods with {_written(service.selector)}"
        hint = _nearest(found, reading.workloads)
        return Finding(message, found.selector, "spec.selector", hint)
    for port, place in zip(service.ports, found.targets, strict=True):
        for workload in selected:
            same = (known for known in workload.ports if known.protocol == port.protocol)
            names = [known.name for known in same if known.name]
            if isinstance(port.target, str) and port.target not in names:
                message = f"deployment `{workload.name}` has no port named `{port.target}`"
                hint = f"its named ports: {', '.join(names)}" if names else "give the port's number"
                log.problem(place, "spec.ports", message, hint)
    return None


def _nearest(found: FoundService, workloads: Iterable[Workload]) -> str:
    service = found.service
    for workload in workloads:
        if workload.namespace != service.namespace and set(service.selector) <= set(workload.labels):
            return f"deployment `{workload.name}` has, but in namespace `{workload.namespace}`"
    here = [workload for workload in workloads if workload.namespace == service.namespace]
    if here:
        return "; ".join(f"deployment `{w.name}` has {_written(w.labels) or 'no labels'}" for w in here[:3])
    return "give the deployment's file too, with another -f"


def _written(pairs: Pairs) -> str:
    return ", ".join(f"{key}: {value}" for key, value in pairs)
