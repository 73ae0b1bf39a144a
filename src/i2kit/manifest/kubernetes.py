"""Kubernetes documents: Deployments, Services and autoscalers become model values, others get their verdict.

In: one document with `kind` or `apiVersion`. Out: values, gathered in a Reading. Never decides
anything that needs another document; that is `checks`. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from i2kit.errors import Position
from i2kit.manifest import kinds, pods, rollout, scaling
from i2kit.manifest.fields import DEPLOYMENT_VERSIONS
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.reading import FoundService, Grant, Reading
from i2kit.manifest.shape import Record
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.model import Pairs, Service, ServicePort

FIRST_NODE_PORT = 1024

_KINDS = {verdict.name: (versions, verdict) for versions, verdict in kinds.KINDS}
_VERSIONS = {
    "Deployment": DEPLOYMENT_VERSIONS,
    "Service": kinds.SERVICE_VERSIONS,
    "HorizontalPodAutoscaler": kinds.AUTOSCALER_VERSIONS,
    **{kind: versions for kind, (versions, _) in _KINDS.items()},
}


def is_kubernetes(node: Node) -> bool:
    """Whether a document is meant for Kubernetes: nothing else has these keys."""
    return isinstance(node, MappingNode) and ("apiVersion" in node.entries or "kind" in node.entries)


def read(node: MappingNode, reading: Reading, log: Log) -> None:
    """Add what a document says to the reading."""
    for document in flattened(node, log):
        read_one(document, reading, log)


def read_one(document: MappingNode, reading: Reading, log: Log) -> None:
    """As `read`, of a document that is no List."""
    kind = _kind(document, log)
    if kind == "Deployment":
        _deployment(document, reading, log)
    elif kind == "Service":
        _service(document, reading, log)
    elif kind == "HorizontalPodAutoscaler":
        _autoscaler(document, reading, log)
    elif kind is None:
        reading.complete = False
    else:
        _other(kind, document, reading, log)


def flattened(node: MappingNode, log: Log) -> Iterator[MappingNode]:
    """A document, or the documents in a List of whatever depth."""
    kind = _text(node, "kind") or ""
    item_kind = kind.removesuffix("List")
    if kind != "List" and (kind == item_kind or item_kind not in _VERSIONS):
        yield node
        return
    kinds.LIST.read(node, "", log)
    items = node.get("items")
    for item in items.items if isinstance(items, SequenceNode) else ():
        if not isinstance(item, MappingNode):
            log.problem(item.position, "items", f"must be a document and is {described(item)}")
            continue
        entries = dict(item.entries)
        if item_kind:  # the items of a DeploymentList need not say that they are Deployments
            entries.setdefault("kind", (item.position, ScalarNode(item_kind, item_kind, item.position)))
            if "apiVersion" in node.entries:
                entries.setdefault("apiVersion", node.entries["apiVersion"])
        yield from flattened(MappingNode(entries, item.position), log)


def _kind(node: MappingNode, log: Log) -> str | None:
    """The kind of a document if i2kit knows it in this version; else None, and the problem in the log."""
    wrong = [key for key in ("kind", "apiVersion") if _is_no_text(node, key, log)]
    if wrong:
        return None
    kind, version = _text(node, "kind"), _text(node, "apiVersion")
    if kind is None:
        log.problem(node.position, "", "`kind` is missing", "such as kind: Deployment")
        return None
    place = node.entries["kind"][1].position
    group = _group(version)
    if _is_custom(kind, group):
        message = f"`{shown(kind)}` of {shown(group)} is a custom resource, and {kinds.MESHES}"
        log.problem(place, "kind", message, "leave this document out")
        return None
    if kind not in _VERSIONS:
        hint = did_you_mean(kind, list(_VERSIONS)) or "i2kit deploys Deployments and Services"
        log.problem(place, "kind", f"`{shown(kind)}` is not a known kind", hint)
        return None
    versions = _VERSIONS[kind]
    if version is None:
        log.problem(node.position, "", "`apiVersion` is missing", f"such as apiVersion: {versions[0]}")
        return None
    # Kinds that are not read are recognized in any version of their group.
    read = kind in ("Deployment", "Service", "HorizontalPodAutoscaler")
    if version not in versions and (read or group not in _groups(kind)):
        place = node.entries["apiVersion"][1].position
        message = f"`{shown(version)}` is not an apiVersion of {kind}"
        log.problem(place, "apiVersion", message, f"use {versions[0]}")
        return None
    return kind


def _is_no_text(node: MappingNode, key: str, log: Log) -> bool:
    """Whether a key has a value that is not text, which is in the log then."""
    value = node.get(key)
    if value is None or (isinstance(value, ScalarNode) and isinstance(value.value, str | None)):
        return False
    log.problem(value.position, key, f"must be text and is {described(value)}")
    return True


def kind_of(document: MappingNode) -> tuple[str | None, bool]:
    """The kind as written, and whether it is Kubernetes' own."""
    kind = _text(document, "kind")
    return kind, kind is not None and not _is_custom(kind, _group(_text(document, "apiVersion")))


def _group(version: str | None) -> str:
    return version.rpartition("/")[0] if version else ""


def _is_custom(kind: str, group: str) -> bool:
    # Kubernetes' own groups have no dot or end with k8s.io; others reuse its kinds (Knative's Service).
    return "." in group and not group.endswith(".k8s.io") and group not in _groups(kind)


def _groups(kind: str) -> set[str]:
    return {version.rpartition("/")[0] for version in _VERSIONS.get(kind, ())}


def _text(node: MappingNode, key: str) -> str | None:
    value = node.get(key)
    return value.value if isinstance(value, ScalarNode) and isinstance(value.value, str) else None


