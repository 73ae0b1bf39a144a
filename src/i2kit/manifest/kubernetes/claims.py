"""Claims of disks that outlive machines: what a PersistentVolumeClaim or a StatefulSet's template asks for.

In: records of the tables in `claim_fields`. Out: model values. Pure.
"""

from collections.abc import Sequence

from i2kit.errors import Position
from i2kit.manifest.log import Log
from i2kit.manifest.reading import FoundClaim, Reading
from i2kit.manifest.tables.claim_fields import CLASS_NOTE
from i2kit.manifest.tables.shape import Record
from i2kit.model import Claim, Volume


def claim(metadata: Record, spec: Record, *, each: bool = False) -> Claim:
    """What a claim asks for; of a size of 0 where that is wrong, which is in the log by then."""
    resources = spec.record("resources")
    requests = resources.record("requests") if resources else None
    notes = metadata.record("annotations")
    kind = spec.text("storageClassName") or (notes.text(CLASS_NOTE) if notes else None)
    size = requests.whole("storage") if requests else None
    return Claim(metadata.text("name") or "", size or 0, each=each, kind=kind or None)


def document(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A PersistentVolumeClaim."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if not (metadata and spec and metadata.text("name")) or metadata.is_wrong("namespace"):
        reading.complete = False
        return
    volume = spec.text("volumeName") or None
    reading.claims.append(
        FoundClaim(
            metadata.text("namespace") or "default",
            claim(metadata, spec),
            metadata.place("name"),
            volume,
            spec.place("volumeName"),
            spec.at("volumeName"),
            classless=spec.text("storageClassName") == "",
        )
    )


def templates(records: Sequence[Record], log: Log) -> tuple[Volume, ...]:
    """The volumes that a StatefulSet's templates are."""
    volumes = []
    first: dict[str, Position] = {}
    for record in records:
        metadata, spec = record.record("metadata"), record.record("spec")
        name = metadata.text("name") if metadata else None
        if not (metadata and spec and name):
            continue
        if name in first:
            message = f"`{name}` is given twice; the first is at {first[name]}"
            log.problem(metadata.place("name"), metadata.at("name"), message)
            continue
        first[name] = metadata.place("name")
        volumes.append(Volume(name, claim(metadata, spec, each=True)))
    return tuple(volumes)
