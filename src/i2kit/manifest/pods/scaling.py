"""HorizontalPodAutoscalers, and what an i2kit manifest says in their place.

In: records of the tables in `scaling_fields`. Out: each workload's Scaling, joined when all documents are
there, and problems in the log, by the rules of Kubernetes' API server and of its controller. Pure.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Followed, FoundScaler, Reading
from i2kit.manifest.tables.scaling_fields import OTHER_METRICS
from i2kit.manifest.tables.shape import Record
from i2kit.model import Metric, Scaling, Workload

_DEFAULT = Metric("cpu", percent=80)
_RESOURCES: tuple[Literal["cpu", "memory"], ...] = ("cpu", "memory")
_PERCENT = "targetCPUUtilizationPercentage"
_SOURCES = (*_RESOURCES, _PERCENT, "metrics")
_WORDS = ("averageUtilization", "averageValue")
_OLD_WORDS = ("targetAverageUtilization", "targetAverageValue")


def found(
    spec: Record,
    key: str,
    place: tuple[Position, str],
    log: Log,
    *,
    old: bool = False,
    own: bool = False,
) -> FoundScaler:
    """What a record with minReplicas and so on asks for, for the workload of this key.

    `old` are the words of autoscaling/v2beta1, `own` is a manifest of ours.
    """
    least, most = spec.whole("minReplicas") or 1, spec.whole("maxReplicas") or 0
    if 0 < most < least:
        message = f"must be at least minReplicas ({least}) and is {most}"
        log.problem(spec.place("maxReplicas"), spec.at("maxReplicas"), message)
    followed = tuple(_metrics(spec, _OLD_WORDS if old else _WORDS, log))
    if not followed and not spec.items("metrics") and not any(map(spec.is_wrong, _SOURCES)):
        followed = (Followed(_DEFAULT, spec.position, spec.path),)
    down, up = _window(spec, "scaleDown"), _window(spec, "scaleUp")
    scaling = Scaling(
        least=least,
        most=most,
        metrics=tuple(one.metric for one in followed),
        down_window_s=300 if down is None else down,
        up_window_s=0 if up is None else up,
    )
    return FoundScaler(key, scaling, *place, followed, own)


def join(reading: Reading, log: Log) -> None:
    """Give each workload its scaling."""
    by_key: dict[str, list[Workload]] = {}
    for workload in reading.workloads:
        by_key.setdefault(workload.key, []).append(workload)
    first: dict[str, Position] = {}
    scalings: dict[str, Scaling] = {}
    for one in reading.scalers:
        workloads = by_key.get(one.target, ())
        if not workloads:
            _lost(one, reading, log)
        elif workloads[0].stateful or workloads[0].job:
            what = "keeps the number of its machines" if workloads[0].stateful else "is meant to end"
            message = f"`{one.target}` {what}: a deployment can follow how busy it is"
            log.problem(one.position, one.path, message, "leave the autoscaler out")
        elif one.target in first:
            message = (
                f"deployment `{one.target}` has an autoscaler already; the first is at {first[one.target]}"
            )
            log.problem(one.position, one.path, message, "leave one of them; it may have several metrics")
        else:
            first[one.target] = one.position
            known = one.target not in reading.unsized
            scalings[one.target] = _measured(one, workloads[0], log) if known else one.scaling
    reading.workloads[:] = [_scaled(each, scalings.get(each.key), log) for each in reading.workloads]


def _scaled(workload: Workload, scaling: Scaling | None, log: Log) -> Workload:
    if scaling and workload.replicas == 0 and workload.position:
        # As in Kubernetes, where this is how an autoscaler is switched off.
        message = "is not scaled by its autoscaler while it has `replicas: 0`"
        log.warn(workload.position, f"deployment `{workload.key}`", message)
        return workload
    if scaling and not scaling.metrics:
        # Kubernetes keeps to the limits without a metric, too (horizontal.go, reconcileAutoscaler).
        return replace(workload, replicas=min(max(workload.replicas, scaling.least), scaling.most))
    return replace(workload, scaling=scaling)


def _lost(one: FoundScaler, reading: Reading, log: Log) -> None:
    if not reading.complete or log.full:
        return
    namespace, _, name = one.target.partition("/")
    here = [workload.name for workload in reading.workloads if workload.namespace == namespace]
    elsewhere = [workload.namespace for workload in reading.workloads if workload.name == name]
    hint = "give the deployment's file too, with another -f"
    if elsewhere:
        hint = f"deployment `{name}` is in namespace `{elsewhere[0]}`"
    elif here:
        hint = f"those here are {', '.join(here[:3])}; {hint}"
    message = f"there is no deployment `{name}` in namespace `{namespace}` of these files"
    log.problem(one.position, one.path, message, hint)


def _measured(one: FoundScaler, workload: Workload, log: Log) -> Scaling:
    """The scaling by what can be measured. By the rest, Kubernetes does not scale either."""
    metrics = []
    for followed in one.followed:
        message = _no_requests(followed.metric, workload)
        if message and not one.own:
            log.warn(followed.position, followed.path, f"has no effect, as in Kubernetes: {message}")
            continue
        if message:
            example = f"resources: {{requests: {{{followed.metric.resource}: …}}}}"
            hint = f"give each container {example}, or follow an amount"
            log.problem(followed.position, followed.path, message, hint)
        metrics.append(followed.metric)
    return replace(one.scaling, metrics=tuple(metrics))


def _no_requests(metric: Metric, workload: Workload) -> str | None:
    """What is wrong where a percentage is of nothing.

    It is of what every container requests (pod autoscaler's calculatePodRequests).
    """
    if metric.percent is None:
        return None
    without = [
        container.name
        for container in workload.running
        if (
            container.resources.cpu_request_millis or container.resources.cpu_limit_millis
            if metric.resource == "cpu"
            else container.resources.memory_request_bytes or container.resources.memory_limit_bytes
        )
        is None
    ]
    if not without:
        return None
    names = ", ".join(f"`{name}`" for name in without[:5])
    return (
        f"{metric.percent}% is of the {metric.resource} that the containers of deployment"
        f" `{workload.name}` request, and {names} {'requests' if len(without) == 1 else 'request'} none"
    )


def _metrics(spec: Record, words: tuple[str, str], log: Log) -> Iterator[Followed]:
    for name in _RESOURCES:
        if load := spec.amount(name):
            percent, value = (load.number, None) if load.percent else (None, load.number)
            yield Followed(Metric(name, percent, value), spec.place(name), spec.at(name))
    if percent := spec.whole(_PERCENT):
        yield Followed(Metric("cpu", percent), spec.place(_PERCENT), spec.at(_PERCENT))
    for record in spec.items("metrics"):
        if followed := _metric(record, words, log):
            yield followed


def _metric(record: Record, words: tuple[str, str], log: Log) -> Followed | None:
    if record.text("type") != "Resource":
        return None  # a problem already
    if others := [name for name in OTHER_METRICS if record.has(name)]:
        message = "does not belong to a metric of type Resource"
        log.problem(record.place(others[0]), record.at(others[0]), message, "make two metrics of it")
    resource = record.record("resource")
    if resource is None:
        if not record.has("resource"):
            hint = "write resource: {name: cpu, …}"
            log.problem(record.position, record.path, "`resource` is missing", hint)
        return None
    holder = resource if words == _OLD_WORDS else resource.record("target")
    return _target(resource, holder, words, log) if holder else None


def _target(resource: Record, holder: Record, words: tuple[str, str], log: Log) -> Followed | None:
    given = [word for word in words if holder.has(word)]
    if holder.is_wrong("type"):
        return None
    if len(given) != 1:
        message = "has both a percentage and an amount" if given else "does not say where to keep it"
        hint = "leave one of them" if given else f"such as {words[0]}: 80"
        log.problem(holder.position, holder.path, message, hint)
        return None
    name, number = resource.text("name"), holder.whole(given[0])
    kind = next((one for one in _RESOURCES if one == name), None)
    if kind is None or number is None:
        return None
    if given[0] == words[0]:
        metric = Metric(kind, percent=number)
    else:
        # Quantities of unknown kind are in thousandths: right for processors, too fine for memory.
        metric = Metric(kind, value=number if kind == "cpu" else -(-number // 1000))
    return Followed(metric, holder.place(given[0]), holder.at(given[0]))


def _window(spec: Record, direction: str) -> int | None:
    behavior = spec.record("behavior")
    rules = behavior.record(direction) if behavior else None
    return rules.whole("stabilizationWindowSeconds") if rules else None