def _deployment(node: MappingNode, reading: Reading, log: Log) -> None:
    record = kinds.DEPLOYMENT.read(node, "", log)
    metadata = record.record("metadata") if record else None
    spec = record.record("spec") if record else None
    template = spec.record("template") if spec else None
    body = template.record("spec") if template else None
    if not (record and metadata and spec and template and body):
        reading.complete = False
        return
    head = template.record("metadata")
    if not (head and head.is_wrong("labels")):
        labels = head.pairs("labels") if head else ()
        _check_selector(_text(node, "apiVersion") or "", spec, template, labels, log)
    found = pods.read(metadata, head, body, reading, log)
    replicas = spec.whole("replicas")
    min_ready_s, deadline_s = rollout.times(spec, log)
    reading.add(
        replace(
            found.workload,
            replicas=1 if replicas is None else replicas,
            strategy=rollout.strategy(spec, log),
            min_ready_s=min_ready_s,
            progress_deadline_s=deadline_s,
        ),
        found.needs,
    )


def _autoscaler(node: MappingNode, reading: Reading, log: Log) -> None:
    version = _text(node, "apiVersion")
    shape = next(shape for versions, shape in kinds.AUTOSCALERS if version in versions)
    record = shape.read(node, "", log)
    metadata = record.record("metadata") if record else None
    spec = record.record("spec") if record else None
    target = spec.record("scaleTargetRef") if spec else None
    if not (metadata and spec and target):
        return
    key = f"{metadata.text('namespace') or 'default'}/{target.text('name') or ''}"
    place = target.place("name"), target.at("name")
    one = scaling.found(spec, key, place, log, old=version == "autoscaling/v2beta1")
    if target.text("name") and target.text("kind"):
        reading.scalers.append(one)


def _check_selector(version: str, spec: Record, template: Record, labels: Pairs, log: Log) -> None:
    """The API server's rules (apps/v1 validation.go): a selector is needed and selects the template."""
    selector = spec.record("selector")
    if selector is None:
        if not spec.has("selector") and version in ("apps/v1", "apps/v1beta2"):
            example = f"{labels[0][0]}: {labels[0][1]}" if labels else "app: NAME"
            log.problem(
                spec.position,
                spec.path,
                "`selector` is missing",
                f"write selector: {{matchLabels: {{{example}}}}}",
            )
        return
    wanted = selector.pairs("matchLabels")
    expressions: tuple[Record, ...] = selector.items("matchExpressions")
    if not (wanted or expressions or any(map(selector.is_wrong, selector.places))):
        log.problem(
            selector.position,
            selector.path,
            "is empty and would select every pod",
            "write matchLabels: {app: NAME}",
        )
    given = dict(labels)
    for key, value in wanted:
        if given.get(key) != value:
            has = f"have {key}: {given[key]}" if key in given else f"have no label `{key}`"
            message = f"selects {key}: {value}, but the template's labels {has}"
            hint = f"write {key}: {value} into {template.at('metadata')}.labels too"
            log.problem(selector.place("matchLabels"), selector.at("matchLabels"), message, hint)
    for expression in expressions:
        if not _holds(expression, given):
            log.problem(expression.position, expression.path, "is not met by the template's labels")


def _holds(expression: Record, labels: dict[str, str]) -> bool:
    value = labels.get(expression.text("key") or "")
    match expression.text("operator"):
        case "In":
            return value in expression.items("values")
        case "NotIn":
            return value not in expression.items("values")
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:  # a problem already
            return True


def _service(node: MappingNode, reading: Reading, log: Log) -> None:
    record = kinds.SERVICE.read(node, "", log)
    metadata = record.record("metadata") if record else None
    spec = record.record("spec") if record else None
    if not (record and metadata and spec):
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
    service = Service(
        name=metadata.text("name") or "",
        namespace=metadata.text("namespace") or "default",
        selector=spec.pairs("selector"),
        ports=tuple(port for port, _, _ in read),
        public=spec.text("type") == "LoadBalancer" and not _is_internal(metadata.record("annotations")),
        position=metadata.place("name"),
    )
    targets = tuple(place for _, place, _ in read)
    node_ports = tuple(place for _, _, place in read)
    reading.services.append(FoundService(service, spec.place("selector"), targets, node_ports))


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


def _other(kind: str, node: MappingNode, reading: Reading, log: Log) -> None:
    verdict = _KINDS[kind][1]
    place = node.entries["kind"][1].position
    if verdict.verdict == "refused":
        log.problem(place, "kind", f"{kind} {verdict.about}", verdict.hint)
        reading.complete = reading.complete and not _has_pods(node)
    elif verdict.verdict == "warned":
        log.warn(place, "kind", f"{kind} {verdict.about}")
    elif kind in ("RoleBinding", "ClusterRoleBinding"):
        reading.grants.extend(_grants(kind, node))


def _has_pods(node: MappingNode) -> bool:
    spec = node.get("spec")
    return isinstance(spec, MappingNode) and not spec.entries.keys().isdisjoint(
        ("containers", "template", "jobTemplate")
    )


def _grants(kind: str, node: MappingNode) -> Iterator[Grant]:
    metadata = node.get("metadata")
    here = _text(metadata, "namespace") if isinstance(metadata, MappingNode) else None
    name = (_text(metadata, "name") if isinstance(metadata, MappingNode) else None) or ""
    subjects = node.get("subjects")
    for subject in subjects.items if isinstance(subjects, SequenceNode) else ():
        if isinstance(subject, MappingNode) and _text(subject, "kind") == "ServiceAccount":
            namespace = _text(subject, "namespace") or here or "default"
            yield Grant(f"{namespace}/{_text(subject, 'name')}", f"{kind} `{shown(name)}`")
