"""The part of the table in `fields` for PersistentVolumes. Nothing is computed here either."""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import DOCUMENT_METADATA, document
from i2kit.manifest.tables.scalars import Choice, Quantity, Text
from i2kit.manifest.tables.shape import Object
from i2kit.manifest.tables.table import NAME, accepted, refused, silent, warned

_EBS = Text(names.ebs_volume, means="EBS volume")
_ELSEWHERE = "is not possible: its data is where no machine of i2kit's can reach it"
_EMPTY = "has no effect: there are no nodes, and the claim gets a new and empty disk"
_OTHERS = (
    "nfs iscsi fc rbd cephfs glusterfs flexVolume flocker quobyte portworxVolume scaleIO storageos"
    " vsphereVolume photonPersistentDisk azureDisk azureFile gcePersistentDisk cinder"
)
_FS = accepted("fsType", Choice(("ext4", "")), "ext4: no other file system is mounted (default: ext4)")
PERSISTENT_SPEC = Object(
    "PersistentVolumeSpec",
    (
        accepted(
            "capacity",
            Object("Capacity", (accepted("storage", Quantity("memory"), "how large it is"),)),
            "how large it is: as large as a claim for its class must be at least",
        ),
        silent("accessModes", "a disk is in one machine at a time"),
        silent("persistentVolumeReclaimPolicy", "disks stay until they are destroyed"),
        accepted(
            "storageClassName", Text(names.class_name, means="name"), "claims for this class may get it"
        ),
        accepted(
            "claimRef",
            Object(
                "ClaimRef",
                (
                    accepted("name", NAME, "its name"),
                    accepted("namespace", NAME, "its namespace"),
                    *(silent(word, "v1") for word in ("apiVersion", "kind", "uid", "resourceVersion")),
                ),
            ),
            "the claim that it is for",
        ),
        accepted(
            "awsElasticBlockStore",
            Object(
                "ElasticBlockStore",
                (
                    accepted("volumeID", _EBS, "the disk", required=True),
                    _FS,
                    refused("partition", "is not supported: a disk has one file system", "leave it out", 0),
                    warned("readOnly", "has no effect: mount it with readOnly", False),
                ),
            ),
            "a disk of AWS that is there already",
        ),
        accepted(
            "csi",
            Object(
                "Csi",
                (
                    accepted("driver", Text(names.csi_driver, means="driver"), "whose", required=True),
                    accepted("volumeHandle", _EBS, "the disk", required=True),
                    _FS,
                    warned("readOnly", "has no effect: mount it with readOnly", False),
                    silent("volumeAttributes", "the disk is there already"),
                ),
            ),
            "the same",
        ),
        warned("hostPath", _EMPTY),
        warned("local", _EMPTY),
        *(refused(word, _ELSEWHERE, "copy the data to a claim's disk once") for word in _OTHERS.split()),
        silent("nodeAffinity", "there are no nodes"),
        silent("volumeMode", "there is a file system on it", Choice(("Filesystem",))),
        warned("mountOptions", "has no effect"),
        warned("volumeAttributesClassName", "has no effect"),
    ),
)
PERSISTENT = document("PersistentVolume", ("v1",), DOCUMENT_METADATA, PERSISTENT_SPEC, "what disk it is")
