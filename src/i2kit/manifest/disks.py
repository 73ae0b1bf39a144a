"""PersistentVolumes: disks that were there before.

In: one document as a record. Out: what it is for claims, gathered in a Reading; then which claim gets which.
Source: Kubernetes, controller/volume/persistentvolume/index.go. Pure.
"""

import re
from dataclasses import replace

from i2kit.manifest.log import Log
from i2kit.manifest.reading import FoundDisk, Reading
from i2kit.manifest.shape import Record

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
        )
    )


def join(reading: Reading) -> None:
    """Give claims that name no PersistentVolume the one that names them, or else one of their class."""
    free = {one.name: one for one in reading.found_disks}
    for claim in reading.claims:
        free.pop(claim.volume or "", None)
    bound: dict[str, str] = {}
    for disk in [one for one in free.values() if one.claim]:
        bound.setdefault(disk.claim or "", disk.name)
        del free[disk.name]
    for index, claim in enumerate(reading.claims):
        if claim.volume is not None:
            continue
        volume = bound.get(claim.key)
        if volume is None and claim.claim.kind:
            fits = [
                one
                for one in free.values()
                if one.kind == claim.claim.kind and one.size_bytes >= claim.claim.size_bytes
            ]
            if fits:
                volume = min(fits, key=lambda one: one.size_bytes).name
                del free[volume]
        if volume is not None:
            reading.claims[index] = replace(claim, volume=volume)
