"""Blocks become a snapshot of EBS, over the EBS direct APIs: no bucket, no role, no instance.

In: hashes of blocks and where to read them. Out: a completed snapshot. Each block travels with its hash,
and the end of a snapshot with a hash of all hashes: EBS keeps nothing else than what was read here.

Sources: Amazon EBS user guide, "Use EBS direct APIs to access the contents of an EBS snapshot"; EBS direct
APIs reference; awslabs/coldsnap, src/upload.rs.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import Any

from i2kit.blocks import BLOCK_BYTES
from i2kit.errors import OperationError
from i2kit.providers.aws.access.calls import persist

WORKERS = 64
"""As awslabs/coldsnap: one connection carries a few blocks per second, and EBS throttles far more of them."""

TIMEOUT_MIN = 30
"""After so long without a block EBS gives up a snapshot that nobody completes."""

NOT_YET = ("ResourceNotFoundException",)
"""What EBS says of a snapshot that was just started, until all of its servers know it."""

Read = Callable[[int], bytes]
Send = Callable[[int], None]


def start(ebs: Any, volume_gib: int, parent: str, description: str, tags: list[dict[str, str]]) -> str:
    """Begin a snapshot of a volume of this size; it has the blocks of `parent`, if one is given."""
    # One token for all attempts: an answer that got lost does not begin a second snapshot.
    words: dict[str, Any] = {"ClientToken": secrets.token_hex(16)}
    if parent:
        words["ParentSnapshotId"] = parent
    answer = persist(
        Event(),
        ebs.start_snapshot,
        VolumeSize=volume_gib,
        Description=description,
        Tags=tags,
        Timeout=TIMEOUT_MIN,
        **words,
    )
    started: str = answer["SnapshotId"]
    return started


def put(ebs: Any, snapshot: str, hashes: Mapping[int, str], read: Read, sent: Send) -> None:
    """Write these blocks and complete the snapshot.

    `sent` is called with each block's number, in this thread. Written twice, a block counts once: so
    it does no harm that an earlier run has written some of them.
    """
    stop = Event()

    def one(index: int) -> int:
        data = read(index)
        if hashlib.sha256(data).hexdigest() != hashes[index]:
            raise OperationError("the disk changed while it was uploaded", hint="run this again")
        persist(
            stop,
            ebs.put_snapshot_block,
            also=NOT_YET,
            SnapshotId=snapshot,
            BlockIndex=index,
            BlockData=data,
            DataLength=BLOCK_BYTES,
            Checksum=base64.b64encode(bytes.fromhex(hashes[index])).decode(),
            ChecksumAlgorithm="SHA256",
        )
        return index

    pool = ThreadPoolExecutor(max(1, min(WORKERS, len(hashes))), "block")
    try:
        for done in as_completed([pool.submit(one, index) for index in hashes]):
            sent(done.result())
        persist(
            stop,
            ebs.complete_snapshot,
            also=NOT_YET,
            SnapshotId=snapshot,
            ChangedBlocksCount=len(hashes),
            Checksum=aggregate(hashes),
            ChecksumAlgorithm="SHA256",
            ChecksumAggregationMethod="LINEAR",
        )
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def aggregate(hashes: Mapping[int, str]) -> str:
    """The hash over the blocks' raw hashes one behind the other, in the order of the blocks."""
    whole = hashlib.sha256()
    for _, hash_ in sorted(hashes.items()):
        whole.update(bytes.fromhex(hash_))
    return base64.b64encode(whole.digest()).decode()


def get(ebs: Any, snapshot: str, index: int) -> bytes:
    """One block of a completed snapshot; zeros where it has none."""
    stop = Event()
    where: dict[str, Any] = {"StartingBlockIndex": index}
    while True:
        page = persist(stop, ebs.list_snapshot_blocks, SnapshotId=snapshot, MaxResults=100, **where)
        # A page may be empty though more come.
        if page["Blocks"] or not page.get("NextToken"):
            break
        where = {"NextToken": page["NextToken"]}
    token = next((block["BlockToken"] for block in page["Blocks"] if block["BlockIndex"] == index), None)
    if token is None:
        return bytes(BLOCK_BYTES)
    answer = persist(stop, ebs.get_snapshot_block, SnapshotId=snapshot, BlockIndex=index, BlockToken=token)
    data: bytes = answer["BlockData"].read()
    return data
