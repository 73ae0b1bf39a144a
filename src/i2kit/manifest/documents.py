"""The documents of one file, each read by itself, with what it is about: its own pods, or others'.

In: the name and the bytes of a file. Out: Documents, and what is wrong with the file as a whole. What
a document is about is taken from the text as it stands: it is known of those that are refused, too. Pure.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from i2kit.errors import Position
from i2kit.manifest import compose, kubernetes, native, source
from i2kit.manifest.around import NOTHING, Around
from i2kit.manifest.compose.merging import DIALECT
from i2kit.manifest.log import Accepted, Log
from i2kit.manifest.reading import Reading
from i2kit.manifest.source import MappingNode, Node, ScalarNode, SequenceNode

NATIVE = "i2kit"
"""The kind of an i2kit manifest, which has none."""

COMPOSE = "compose"
"""That of a service in a compose file."""

MAX_DOCUMENTS = 10_000
"""Of one file: 200 times as many as the largest in common use, read in some seconds."""

_TEMPLATE = ("spec", "template")
KINDS = {
    "Deployment": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", *_TEMPLATE),
    "Pod": (),
}
"""Where each kind of workload describes its pods."""

OFFERS = ("ConfigMap", "Secret", "PersistentVolumeClaim", "PersistentVolume")
"""Kinds that workloads are made of."""


@dataclass(frozen=True, slots=True)
class Pods:
    """What other documents find a workload by."""

    labels: frozenset[tuple[str, str]]
    account: str
    uses: frozenset[tuple[str, str]] = frozenset()
    """What it is made of, as kind and `namespace/name`."""


@dataclass(frozen=True, slots=True)
class Selecting:
    """Is about the pods of its namespace with these labels (an empty `labels` selects all of them)."""

    namespace: str
    labels: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Naming:
    """Is about what is named so, as `namespace/name`: workloads, Services, or service accounts."""

    what: str
    keys: frozenset[str]


Aim = Selecting | Naming


@dataclass(slots=True)
class Document:
    """One document: what it is, what was found wrong with it, and its values as far as it could be read."""

    file: str
    position: Position
    kind: str | None = None
    name: str | None = None
    namespace: str = "default"
    pods: Pods | None = None
    """Of a workload."""
    aim: Aim | None = None
    """Of a document that is about workloads elsewhere."""
    log: Log = field(default_factory=Log)
    reading: Reading = field(default_factory=Reading)

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


def read(
    name: str,
    data: bytes,
    limit: int,
    around: Around = NOTHING,
    overrides: Sequence[tuple[str, bytes]] = (),
    accepted: Accepted | None = None,
) -> tuple[list[Document], Log, bool]:
    """The documents of a file, what is wrong with it beside them, and whether it could be read to its end.

    `limit` is how many problems are told of each document. A compose file has one for each service, read
    with its `overrides` (name, contents) and what is `around` it.
    """
    loaded = source.load(name, data)
    log = Log(limit, accepted)
    found: list[Document] = []
    if any(map(native.is_compose, loaded.documents)):
        loaded = source.load(name, data, dialect=DIALECT)
        composed = [node for node in loaded.documents if native.is_compose(node)]
        others = tuple(node for node in loaded.documents if not native.is_compose(node))
        for override in overrides:
            more = source.load(*override, dialect=DIALECT)
            composed.extend(node for node in more.documents if native.is_compose(node))
            log.add((*more.problems, *([more.end] if more.end else ())))
        found.extend(_services(composed, around, limit, log))
        loaded = replace(loaded, documents=others)
    for node in _flattened(loaded.documents, log):
        if len(found) == MAX_DOCUMENTS:
            log.problem(node.position, "", f"more than {MAX_DOCUMENTS:,} documents in one file", "split it")
            return [], log, False
        found.append(_document(node, Log(limit, accepted)))
    starts = sorted((one.position, index) for index, one in enumerate(found))
    for problem in loaded.problems:
        at = bisect_right(starts, (problem.position or Position(name, 1, 1), len(found))) - 1
        holder = found[starts[at][1]].log if at >= 0 else log
        holder.problem(problem.position, "", problem.message, problem.hint)
    if loaded.end:
        log.add([loaded.end])
    return found, log, loaded.end is None


def is_compose(name: str, data: bytes) -> bool:
    """Whether a file is a compose file, and nothing else."""
    found = source.load(name, data).documents
    return bool(found) and all(map(native.is_compose, found))


def _flattened(nodes: Iterable[Node], log: Log) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node, MappingNode) and kubernetes.is_kubernetes(node):
            yield from kubernetes.flattened(node, log)
        else:
            yield node


def _document(node: Node, log: Log) -> Document:
    if isinstance(node, MappingNode) and kubernetes.is_kubernetes(node):
        return _kubernetes(node, log)
    return _native(node, log)


def _kubernetes(node: MappingNode, log: Log) -> Document:
    kind, own = kubernetes.kind_of(node)
    metadata = _at(node, "metadata")
    found = Document(
        node.position.file,
        node.position,
        kind,
        _text(_at(metadata, "name")),
        _text(_at(metadata, "namespace")) or "default",
        log=log,
    )
    if own and kind in KINDS:
        template = _at(node, *KINDS[kind])
        spec = _at(template, "spec")
        account = _text(_at(spec, "serviceAccountName")) or _text(_at(spec, "serviceAccount")) or "default"
        found.pods = Pods(_labels(_at(template, "metadata", "labels")), f"{found.namespace}/{account}")
    kubernetes.read_one(node, found.reading, log)
    _add_uses(found)
    if own and kind:
        found.aim = _aim(kind, node, found)
    return found


def _services(nodes: Sequence[MappingNode], around: Around, limit: int, log: Log) -> Iterator[Document]:
    """The services of a compose file; what is wrong around them is wrong with each."""
    shared = Log(limit, log.accepted)
    read = compose.services(nodes, around, shared)
    for one in read:
        found = Document(nodes[0].position.file, one.position, COMPOSE, one.name, reading=one.reading)
        found.log = Log(limit, log.accepted)
        found.log.take(one.log)
        found.log.take(shared)
        found.pods = Pods(frozenset([("app", one.name)]), "default/")
        yield found
    if not read:
        log.take(shared)


def _native(node: Node, log: Log) -> Document:
    found = Document(node.position.file, node.position, log=log)
    if isinstance(node, MappingNode) and "containers" in node.entries:
        found.kind, found.name = NATIVE, _text(node.get("name"))
        found.namespace = _text(node.get("namespace")) or "default"
        labels = dict(_labels(_at(node, "labels")))
        labels.setdefault("app", found.name or "")
        found.pods = Pods(frozenset(labels.items()), f"{found.namespace}/")
    native.read(node, found.reading, log)
    _add_uses(found)
    return found


def _add_uses(document: Document) -> None:
    if document.pods:
        uses = frozenset(
            (one.kind, f"{document.namespace}/{one.name}")
            for needs in document.reading.needs
            for one in (*needs.references, *needs.logins)
        ) | frozenset(
            ("PersistentVolumeClaim", f"{document.namespace}/{one.claim}")
            for needs in document.reading.needs
            for one in needs.claims
        )
        document.pods = replace(document.pods, uses=uses)


def _aim(kind: str, node: MappingNode, document: Document) -> Aim | None:
    namespace = document.namespace
    if kind == "Service":
        labels = _labels(_at(node, "spec", "selector"))
        return Selecting(namespace, labels) if labels else None
    if kind == "PodDisruptionBudget":
        return Selecting(namespace, _labels(_at(node, "spec", "selector", "matchLabels")))
    if kind == "NetworkPolicy":
        return Selecting(namespace, _labels(_at(node, "spec", "podSelector", "matchLabels")))
    if kind == "HorizontalPodAutoscaler":
        name = _text(_at(node, "spec", "scaleTargetRef", "name"))
        return Naming("workload", frozenset([f"{namespace}/{name}"])) if name else None
    if kind == "Ingress":
        names = frozenset(f"{namespace}/{name}" for name in _backends(node))
        return Naming("service", names) if names else None
    reading = document.reading
    accounts = frozenset(
        [
            *(one.account for one in reading.grants),
            *(one.account for one in reading.identities),
            *reading.tokenless,
        ]
    )
    return Naming("account", accounts) if accounts else None


def _backends(node: MappingNode) -> Iterator[str]:
    """The names of the Services that an Ingress leads to, in any of its versions."""
    spec = _at(node, "spec")
    backends = [_at(spec, "defaultBackend"), _at(spec, "backend")]
    for rule in _items(_at(spec, "rules")):
        backends.extend(_at(path, "backend") for path in _items(_at(rule, "http", "paths")))
    for backend in backends:
        if name := _text(_at(backend, "serviceName")) or _text(_at(backend, "service", "name")):
            yield name


def _at(node: Node | None, *keys: str) -> Node | None:
    for key in keys:
        node = node.get(key) if isinstance(node, MappingNode) else None
    return node


def _text(node: Node | None) -> str | None:
    return node.value if isinstance(node, ScalarNode) and isinstance(node.value, str) else None


def _items(node: Node | None) -> Iterable[Node]:
    return node.items if isinstance(node, SequenceNode) else ()


def _labels(node: Node | None) -> frozenset[tuple[str, str]]:
    entries = node.entries.items() if isinstance(node, MappingNode) else ()
    return frozenset((key, value) for key, (_, one) in entries if (value := _text(one)) is not None)
