"""A container's environment: what its variables are, or which ConfigMap or Secret says it.

In: records of the tables in `fields`. Out: Variables as written, which `resolve` fills in. Pure.
"""

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.pods import downward
from i2kit.manifest.reading import ConfigKind, Reference, Variables
from i2kit.manifest.tables.shape import Record, named

_KINDS: tuple[tuple[str, ConfigKind], ...] = (("configMap", "ConfigMap"), ("secret", "Secret"))


def variables(holder: Record, pod: downward.Pod, log: Log) -> Variables:
    """Those of the container `holder`, in either form of a manifest."""
    return Variables(tuple(_every(holder, log)), tuple(_each(holder, pod, log)))


def reference(kind: ConfigKind, record: Record) -> Reference | None:
    """What refers by `name`, and `key` where there is one; None where it is wrong."""
    name, key = record.text("name"), record.text("key")
    if name is None or ("key" in record.places and key is None):
        return None
    return Reference(
        kind,
        name,
        record.place("name"),
        record.at("name"),
        key,
        record.flag("optional") or False,
        record.places.get("key"),
        record.at("key"),
    )


def _every(holder: Record, log: Log) -> list[tuple[str, Reference]]:
    found = []
    for source in holder.items("envFrom"):
        given = [(kind, one) for word, kind in _KINDS if (one := source.record(f"{word}Ref"))]
        if not any(source.has(f"{word}Ref") for word, _ in _KINDS):
            hint = "write configMapRef: {name: NAME} or secretRef: {name: NAME}"
            log.problem(source.position, source.path, "names nothing to take variables from", hint)
        elif len(given) > 1:
            message = "cannot have both configMapRef and secretRef"
            log.problem(source.position, source.path, message, "write an item for each")
        for kind, one in given[:1]:
            if (wanted := reference(kind, one)) and not source.is_wrong("prefix"):
                found.append((source.text("prefix") or "", wanted))
    return found


def _each(holder: Record, pod: downward.Pod, log: Log) -> list[tuple[str, str | Reference]]:
    found: list[tuple[str, str | Reference]] = []
    first: dict[str, Position] = {}
    for name, variable in named(holder, "env"):
        if not name:
            continue
        if name in first:
            message = f"`{name}` is given twice and the last counts; the first is at {first[name]}"
            log.warn(variable.place("name"), variable.at("name"), message)
        first.setdefault(name, variable.place("name"))
        source = variable.record("valueFrom")
        found.append((name, _value(variable, source, holder, pod, log) if source else _text(variable)))
    return found


def _text(variable: Record) -> str:
    return variable.text("value") or ""


def _value(variable: Record, source: Record, holder: Record, pod: downward.Pod, log: Log) -> str | Reference:
    path = variable.at("valueFrom")
    if not source.places:
        log.problem(source.position, path, "is empty", "write value: VALUE")
    elif variable.text("value"):
        log.problem(source.position, path, "cannot be beside `value`", "leave one out")
    elif len(source.places) > 1:
        message = f"takes the value from {len(source.places)} places: {', '.join(source.places)}"
        log.problem(source.position, path, message, "leave one of them")
    for word, kind in _KINDS:
        if one := source.record(f"{word}KeyRef"):
            return reference(kind, one) or ""
    return downward.value(source, holder, pod, log)
