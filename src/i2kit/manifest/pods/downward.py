"""Variables whose value is a field of the pod or of a container's resources (Kubernetes' downward API).

In: records of `valueFrom`, and what is known of the pod. Out: the text that stands in the variable's place.
What depends on the pod's own name or labels is not part of it: a machine image has `model.field_word` there.
Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from i2kit.manifest.log import Log
from i2kit.manifest.places import shown
from i2kit.manifest.tables import names
from i2kit.manifest.tables.shape import Record
from i2kit.model import Pairs, field_word

OF_A_MACHINE = (
    "metadata.name",
    "metadata.uid",
    "spec.nodeName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
"""What each machine knows of itself."""

OF_A_POD = ("metadata.namespace", "spec.serviceAccountName")
_ALL = ("metadata.labels", "metadata.annotations")
_ESCAPED = (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("\r", "\\r"))
_ENTRY = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


@dataclass(slots=True)
class Pod:
    """What a pod's variables can be made of. `used` are the fields that machines must be told for them."""

    namespace: str
    account: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    containers: Mapping[str, Record]
    used: dict[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> Pairs:
        return tuple(sorted(self.used.items()))


def value(source: Record, holder: Record, pod: Pod, log: Log) -> str:
    """The text for the `valueFrom` of a variable; empty where it is wrong, which is in the log by then."""
    if one := source.record("fieldRef"):
        return _field(one, pod, log)
    if one := source.record("resourceFieldRef"):
        return _resource(one, holder, pod, log)
    return ""


def file(item: Record, pod: Pod, log: Log) -> str:
    """The text of a file of a volume."""
    given = [word for word in ("fieldRef", "resourceFieldRef") if item.has(word)]
    if len(given) != 1:
        message = "has no field" if not given else "has two fields: fieldRef and resourceFieldRef"
        log.problem(item.position, item.path, message, "give it one of fieldRef and resourceFieldRef")
    elif one := item.record("fieldRef"):
        path = one.text("fieldPath")
        if path in _ALL:
            pairs = pod.labels if path == "metadata.labels" else pod.annotations
            pod.used[path] = "\n".join(f"{key}={_quoted(text)}" for key, text in sorted(pairs.items()))
            return field_word(path)
        if path is not None and not path.startswith("metadata."):
            message = f"`{shown(path)}` is not a field of a pod that a file can have"
            hint = "these are the fields of metadata"
            log.problem(one.place("fieldPath"), one.at("fieldPath"), message, hint)
            return ""
        return _field(one, pod, log)
    elif one := item.record("resourceFieldRef"):
        if one.has("containerName"):
            return _resource(one, one, pod, log)
        log.problem(one.position, one.path, "`containerName` is missing", "such as containerName: web")
    return ""


def _quoted(text: str) -> str:
    """As Go's %q, which Kubernetes writes (fieldpath, FormatMap)."""
    for plain, written in _ESCAPED:
        text = text.replace(plain, written)
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text) + '"'


def _field(record: Record, pod: Pod, log: Log) -> str:
    path = record.text("fieldPath")
    if path is None:
        return ""
    entry = _ENTRY.fullmatch(path)
    if path == "metadata.namespace":
        pod.used[path] = pod.namespace
    elif path == "spec.serviceAccountName":
        pod.used[path] = pod.account
    elif entry and names.label_key(entry[2]) is None:
        known = pod.labels if entry[1] == "labels" else pod.annotations
        pod.used[path] = known.get(entry[2], "")
    elif path not in OF_A_MACHINE:
        fields = ", ".join((*OF_A_MACHINE, *OF_A_POD, "metadata.labels['KEY'], metadata.annotations['KEY']"))
        message = f"`{shown(path)}` is not a field of a pod that a variable can have"
        log.problem(record.place("fieldPath"), record.at("fieldPath"), message, f"these are: {fields}")
        return ""
    if path in ("status.hostIP", "status.hostIPs"):
        message = "is the machine's own address: there is no node, and nothing that answers on one"
        log.warn(record.place("fieldPath"), record.at("fieldPath"), message)
    return field_word(path)


def _resource(record: Record, holder: Record, pod: Pod, log: Log) -> str:
    """The amount in whole divisors, rounded up (Kubernetes, api/v1/resource, convertResource…ToString)."""
    wanted, name = record.text("resource"), record.text("containerName")
    if wanted is None:
        return ""
    if name and name not in pod.containers:
        message = f"this pod has no container `{shown(name)}`"
        log.problem(record.place("containerName"), record.at("containerName"), message)
        return ""
    resources = (pod.containers[name] if name else holder).record("resources")
    kind, what = wanted.split(".")
    limits, requests = (resources.record(one) if resources else None for one in ("limits", "requests"))
    amount = (limits.whole(what) or None) if limits else None
    if kind == "requests":
        asked = requests.whole(what) if requests else None
        amount = (amount or 0) if asked is None else asked
    if amount is None:
        message = f"the container has no {wanted}, and the size of its machine is not known yet"
        hint = f"give it resources: {{limits: {{{what}: …}}}}"
        log.problem(record.place("resource"), record.at("resource"), message, hint)
        return ""
    millis = amount if what == "cpu" else amount * 1000
    return str(-(-millis // (record.whole("divisor") or 1000)))
