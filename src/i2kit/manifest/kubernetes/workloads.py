"""Deployments, StatefulSets, ReplicaSets, ReplicationControllers, bare Pods: what runs until it is destroyed.

In: one document as a record. Out: a Workload, gathered in a Reading. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from i2kit.manifest import pods
from i2kit.manifest.kubernetes import claims
from i2kit.manifest.log import Log
from i2kit.manifest.pods import rollout
from i2kit.manifest.reading import Domain, Reading
from i2kit.manifest.tables.shape import Record
from i2kit.model import Amount, Job, Pairs, Strategy, Volume

FOREVER = 2**31 - 1
"""Failures of a pod whose containers are restarted as often as they fail."""


@dataclass(frozen=True, slots=True)
class _Controller:
    """The parts of a document that makes pods of a template."""

    metadata: Record
    spec: Record
    template: Record
    body: Record

    @property
    def head(self) -> Record | None:
        return self.template.record("metadata")

    @property
    def labels(self) -> Pairs:
        return self.head.pairs("labels") if self.head else ()

    @property
    def replicas(self) -> int:
        replicas = self.spec.whole("replicas")
        return 1 if replicas is None else replicas

    def read(self, reading: Reading, log: Log, *, disks: Sequence[Volume] = ()) -> pods.Found:
        return pods.read(self.metadata, self.head, self.body, reading, log, claims=disks)


def deployment(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Deployment of any version."""
    if one := _controller(record, version, reading, log):
        found = one.read(reading, log)
        min_ready_s, deadline_s = rollout.times(one.spec, log)
        workload = replace(
            found.workload,
            replicas=one.replicas,
            strategy=rollout.strategy(one.spec, log),
            min_ready_s=min_ready_s,
            progress_deadline_s=deadline_s,
        )
        reading.add(workload, found.needs)


def stateful_set(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A StatefulSet of any version: machines with numbers, and disks of their own."""
    if not (one := _controller(record, version, reading, log)):
        return
    disks = claims.templates(one.spec.items("volumeClaimTemplates"), log)
    found = one.read(reading, log, disks=disks)
    strategy = one.spec.record("updateStrategy")
    if strategy and strategy.text("type") == "OnDelete":
        message = "`OnDelete` has no effect: an update replaces the machines, one after the other"
        log.warn(strategy.place("type"), strategy.at("type"), message)
        if bounds := strategy.record("rollingUpdate"):
            log.problem(bounds.position, bounds.path, "has no meaning with type: OnDelete", "leave it out")
    if service := one.spec.text("serviceName"):
        place = one.spec.place("serviceName"), one.spec.at("serviceName")
        reading.domains.append(Domain(f"{found.workload.namespace}/{service}", found.workload.name, *place))
    workload = replace(
        found.workload,
        replicas=one.replicas,
        stateful=True,
        subdomain=one.spec.text("serviceName") or None,
        # One at a time, as Kubernetes does it.
        strategy=Strategy(max_surge=Amount(0), max_unavailable=Amount(1)),
        min_ready_s=one.spec.whole("minReadySeconds") or 0,
    )
    reading.add(workload, found.needs)


def replica_set(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A ReplicaSet of any version, or a ReplicationController: a Deployment with nothing said of updates."""
    if one := _controller(record, version, reading, log):
        found = one.read(reading, log)
        ready_s = one.spec.whole("minReadySeconds") or 0
        reading.add(replace(found.workload, replicas=one.replicas, min_ready_s=ready_s), found.needs)


def bare_pod(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Pod: a machine that is replaced when it is lost, or one that is meant to end."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if not (metadata and spec):
        reading.complete = False
        return
    found = pods.read(metadata, metadata, spec, reading, log)
    restart, deadline = spec.text("restartPolicy") or "Always", spec.whole("activeDeadlineSeconds")
    job = None
    if restart != "Always":
        retry = restart == "OnFailure"
        job = Job(most_failures=FOREVER if retry else 0, retry=retry, deadline_s=deadline)
    elif deadline is not None and not spec.is_wrong("restartPolicy"):
        place = spec.place("activeDeadlineSeconds"), spec.at("activeDeadlineSeconds")
        message = "is not possible: a pod with restartPolicy: Always runs until it is destroyed"
        log.problem(*place, message, "leave it out, or use restartPolicy: Never")
    reading.add(replace(found.workload, job=job), found.needs)


def _controller(record: Record, version: str, reading: Reading, log: Log) -> _Controller | None:
    metadata, spec = record.record("metadata"), record.record("spec")
    template = spec.record("template") if spec else None
    body = template.record("spec") if template else None
    if not (metadata and spec and template and body):
        reading.complete = False
        return None
    one = _Controller(metadata, spec, template, body)
    if not (one.head and one.head.is_wrong("labels")):
        if isinstance(spec.values.get("selector"), tuple):
            _check_labels(spec, "selector", template, one.labels, log)
        else:
            _check_selector(version, spec, template, one.labels, log)
    return one


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
    _check_labels(selector, "matchLabels", template, labels, log)
    for expression in expressions:
        if not _holds(expression, dict(labels)):
            log.problem(expression.position, expression.path, "is not met by the template's labels")


def _check_labels(holder: Record, name: str, template: Record, labels: Pairs, log: Log) -> None:
    given = dict(labels)
    for key, value in holder.pairs(name):
        if given.get(key) != value:
            has = f"have {key}: {given[key]}" if key in given else f"have no label `{key}`"
            message = f"selects {key}: {value}, but the template's labels {has}"
            hint = f"write {key}: {value} into {template.at('metadata')}.labels too"
            log.problem(holder.place(name), holder.at(name), message, hint)


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
