"""Deployments, and the checks that all kinds of workloads share.

In: one document as a record. Out: a Workload, gathered in a Reading. Pure.
"""

from dataclasses import replace

from i2kit.manifest import pods, rollout
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Reading
from i2kit.manifest.shape import Record
from i2kit.model import Pairs


def deployment(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Deployment of any version."""
    metadata, spec = record.record("metadata"), record.record("spec")
    template = spec.record("template") if spec else None
    body = template.record("spec") if template else None
    if not (metadata and spec and template and body):
        reading.complete = False
        return
    head = template.record("metadata")
    if not (head and head.is_wrong("labels")):
        labels = head.pairs("labels") if head else ()
        _check_selector(version, spec, template, labels, log)
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
