"""PersistentVolumes: which claim gets a disk that is there already, and which a new one."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import Claim
from tests.manifest.reading import POD, manifest, problems

USER = (
    POD
    + "        volumeMounts: [{name: data, mountPath: /data}]\n      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n"
)
CLAIM = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {%s accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}\n"
DISK = "{apiVersion: v1, kind: PersistentVolume, metadata: {name: old}, spec: {%s capacity: {storage: 2Gi}, accessModes: [ReadWriteOnce], %s}}\n"
EBS = "awsElasticBlockStore: {volumeID: 'aws://us-east-1a/vol-0abc'}"
CSI = "csi: {driver: ebs.csi.aws.com, volumeHandle: vol-0abc}"


def source(claim: str, *disk: str) -> str | None:
    (workload,) = manifest(USER, CLAIM % claim, DISK % disk).workloads
    (volume,) = workload.volumes
    assert isinstance(volume.source, Claim)
    return volume.source.source


@pytest.mark.parametrize(
    ("claim", "disk", "found"),
    [
        ("volumeName: old,", ("", EBS), "vol-0abc"),
        ("volumeName: old,", ("", CSI), "vol-0abc"),
        ("", ("claimRef: {name: data},", EBS), "vol-0abc"),
        ("", ("claimRef: {name: data, namespace: other},", EBS), None),
        ("storageClassName: mine,", ("storageClassName: mine,", EBS), "vol-0abc"),
        ("storageClassName: mine,", ("storageClassName: his,", EBS), None),
        ("", ("", EBS), None),
        ("storageClassName: '',", ("", EBS), "vol-0abc"),
        ("storageClassName: '',", ("storageClassName: mine,", EBS), None),
        ("volumeName: old,", ("", "hostPath: {path: /data}"), None),
    ],
)
def test_which_disk(claim: str, disk: tuple[str, str], found: str | None) -> None:
    assert source(claim, *disk) == found


def test_a_folder_of_a_node_is_a_new_disk() -> None:
    found = manifest(USER, CLAIM % "volumeName: old,", DISK % ("", "hostPath: {path: /data}"))
    assert [one.split(": ", 1)[1] for one in found.warnings] == [
        "spec.hostPath: has no effect: there are no nodes, and the claim gets a new and empty disk"
    ]


@pytest.mark.parametrize(
    ("disk", "message"),
    [
        ("nfs: {server: a, path: /b}", "spec.nfs: is not possible: its data is where no machine of i2kit's can reach it\n  hint: copy the data to a claim's disk once"),
        ("csi: {driver: pd.csi.storage.gke.io, volumeHandle: vol-0abc}", "spec.csi.driver: `pd.csi.storage.gke.io` is not possible: of drivers, only ebs.csi.aws.com is known\n  hint: copy the data to a claim's disk once"),
        ("awsElasticBlockStore: {volumeID: disk}", "spec.awsElasticBlockStore.volumeID: `disk` is not the id of an EBS volume\n  hint: such as vol-0123456789abcdef0"),
    ],
)  # fmt: skip
def test_what_cannot_be_had(disk: str, message: str) -> None:
    assert [
        one.split(": ", 1)[1] for one in problems(USER, CLAIM % "volumeName: old,", DISK % ("", disk))
    ] == [message]


SET = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {storageClassName: mine, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: postgres, volumeMounts: [{name: data, mountPath: /data}]}]}
"""
MEANT = "`vol-0abc` is meant for volumeClaimTemplates `data`, whose disks are new and empty\n  hint: copy the data to the new disk once, or use a Deployment with a PersistentVolumeClaim"
LEFT = "this PersistentVolume is the disk of no claim here: no machine gets it"


@pytest.mark.parametrize("text", ["claimRef: {name: data-db-1},", "storageClassName: mine,"])
def test_a_disk_that_a_machine_of_a_statefulset_would_have_got(text: str) -> None:
    assert problems(SET, DISK % (text, EBS)) == [f"b.yml:1:59: {MEANT}"]


@pytest.mark.parametrize(
    "text", ["claimRef: {name: data-db-2},", "claimRef: {name: data-db-1, namespace: other},", ""]
)
def test_a_disk_that_nobody_gets(text: str) -> None:
    assert f"b.yml:1:59: {LEFT}" in manifest(SET, DISK % (text, EBS)).warnings


def test_a_claim_with_the_name_of_one_that_a_template_makes() -> None:
    claim = CLAIM.replace("name: data", "name: data-db-0")
    made = "b.yml:1:64: metadata.name: is made of volumeClaimTemplates `data`, with a new and empty disk"
    assert f"{made}: this document has no effect" in manifest(SET, claim % "").warnings
    (found,) = problems(SET, claim % "volumeName: old,", DISK % ("", EBS))
    assert found.startswith(f"{made}\n  hint: ")


def test_a_disk_is_that_of_one_claim() -> None:
    other = CLAIM.replace("name: data", "name: other")
    found = problems(
        USER, CLAIM % "volumeName: old," + "---\n" + other % "volumeName: old,", DISK % ("", EBS)
    )
    assert found == [
        "b.yml:3:91: spec.volumeName: PersistentVolume `old` is that of claim `data` already, at b.yml:1:64\n  hint: give each claim a disk of its own"
    ]
    twice = DISK % ("", EBS) + "---\n" + (DISK % ("", CSI)).replace("old", "new")
    assert problems(USER, CLAIM % "volumeName: old,", twice) == [
        "c.yml:3:59: `vol-0abc` is PersistentVolume `old` already, at c.yml:1:59\n  hint: remove one of them"
    ]
