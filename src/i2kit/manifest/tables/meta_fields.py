"""The part of the table in `fields` that many kinds share: names, labels, selectors, templates of pods.

Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.fields import POD
from i2kit.manifest.tables.scalars import INT32, Choice, CountOrPercent, Text, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import LABELS, NAME, NOTES, accepted, refused, silent

_BOOKKEEPING = tuple(
    silent(name, "written by the API server")
    for name in (
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "selfLink",
        "ownerReferences",
        "finalizers",
    )
)
GENERATED_NAME = refused(
    "generateName", "is not possible: names must stay the same from one deploy to the next", "use name"
)
META = (
    accepted("namespace", NAME, "groups names; part of the DNS name (default: `default`)"),
    silent("labels", "nothing selects by them; the pods' labels count", LABELS),
    GENERATED_NAME,
    *_BOOKKEEPING,
)
NAMED = accepted(
    "name", NAME, "unique in its namespace, and the DNS name", required=True, hint="such as name: web"
)
NOTED = silent("annotations", "notes for other tools", NOTES)
METADATA = Object("Metadata", (NAMED, *META, NOTED))
OTHER_NAME = accepted(
    "name", Text(names.dns_name, names.DNS_NAME, 253, "DNS name"), "unique in its namespace", required=True
)
DOCUMENT_METADATA = Object("DocumentMetadata", (OTHER_NAME, *META, NOTED))
POD_METADATA = Object(
    "PodMetadata",
    (
        accepted("labels", LABELS, "labels of the pods: what Services select by"),
        silent("annotations", "notes for other tools", NOTES),
        silent("name", "pods are named after the deployment", Text()),
        silent("namespace", "pods are in the deployment's namespace", Text()),
        silent("generateName", "pods are named after the deployment", Text()),
        *_BOOKKEEPING,
    ),
)
EXPRESSION = Object(
    "Expression",
    (
        accepted("key", Text(names.label_key), "label", required=True),
        accepted(
            "operator", Choice(("In", "NotIn", "Exists", "DoesNotExist")), "how to compare", required=True
        ),
        accepted("values", ListOf(Text(names.label_value)), "what In and NotIn compare with"),
    ),
)
SELECTOR = Object(
    "Selector",
    (
        accepted("matchLabels", LABELS, "labels that the pods must have"),
        accepted("matchExpressions", ListOf(EXPRESSION), "conditions that the pods' labels must meet"),
    ),
    others=refused("", "is not a known field", "write matchLabels: {app: NAME}"),
    hint="write matchLabels: {app: NAME}",
)
TEMPLATE = Object(
    "PodTemplate",
    (
        accepted("metadata", POD_METADATA, "the pods' labels"),
        accepted("spec", POD, "the pod", required=True),
    ),
)
ROLLING_UPDATE = Object(
    "RollingUpdate",
    (
        accepted(
            "maxSurge",
            CountOrPercent(),
            "how many machines more than the replicas there may be meanwhile; rounded up (default: 25%)",
        ),
        accepted(
            "maxUnavailable",
            CountOrPercent(100),
            "how many of the replicas may be missing meanwhile; rounded down (default: 25%)",
        ),
    ),
)
STRATEGY = Object(
    "Strategy",
    (
        accepted(
            "type",
            Choice(("RollingUpdate", "Recreate")),
            "Recreate: the old machines go before the first new one starts (default: RollingUpdate)",
        ),
        accepted("rollingUpdate", ROLLING_UPDATE, "how many machines are replaced at once"),
    ),
)
MIN_READY = accepted(
    "minReadySeconds",
    Whole(0, INT32),
    "how long a new machine must have been ready before an old one goes (default: 0)",
)
ROLLOUT = (
    accepted("strategy", STRATEGY, "how an update replaces the machines"),
    MIN_READY,
    accepted(
        "progressDeadlineSeconds",
        Whole(0, INT32),
        "an update that comes no further for this long has failed, and what served before serves on"
        " (default: 600)",
    ),
)


def document(kind: str, versions: tuple[str, ...], metadata: Object, spec: Object, about: str) -> Object:
    """A whole document; the first of its versions is today's."""
    older = f" (or {', '.join(versions[1:])})" if versions[1:] else ""
    return Object(
        kind,
        (
            accepted("apiVersion", Text(), f"{versions[0]}{older}", required=True),
            accepted("kind", Text(), kind, required=True),
            accepted("metadata", metadata, "name, namespace, labels", required=True),
            accepted("spec", spec, about, required=True),
            silent("status", "written by the API server"),
        ),
    )
