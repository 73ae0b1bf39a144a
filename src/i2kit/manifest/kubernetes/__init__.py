"""Kubernetes documents: Deployments, Services and autoscalers become model values, others get their verdict.

In: one document with `kind` or `apiVersion`. Out: values, gathered in a Reading. Never decides
anything that needs another document; that is `checks`. Pure.
"""

from collections.abc import Callable, Iterator
from pathlib import PurePath

from i2kit.manifest.kubernetes import (
    claims,
    config,
    disks,
    ingress,
    jobs,
    policies,
    services,
    workloads,
)
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.places import shown
from i2kit.manifest.pods import scaling
from i2kit.manifest.reading import Grant, Identity, Reading
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode, described
from i2kit.manifest.tables import kinds
from i2kit.manifest.tables.shape import Record

_KINDS = {verdict.name: (versions, verdict) for versions, verdict in kinds.KINDS}
_VERSIONS = {
    **{
        kind: tuple(one for versions, _ in shapes for one in versions)
        for kind, shapes in kinds.SHAPES.items()
    },
    **{kind: versions for kind, (versions, _) in _KINDS.items()},
}


def is_kubernetes(node: Node) -> bool:
    """Whether a document is meant for Kubernetes: of all else, only a chart of Helm has one of these keys."""
    if not isinstance(node, MappingNode) or "kind" in node.entries:
        return isinstance(node, MappingNode)
    return "apiVersion" in node.entries and PurePath(node.position.file).stem != "Chart"


def read(node: MappingNode, reading: Reading, log: Log) -> None:
    """Add what a document says to the reading."""
    for document in flattened(node, log):
        read_one(document, reading, log)


def read_one(document: MappingNode, reading: Reading, log: Log) -> None:
    """As `read`, of a document that is no List."""
    kind = _kind(document, log)
    if kind is None:
        reading.complete = False
    elif kind in _READERS:
        version = _text(document, "apiVersion") or ""
        shape = next(shape for versions, shape in kinds.SHAPES[kind] if version in versions)
        if record := shape.read(document, "", log):
            _READERS[kind](record, version, reading, log)
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
        hint = "write an Ingress" if group == kinds.GATEWAYS else "leave this document out"
        log.refuse(place, "kind", message, hint, name=kind)
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
    if version not in versions and (kind in _READERS or group not in _groups(kind)):
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
    own = group.endswith(".k8s.io") and group not in kinds.ADDED_GROUPS
    return "." in group and not own and group not in _groups(kind)


def _groups(kind: str) -> set[str]:
    return {version.rpartition("/")[0] for version in _VERSIONS.get(kind, ())}


def _text(node: MappingNode, key: str) -> str | None:
    value = node.get(key)
    return value.value if isinstance(value, ScalarNode) and isinstance(value.value, str) else None


def _autoscaler(record: Record, version: str, reading: Reading, log: Log) -> None:
    metadata, spec = record.record("metadata"), record.record("spec")
    target = spec.record("scaleTargetRef") if spec else None
    if not (metadata and spec and target):
        return
    key = f"{metadata.text('namespace') or 'default'}/{target.text('name') or ''}"
    place = target.place("name"), target.at("name")
    one = scaling.found(spec, key, place, log, old=version == "autoscaling/v2beta1")
    if target.text("name") and target.text("kind"):
        reading.scalers.append(one)


def _other(kind: str, node: MappingNode, reading: Reading, log: Log) -> None:
    verdict = _KINDS[kind][1]
    place = node.entries["kind"][1].position
    if verdict.verdict == "refused":
        log.refuse(place, "kind", f"{kind} {verdict.about}", verdict.hint, name=kind)
        reading.complete = reading.complete and not _has_pods(node)
    elif verdict.verdict == "warned":
        log.warn(place, "kind", f"{kind} {verdict.about}")
    elif kind == "Namespace":
        _namespace(node, reading)
    elif kind in ("RoleBinding", "ClusterRoleBinding"):
        reading.grants.extend(_grants(kind, node))
    elif kind == "ServiceAccount":
        reading.identities.extend(_identities(node))
        token = node.get("automountServiceAccountToken")
        if isinstance(token, ScalarNode) and token.value is False:
            reading.tokenless.append(_account(node))


