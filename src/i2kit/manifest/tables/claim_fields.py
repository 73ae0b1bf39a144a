"""The part of the table in `fields` for disks that outlive machines: what a claim may ask for.

Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import META, OTHER_NAME
from i2kit.manifest.tables.scalars import Choice, Quantity, Text
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import NAME, accepted, refused, silent, warned

CLASS_NOTE = "volume.beta.kubernetes.io/storage-class"
_ONE_MACHINE = "is not possible: a disk is in one machine at a time"
_MODES = Choice(
    ("ReadWriteOnce", "ReadWriteOncePod"),
    (
        ("ReadWriteMany", _ONE_MACHINE, "use ReadWriteOnce if one machine is enough"),
        ("ReadOnlyMany", _ONE_MACHINE, "put the files into the image, or use ReadWriteOnce"),
    ),
)
_SIZE = Object(
    "ClaimResources",
    (
        accepted(
            "requests",
            Object(
                "ClaimRequests",
                (accepted("storage", Quantity("memory"), "how large the disk is", required=True),),
            ),
            "how large the disk is",
            required=True,
            hint="such as requests: {storage: 10Gi}",
        ),
        silent("limits", "a disk is as large as is requested"),
    ),
    hint="such as resources: {requests: {storage: 10Gi}}",
)
_DATA = "is not supported: a new disk is empty"
COMMON = (
    accepted(
        "accessModes",
        ListOf(_MODES, least=1, hint="write accessModes: [ReadWriteOnce]"),
        "ReadWriteOnce: one machine has the disk at a time",
        required=True,
        hint="write accessModes: [ReadWriteOnce]",
    ),
    accepted("resources", _SIZE, "how large the disk is", required=True, hint="such as 10Gi"),
    accepted(
        "storageClassName",
        Text(names.class_name, means="name"),
        "what kind of disk a cloud takes, where it is one of its kinds, such as gp3 or io2",
    ),
    accepted(
        "volumeMode",
        Choice(
            ("Filesystem",), (("Block", "is not possible: a disk is mounted, never given as it is", None),)
        ),
        "there is a file system on the disk",
    ),
    refused("dataSource", _DATA, "leave it out, and copy the data once"),
    refused("dataSourceRef", _DATA, "leave it out, and copy the data once"),
    warned("volumeAttributesClassName", "has no effect: the provider has its own kinds of disks"),
)
CLAIM_TEMPLATE_SPEC = Object(
    "ClaimTemplateSpec",
    (
        *COMMON,
        refused("selector", "is not possible: each machine gets a new disk", "leave it out"),
        refused("volumeName", "is not possible: each machine gets a disk of its own", "leave it out"),
    ),
)
CLAIM_NOTES = Object(
    "ClaimAnnotations",
    (accepted(CLASS_NOTE, Text(), "the old name of storageClassName"),),
    others=silent("", "notes for other tools", Text(null=True)),
)
CLAIM_SPEC = Object(
    "ClaimSpec",
    (
        *COMMON,
        refused(
            "selector", "is not supported: it chooses among disks that are there already", "leave it out"
        ),
        accepted("volumeName", Text(), "the PersistentVolume that it is meant for"),
    ),
)
CLAIM = Object(
    "PersistentVolumeClaim",
    (
        accepted("apiVersion", Text(), "v1", required=True),
        accepted("kind", Text(), "PersistentVolumeClaim", required=True),
        accepted(
            "metadata",
            Object(
                "ClaimMetadata", (OTHER_NAME, *META, accepted("annotations", CLAIM_NOTES, "its parts decide"))
            ),
            "name and namespace",
            required=True,
        ),
        accepted("spec", CLAIM_SPEC, "what disk", required=True),
        silent("status", "written by the API server"),
    ),
)
CLAIM_TEMPLATE = Object(
    "ClaimTemplate",
    (
        silent("apiVersion", "v1"),
        silent("kind", "PersistentVolumeClaim"),
        accepted(
            "metadata",
            Object(
                "ClaimTemplateMetadata",
                (
                    accepted("name", NAME, "what the pod mounts it by", required=True),
                    *META,
                    accepted("annotations", CLAIM_NOTES, "its parts decide"),
                ),
            ),
            "its name",
            required=True,
            hint="such as metadata: {name: data}",
        ),
        accepted("spec", CLAIM_TEMPLATE_SPEC, "what disk", required=True),
        silent("status", "written by the API server"),
    ),
    hint="write - metadata: {name: data} and spec: …",
)
