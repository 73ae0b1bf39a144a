"""Volumes and where containers see them, by the rules of Kubernetes' API server.

In: records of the tables in `volume_fields`. Out: volumes, or what other documents have to say of them, and
mounts. Pure. Source: Kubernetes, core/validation, ValidateVolumes and ValidateVolumeMounts.
"""

from collections.abc import Iterator, Sequence

from i2kit.errors import Position
from i2kit.manifest.log import Log, did_you_mean
from i2kit.manifest.pods import downward
from i2kit.manifest.reading import ConfigKind, MadeOf, NamedClaim, NeededVolume, Part, Reference
from i2kit.manifest.tables.shape import Record, named
from i2kit.model import Claim, File, Mount, Scratch, Volume

DEFAULT_MODE = 0o644


def volumes(
    body: Record, owner: str, known: downward.Pod, taken: Sequence[str], log: Log
) -> tuple[NeededVolume, ...]:
    """The volumes of the pod that `body` describes, of a document named `owner`; `taken` are others."""
    found: list[NeededVolume] = []
    first: dict[str, Position] = {}
    for name, record in named(body, "volumes"):
        if name and name in first:
            message = f"`{name}` is given twice; the first is at {first[name]}"
            log.problem(record.place("name"), record.at("name"), message, "give each volume its own name")
        elif name:
            first[name] = record.place("name")
            # A template of claims takes the place of a volume with its name (stateful_set_utils.go).
            if name not in taken and (one := _volume(name, record, owner, known, log)):
                found.append(one)
    return tuple(found)


def mounts(holder: Record, declared: Sequence[str], log: Log) -> tuple[tuple[Mount, ...], tuple[int, ...]]:
    """What a container sees of the `declared` volumes, and which of it has variables in its sub_path."""
    found: list[Mount] = []
    expressions: list[int] = []
    first: dict[str, Position] = {}
    for record in holder.items("volumeMounts"):
        name, path = record.text("name"), record.text("mountPath")
        if name is not None and name not in declared:
            hint = None if log.full else did_you_mean(name, list(declared)[:100])
            hint = hint or (
                f"its volumes: {', '.join(declared[:10])}" if declared else "declare it in volumes:"
            )
            log.problem(record.place("name"), record.at("name"), f"the pod has no volume `{name}`", hint)
            name = None
        if path is not None:
            path = "/" + path.strip("/")
            if path in first:
                message = f"`{path}` is taken already, at {first[path]}"
                log.problem(record.place("mountPath"), record.at("mountPath"), message, "use another path")
            first.setdefault(path, record.place("mountPath"))
        expression = record.text("subPathExpr")
        if record.text("subPath") and expression:
            message = "cannot be beside `subPath`"
            log.problem(record.place("subPathExpr"), record.at("subPathExpr"), message, "leave one out")
        if record.text("recursiveReadOnly") in ("Enabled", "IfPossible") and not record.flag("readOnly"):
            place = record.place("recursiveReadOnly"), record.at("recursiveReadOnly")
            log.problem(*place, "needs readOnly: true", "leave it out")
        if name is None or path is None:
            continue
        if expression:
            expressions.append(len(found))
        sub_path = expression or record.text("subPath") or ""
        found.append(Mount(name, path, sub_path, record.flag("readOnly") or False))
    return tuple(found), tuple(expressions)


def _volume(name: str, record: Record, owner: str, known: downward.Pod, log: Log) -> NeededVolume | None:
    given = [word for word in record.places if word != "name"]
    if len(given) > 1:
        message = f"is {len(given)} volumes at once: {', '.join(given)}"
        log.problem(record.position, record.path, message, "leave one of them")
        return None
    if not given:
        return Volume(name, Scratch())
    one = record.record(given[0])
    if one is None:
        return None
    match given[0]:
        case "emptyDir":
            return Volume(name, Scratch(one.text("medium") == "Memory", one.whole("sizeLimit") or None))
        case "persistentVolumeClaim":
            claim = one.text("claimName")
            place = one.place("claimName"), one.at("claimName")
            return NamedClaim(name, claim, one.flag("readOnly") or False, *place) if claim else None
        case "claim":
            kind = one.text("storageClassName") or None
            made = Claim(one.text("name") or f"{owner}-{name}", one.whole("size") or 0, kind=kind)
            return NamedClaim(name, made.name, False, one.position, one.path, made)
        case "projected":
            return MadeOf(name, tuple(_projected(one, known, log)))
        case word:
            return MadeOf(name, tuple(_parts(word, one, _mode(one), known, log)))


def _projected(volume: Record, known: downward.Pod, log: Log) -> Iterator[Part | File]:
    for source in volume.items("sources"):
        given = [word for word in ("configMap", "secret", "downwardAPI") if source.has(word)]
        if len(given) > 1:
            message = f"is {len(given)} sources at once: {', '.join(given)}"
            log.problem(source.position, source.path, message, "write an item for each")
        elif not source.places:
            log.problem(source.position, source.path, "names no source", "such as configMap: {name: NAME}")
        for word in given[:1]:
            if one := source.record(word):
                yield from _parts(word, one, _mode(volume), known, log)


def _mode(volume: Record) -> int:
    mode = volume.whole("defaultMode")
    return DEFAULT_MODE if mode is None else mode


def _parts(word: str, one: Record, mode: int, known: downward.Pod, log: Log) -> Iterator[Part | File]:
    if word == "downwardAPI":
        yield from _fields(one, mode, known, log)
        return
    kind: ConfigKind = "ConfigMap" if word == "configMap" else "Secret"
    key = "secretName" if one.has("secretName") else "name"
    name, optional = one.text(key), one.flag("optional") or False
    if name is None:
        return
    place = one.place(key), one.at(key)
    if not one.items("items"):
        if not one.is_wrong("items"):
            yield Part(Reference(kind, name, *place, None, optional), "", mode)
        return
    for item in one.items("items"):
        item_key, path = item.text("key"), item.text("path")
        if item_key is not None and path is not None:
            item_mode = item.whole("mode")
            where = item.place("key"), item.at("key")
            reference = Reference(kind, name, *place, item_key, optional, *where)
            yield Part(reference, path, mode if item_mode is None else item_mode)


def _fields(one: Record, mode: int, known: downward.Pod, log: Log) -> Iterator[File]:
    for item in one.items("items"):
        path, item_mode = item.text("path"), item.whole("mode")
        text = downward.file(item, known, log)
        if path is not None:
            yield File(path, mode if item_mode is None else item_mode, text=text)