def _namespace(node: MappingNode, reading: Reading) -> None:
    metadata = node.get("metadata")
    name = _text(metadata, "name") if isinstance(metadata, MappingNode) else None
    labels = metadata.get("labels") if isinstance(metadata, MappingNode) else None
    if name:
        given = labels if isinstance(labels, MappingNode) else MappingNode({}, node.position)
        pairs = ((key, _text(given, key)) for key in given.entries)
        reading.namespaces[name] = tuple((key, value) for key, value in pairs if value is not None)


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
        if not isinstance(subject, MappingNode):
            continue
        of, called = _text(subject, "kind"), _text(subject, "name") or ""
        if of == "ServiceAccount":
            namespace = _text(subject, "namespace") or here or "default"
            yield Grant(f"{namespace}/{called}", f"{kind} `{shown(name)}`")
        elif of == "User" and called.startswith(_ACCOUNT):  # the same in other words
            yield Grant(called.removeprefix(_ACCOUNT).replace(":", "/", 1), f"{kind} `{shown(name)}`")
        elif of == "Group" and called == _ACCOUNTS:
            yield Grant("*", f"{kind} `{shown(name)}`")
        elif of == "Group" and called.startswith(f"{_ACCOUNTS}:"):
            yield Grant(f"{called.removeprefix(f'{_ACCOUNTS}:')}/*", f"{kind} `{shown(name)}`")


def _identities(node: MappingNode) -> Iterator[Identity]:
    metadata = node.get("metadata")
    notes = metadata.get("annotations") if isinstance(metadata, MappingNode) else None
    if not (isinstance(metadata, MappingNode) and isinstance(notes, MappingNode)):
        return
    name, account = _text(metadata, "name") or "", _account(node)
    for note, (what, needed) in _IDENTITIES.items():
        if value := _text(notes, note):
            message = f"ServiceAccount `{shown(name)}` gives these pods {what} `{shown(value)}`"
            yield Identity(account, note, message, needed)


def _account(node: MappingNode) -> str:
    metadata = node.get("metadata")
    if not isinstance(metadata, MappingNode):
        return ""
    return f"{_text(metadata, 'namespace') or 'default'}/{_text(metadata, 'name') or ''}"


_ACCOUNTS = "system:serviceaccounts"
"""The group of all service accounts; with :NAMESPACE, of those in one."""

_ACCOUNT = "system:serviceaccount:"
"""Before NAMESPACE:NAME, how the API server calls a service account."""

_IDENTITIES = {
    "eks.amazonaws.com/role-arn": ("the role", True),
    "iam.gke.io/gcp-service-account": ("the Google account", False),
    "azure.workload.identity/client-id": ("the Azure identity", False),
}
"""By the notes that clouds act on: what it is, and whether a machine of that cloud should have it."""

_READERS: dict[str, Callable[[Record, str, Reading, Log], None]] = {
    "Deployment": workloads.deployment,
    "StatefulSet": workloads.stateful_set,
    "ReplicaSet": workloads.replica_set,
    "ReplicationController": workloads.replica_set,
    "Pod": workloads.bare_pod,
    "Job": jobs.job,
    "CronJob": jobs.cron_job,
    "Service": services.service,
    "Ingress": ingress.ingress,
    "NetworkPolicy": policies.policy,
    "HorizontalPodAutoscaler": _autoscaler,
    "ConfigMap": config.config_map,
    "Secret": config.secret,
    "PersistentVolume": disks.document,
    "PersistentVolumeClaim": claims.document,
}
"""Who reads a kind: its record, its apiVersion."""
