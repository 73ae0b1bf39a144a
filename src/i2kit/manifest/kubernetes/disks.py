"""PersistentVolumes: disks that were there before.

In: one document as a record. Out: what it is for claims, gathered in a Reading; then which claim gets which.
Source: Kubernetes, controller/volume/persistentvolume/index.go. Pure.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from i2kit.manifest.log import Log
from i2kit.manifest.reading import FoundClaim, FoundDisk, Reading
from i2kit.manifest.tables.shape import Record
from i2kit.model import Claim

LEFT = "this PersistentVolume is the disk of no claim here: no machine gets it"
COPY = "copy the data to the new disk once, or use a Deployment with a PersistentVolumeClaim"
_EBS = re.compile(r"vol-[0-9a-f]+")


def document(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A PersistentVolume."""
    metadata, spec = record.record("metadata"), record.record("spec")
    name = metadata.text("name") if metadata else None
    if not (metadata and spec and name):
        return
    block, csi = spec.record("awsElasticBlockStore"), spec.record("csi")
    text = (block.text("volumeID") if block else None) or (csi.text("volumeHandle") if csi else None)
    match = _EBS.search(text) if text else None
    claim, capacity = spec.record("claimRef"), spec.record("capacity")
    wanted = claim.text("name") if claim else None
    reading.disks[name] = match.group() if match else None
    reading.found_disks.append(
        FoundDisk(
            name=name,
            claim=f"{(claim.text('namespace') if claim else None) or 'default'}/{wanted}" if wanted else None,
            kind=spec.text("storageClassName") or None,
            size_bytes=(capacity.whole("storage") if capacity else None) or 0,
            position=metadata.place("name"),
            disk=match.group() if match else None,
        )
    )


def join(reading: Reading, log: Log) -> None:
    """Give claims that name no PersistentVolume the one that names them, or else one of their class.

    Data on a cloud's disk that no machine would get is a problem where something asks for it.
    """
    free = _named_once(reading, log)
    for claim in reading.claims:
        free.pop(claim.volume or "", None)
    bound: dict[str, str] = {}
    kinds: dict[str | None, list[FoundDisk]] = defaultdict(list)
    claims = {one.key for one in reading.claims}
    for disk in free.values():
        if not disk.claim:
            kinds[disk.kind].append(disk)
        elif disk.claim in claims:
            bound.setdefault(disk.claim, disk.name)
    for found in kinds.values():
        found.sort(key=lambda one: one.size_bytes)
    for index, claim in enumerate(reading.claims):
        if claim.volume is not None:
            continue
        volume = bound.get(claim.key)
        fits = kinds[claim.claim.kind] if claim.claim.kind or claim.classless else []
        if volume is None and fits:
            at = bisect_left(fits, claim.claim.size_bytes, key=lambda one: one.size_bytes)
            volume = fits.pop(at).name if at < len(fits) else None
        if volume is not None:
            free.pop(volume, None)
            reading.claims[index] = replace(claim, volume=volume)
    _check_shared(reading, log)
    _check_left([one for one in free.values() if one.disk], reading, log)


def _named_once(reading: Reading, log: Log) -> dict[str, FoundDisk]:
    """PersistentVolumes by name; the same cloud's disk may not be two of them."""
    found: dict[str, FoundDisk] = {}
    same: dict[str, FoundDisk] = {}
    for one in reading.found_disks:
        if one.name in found:
            message = f"the PersistentVolume `{one.name}` is given twice; the first is at"
            hint = "remove one of them, or give one file only"
            log.problem(one.position, "", f"{message} {found[one.name].position}", hint)
        elif one.disk and one.disk in same:
            message = f"`{one.disk}` is PersistentVolume `{same[one.disk].name}` already, at"
            log.problem(one.position, "", f"{message} {same[one.disk].position}", "remove one of them")
        found.setdefault(one.name, one)
        same.setdefault(one.disk or "", one)
    return found


def _check_shared(reading: Reading, log: Log) -> None:
    """A disk is in one machine at a time."""
    first: dict[str, FoundClaim] = {}
    for one in reading.claims:
        if one.volume and reading.disks.get(one.volume) and one.volume in first:
            other = first[one.volume]
            message = f"PersistentVolume `{one.volume}` is that of claim `{other.claim.name}` already, at"
            place = one.volume_position, one.volume_path
            log.problem(*place, f"{message} {other.position}", "give each claim a disk of its own")
        first.setdefault(one.volume or "", one)


def _check_left(free: Sequence[FoundDisk], reading: Reading, log: Log) -> None:
    """The cloud's disks that no claim gets: in Kubernetes, those of templates could."""
    templates = {
        f"{one.namespace}/{volume.source.name}-{one.name}": (volume.source, one.replicas)
        for one in reading.workloads
        for volume in one.volumes
        if isinstance(volume.source, Claim) and volume.source.each
    }

    def template(claim: str) -> str | None:
        start, _, number = claim.rpartition("-")
        there = templates.get(start)
        return start if there and number.isdigit() and int(number) < there[1] else None

    for claim in reading.claims:
        if not (key := template(claim.key)):
            continue
        name = templates[key][0].name
        message = f"is made of volumeClaimTemplates `{name}`, with a new and empty disk"
        if claim.volume and reading.disks.get(claim.volume):
            log.refuse(claim.position, "metadata.name", message, COPY, name="PersistentVolumeClaim")
        else:
            log.warn(claim.position, "metadata.name", f"{message}: this document has no effect")
    kinds = {one.kind: key for key, (one, _) in reversed(templates.items()) if one.kind}
    for disk in free:
        key = template(disk.claim) if disk.claim else kinds.get(disk.kind or "")
        if key:
            name = templates[key][0].name
            message = (
                f"`{disk.disk}` is meant for volumeClaimTemplates `{name}`, whose disks are new and empty"
            )
            log.refuse(disk.position, "", message, COPY, name="PersistentVolume")
        elif reading.complete:
            log.warn(disk.position, "", LEFT, kind="PersistentVolume")
