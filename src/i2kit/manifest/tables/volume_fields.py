"""The part of the table in `fields` for volumes: what they are made of, and where containers see them.

Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.config_fields import CONFIG_NAME, KEY, OPTIONAL
from i2kit.manifest.tables.downward_fields import FIELD_REF, RESOURCE_FIELD_REF
from i2kit.manifest.tables.scalars import Choice, Flag, Quantity, Text, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import NAME, accepted, refused, silent

_MODE = Whole(0, 0o777, "permissions are octal, with a 0 first: 0644 (in JSON the same number, 420)")
_FILE_PATH = Text(names.file_path, means="path below the volume")
_PATH = accepted(
    "path", _FILE_PATH, "where the file is in the volume", required=True, hint="such as path: a.txt"
)
_ITEM_MODE = accepted("mode", _MODE, "its permissions (default: defaultMode)")
_DEFAULT_MODE = accepted("defaultMode", _MODE, "permissions of the files (default: 0644)")
_ITEM = Object(
    "KeyToPath",
    (
        accepted("key", KEY, "which value", required=True, hint="such as key: app.conf"),
        _PATH,
        _ITEM_MODE,
    ),
    hint="write - key: KEY and path: FILE",
)
_ITEMS = accepted(
    "items",
    ListOf(_ITEM, hint="write a list of key and path"),
    "which keys become files, and where (default: all, by their keys)",
)
_CONFIG_MAP = Object(
    "ConfigMapVolume", (CONFIG_NAME, _ITEMS, _DEFAULT_MODE, OPTIONAL), hint="write configMap: {name: NAME}"
)
_SECRET = Object(
    "SecretVolume",
    (
        accepted(
            "secretName",
            CONFIG_NAME.type,
            "its name, in the namespace of the pod",
            required=True,
            hint="such as secretName: web",
        ),
        _ITEMS,
        _DEFAULT_MODE,
        OPTIONAL,
    ),
    hint="write secret: {secretName: NAME}",
)
_DOWNWARD_ITEM = Object(
    "DownwardFile",
    (
        _PATH,
        accepted(
            "fieldRef",
            FIELD_REF,
            "a field of metadata; all of `metadata.labels` or `metadata.annotations`, too",
        ),
        accepted("resourceFieldRef", RESOURCE_FIELD_REF, "what the container `containerName` asks for"),
        _ITEM_MODE,
    ),
    hint="write - path: FILE and fieldRef: {fieldPath: FIELD}",
)
_DOWNWARD_ITEMS = accepted(
    "items", ListOf(_DOWNWARD_ITEM, hint="write a list of path and fieldRef"), "the files"
)
_DOWNWARD = Object("DownwardVolume", (_DOWNWARD_ITEMS, _DEFAULT_MODE))
_NO_API = "is not possible: there is no Kubernetes API to log in to"
_PROJECTED = Object(
    "ProjectedVolume",
    (
        accepted(
            "sources",
            ListOf(
                Object(
                    "VolumeSource",
                    (
                        accepted(
                            "configMap",
                            Object("ConfigMapSource", (CONFIG_NAME, _ITEMS, OPTIONAL)),
                            "its keys",
                        ),
                        accepted(
                            "secret", Object("SecretSource", (CONFIG_NAME, _ITEMS, OPTIONAL)), "its keys"
                        ),
                        accepted(
                            "downwardAPI", Object("DownwardSource", (_DOWNWARD_ITEMS,)), "fields of the pod"
                        ),
                        refused("serviceAccountToken", _NO_API, "leave it out"),
                        refused("clusterTrustBundle", _NO_API, "leave it out"),
                        refused("podCertificate", _NO_API, "leave it out"),
                    ),
                ),
                hint="write a list: - configMap: {name: NAME}",
            ),
            "what it is made of; of two files with one path the later counts",
        ),
        _DEFAULT_MODE,
    ),
)
_HUGE = "is not possible: machines have no huge pages"
_EMPTY = Object(
    "EmptyDir",
    (
        accepted(
            "medium",
            Choice(
                ("", "Memory"),
                tuple((f"HugePages{size}", _HUGE, "use Memory") for size in ("", "-2Mi", "-1Gi")),
            ),
            "Memory: what is in it counts as memory of the machine; else it is on a disk of the machine's",
        ),
        accepted(
            "sizeLimit",
            Quantity("memory", zero=True),
            "how much fits into it (0: as much as there is); those on disk share one with room for all",
        ),
    ),
)
_CLAIM = Object(
    "ClaimVolume",
    (
        accepted(
            "claimName",
            CONFIG_NAME.type,
            "the PersistentVolumeClaim, in the namespace of the pod",
            required=True,
            hint="such as claimName: data",
        ),
        accepted("readOnly", Flag(), "whether containers cannot write to it (default: false)"),
    ),
    hint="write persistentVolumeClaim: {claimName: NAME}",
)
_CLAIMED = "write a PersistentVolumeClaim, and copy the data to its disk once"
_OUTSIDE = "is not supported: its data and its driver are outside of these files"
VOLUME = (
    accepted("configMap", _CONFIG_MAP, "files by the keys of a ConfigMap; cannot be written to"),
    accepted(
        "secret",
        _SECRET,
        "files by the keys of a Secret, which are only in memory; cannot be written to",
    ),
    accepted("downwardAPI", _DOWNWARD, "files with fields of the pod; cannot be written to"),
    accepted("projected", _PROJECTED, "files of several such sources; cannot be written to"),
    accepted("emptyDir", _EMPTY, "an empty folder for the time of the machine (also where nothing is given)"),
    accepted("persistentVolumeClaim", _CLAIM, "a disk that outlives machines"),
    refused(
        "hostPath",
        "is not possible: there is no node to share files with, and they would be gone with the machine",
        "use emptyDir for what need not last (for /dev/shm with medium: Memory), a PersistentVolumeClaim for"
        " what must, and a ConfigMap for files such as /etc/localtime",
    ),
    refused(
        "ephemeral",
        "is not supported: a disk that goes with the machine is an emptyDir",
        "write emptyDir: {sizeLimit: SIZE}",
    ),
    *(
        refused(name, "is not supported yet: a cloud's disk is given by a PersistentVolume", _CLAIMED)
        for name in ("awsElasticBlockStore", "gcePersistentDisk", "azureDisk", "cinder", "vsphereVolume")
    ),
    *(
        refused(name, _OUTSIDE, _CLAIMED)
        for name in (
            "nfs",
            "csi",
            "iscsi",
            "fc",
            "cephfs",
            "glusterfs",
            "rbd",
            "azureFile",
            "flexVolume",
            "flocker",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "scaleIO",
            "storageos",
        )
    ),
    refused("gitRepo", "is not supported", "clone it in an initContainer, into an emptyDir"),
    refused("image", "is not supported yet", "copy the files into an emptyDir in an initContainer"),
)
POD_VOLUME = Object(
    "Volume",
    (
        accepted("name", NAME, "what containers mount it by", required=True, hint="such as name: data"),
        *VOLUME,
    ),
    hint="write - name: NAME and emptyDir: {}",
)
NATIVE_VOLUME = Object(
    "ManifestVolume",
    (
        accepted(
            "claim",
            Object(
                "ManifestClaim",
                (
                    accepted(
                        "size",
                        Quantity("memory"),
                        "how large the disk is",
                        required=True,
                        hint="such as size: 10Gi",
                    ),
                    accepted("name", NAME, "the disk's name (default: the manifest's, `-` and the volume's)"),
                    accepted(
                        "storageClassName",
                        Text(names.class_name, means="name"),
                        "what kind of disk a cloud takes, such as gp3",
                    ),
                ),
                hint="write claim: {size: 10Gi}",
            ),
            "a disk that outlives machines, as a PersistentVolumeClaim asks for one",
        ),
        *VOLUME,
    ),
    hint="write NAME: {emptyDir: {}}",
)

_SUB_PATH = Text(names.sub_path, means="path below the volume")
MOUNT = Object(
    "VolumeMount",
    (
        accepted("name", NAME, "which volume", required=True, hint="such as name: data"),
        accepted(
            "mountPath",
            Text(names.mount_path, means="path"),
            "where the container sees it; what its image has there is hidden",
            required=True,
            hint="such as mountPath: /data",
        ),
        accepted("subPath", _SUB_PATH, "one file or folder of the volume instead of all of it"),
        accepted("subPathExpr", Text(), "the same, with `$(NAME)` for variables of the container"),
        accepted("readOnly", Flag(), "whether the container cannot write to it (default: false)"),
        silent(
            "recursiveReadOnly",
            "nothing is mounted below a volume",
            Choice(("Disabled", "IfPossible", "Enabled")),
        ),
        accepted(
            "mountPropagation",
            Choice(
                ("None",),
                tuple(
                    (word, "is not possible: nobody else mounts something in the machine", "leave it out")
                    for word in ("HostToContainer", "Bidirectional")
                ),
            ),
            "None",
        ),
    ),
    hint="write - name: NAME and mountPath: PATH",
)
VOLUME_MOUNTS = accepted(
    "volumeMounts",
    ListOf(MOUNT, hint="write a list of name and mountPath"),
    "where the container sees the volumes of the pod",
)
