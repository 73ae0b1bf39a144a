"""The i2kit manifest (the paper's Fig. 5): a pod and how many of it, in the fewest words.

In: one document. Out: a Workload, gathered in a Reading. Pure.
"""

from dataclasses import replace
from pathlib import PurePath
from typing import TypeGuard

from i2kit.manifest import pods
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.pods import rollout, scaling
from i2kit.manifest.reading import Reading
from i2kit.manifest.source import MappingNode, Node, SequenceNode, described
from i2kit.manifest.tables import kinds
from i2kit.manifest.tables.shape import Record


def read(node: Node, reading: Reading, log: Log) -> None:
    """Add the workload of a document that is not Kubernetes' to the reading."""
    record = _record(node, log)
    if record is None:
        reading.complete = False
        return
    if record.is_wrong("labels"):
        reading.complete = False
    name = record.text("name") or ""
    namespace = record.text("namespace") or "default"
    head = pods.Head(
        name=name,
        namespace=namespace,
        labels=tuple({"app": name, **dict(record.pairs("labels"))}.items()),
        annotations=dict(record.pairs("annotations")),
        account="default",
        position=record.place("name"),
    )
    found = pods.assemble(head, record, reading, log)
    replicas = record.whole("replicas")
    if scaler := record.record("autoscaling"):
        place = record.place("autoscaling"), scaler.path
        reading.scalers.append(scaling.found(scaler, f"{namespace}/{name}", place, log, own=True))
    min_ready_s, deadline_s = rollout.times(record, log)
    reading.add(
        replace(
            found.workload,
            replicas=1 if replicas is None else replicas,
            public=record.flag("public") or False,
            certificate=record.text("certificate"),
            instance_type=record.text("instanceType"),
            strategy=rollout.strategy(record, log),
            min_ready_s=min_ready_s,
            progress_deadline_s=deadline_s,
        ),
        found.needs,
    )


def is_compose(node: Node) -> TypeGuard[MappingNode]:
    """Whether a document is a compose file's: nothing else has services or `include`."""
    return (
        isinstance(node, MappingNode)
        and (isinstance(node.get("services"), MappingNode) or isinstance(node.get("include"), SequenceNode))
        and node.entries.keys().isdisjoint(("apiVersion", "kind", "containers", "kernel"))
    )


def _record(node: Node, log: Log) -> Record | None:
    if not isinstance(node, MappingNode):
        hint = "begin with name: and containers:, or with apiVersion: and kind:"
        log.problem(node.position, "", f"a manifest is a mapping and this is {described(node)}", hint)
        return None
    if strange := _something_else(node):
        log.problem(node.position, "", *strange)
        return None
    return kinds.NATIVE.read(node, "", log)


def _something_else(node: MappingNode) -> tuple[str, str] | None:
    """The formats that lie beside manifests and get in by a folder or by mistake."""
    if "containers" in node.entries:
        return None
    file = PurePath(node.position.file).stem
    if file.removeprefix("docker-").startswith("compose") and "name" not in node.entries:
        return (
            "looks like a compose file, but has no mapping `services`",
            "write them below services:",
        )
    if {"kernel", "init"} <= node.entries.keys():
        return (
            "looks like a LinuxKit template, which is no manifest",
            "to build it, give it without -f: i2kit build TEMPLATE",
        )
    if file == "kustomization":
        return "is not a manifest but says how to make one", "kustomize build DIR | i2kit deploy -f -"
    if file == "Chart" or (file == "values" and "name" not in node.entries):
        return (
            "looks like a part of a Helm chart",
            "render the chart first: helm template DIR | i2kit deploy -f -",
        )
    known = {field.name for field in kinds.NATIVE.fields}
    others = [key for key in node.entries if key not in known]
    if others and not any(did_you_mean(key, ["containers"]) for key in others[:20]):
        return (
            "is no manifest: it has neither `kind` nor `containers`",
            "begin with name: and containers:, or with apiVersion: and kind:",
        )
    return None
