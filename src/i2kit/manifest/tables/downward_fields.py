"""The part of the table in `fields` for fields of the pod that variables and files can hold.

Nothing is computed here either.
"""

from i2kit.manifest.tables.scalars import Choice, Quantity, Text
from i2kit.manifest.tables.shape import Object
from i2kit.manifest.tables.table import NAME, accepted, silent

FIELD_REF = Object(
    "FieldRef",
    (
        silent("apiVersion", "v1", Choice(("v1",))),
        accepted(
            "fieldPath",
            Text(),
            "`metadata.name` (the host name), `metadata.namespace`, `metadata.uid` (new with each start),"
            " `metadata.labels['KEY']`, `metadata.annotations['KEY']`, `spec.nodeName` (the instance),"
            " `spec.serviceAccountName`, `status.podIP`, `status.podIPs`, and, with a warning,"
            " `status.hostIP` and `status.hostIPs` (all the machine's own address)",
            required=True,
            hint="such as fieldPath: metadata.name",
        ),
    ),
)
RESOURCE_FIELD_REF = Object(
    "ResourceFieldRef",
    (
        accepted(
            "resource",
            Choice(
                tuple(
                    f"{kind}.{what}"
                    for kind in ("limits", "requests")
                    for what in ("cpu", "memory", "ephemeral-storage")
                )
            ),
            "a limit must be given; a request that is not is the limit, or 0",
            required=True,
        ),
        accepted("containerName", NAME, "whose (default: this container's)"),
        accepted("divisor", Quantity("either", zero=True), "what it is counted in, rounded up (default: 1)"),
    ),
)
