"""The part of the table in `fields` for the kinds that describe pods, beside Deployments.

Nothing is computed here either.
"""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.claim_fields import CLAIM_TEMPLATE
from i2kit.manifest.tables.fields import POD
from i2kit.manifest.tables.meta_fields import (
    META,
    METADATA,
    MIN_READY,
    NAMED,
    NOTED,
    POD_METADATA,
    SELECTOR,
    TEMPLATE,
    document,
)
from i2kit.manifest.tables.scalars import INT32, Choice, Flag, Text, Whole
from i2kit.manifest.tables.shape import Field, ListOf, Object
from i2kit.manifest.tables.table import (
    LABELS,
    MAX_REPLICAS,
    NAME,
    NOTES,
    REPLICAS,
    accepted,
    refused,
    silent,
    warned,
)

_REPLICAS = accepted("replicas", REPLICAS, "how many machines run the pod (default: 1)")
_TEMPLATE = accepted("template", TEMPLATE, "the pod", required=True)
_SELECTOR = accepted("selector", SELECTOR, "which pods belong to it; must match the template's labels")
_HISTORY = silent("revisionHistoryLimit", "ten revisions are kept", Whole(0, INT32))
_STAYS = "has no effect: disks stay until they are destroyed with i2kit destroy --volumes"
_KEPT = Choice(("Retain", "Delete"))

STATEFUL_SPEC = Object(
    "StatefulSetSpec",
    (
        _REPLICAS,
        _SELECTOR,
        _TEMPLATE,
        accepted(
            "serviceName",
            Text(names.label_or_empty, rf"({names.DNS_LABEL})?", names.LABEL_LENGTH, "DNS label"),
            "the headless Service below whose name each machine has a name of its own: NAME-0.SERVICE",
        ),
        accepted(
            "volumeClaimTemplates",
            ListOf(CLAIM_TEMPLATE, hint="write a list: - metadata: {name: data}"),
            "disks that each machine has for itself, and that outlive it",
        ),
        MIN_READY,
        accepted(
            "updateStrategy",
            Object(
                "StatefulStrategy",
                (
                    accepted(
                        "type",
                        Choice(("RollingUpdate", "OnDelete")),
                        "RollingUpdate: machines are replaced one after the other, the last first; OnDelete:"
                        " the same, with a warning",
                    ),
                    accepted(
                        "rollingUpdate",
                        Object(
                            "StatefulRollingUpdate",
                            (
                                refused(
                                    "partition",
                                    "is not possible: an update replaces all machines",
                                    "leave it out",
                                    0,
                                ),
                                warned(
                                    "maxUnavailable",
                                    "has no effect: machines are replaced one at a time",
                                    1,
                                ),
                            ),
                        ),
                        "its parts decide",
                    ),
                ),
            ),
            "how an update replaces the machines",
        ),
        silent(
            "podManagementPolicy",
            "machines start in order, each once the one before is ready; on aws all start at once at the"
            " first deploy, and are then replaced one at a time",
            Choice(("OrderedReady", "Parallel")),
        ),
        accepted(
            "persistentVolumeClaimRetentionPolicy",
            Object(
                "ClaimRetention",
                (
                    warned("whenDeleted", _STAYS, "Retain", type_=_KEPT),
                    warned("whenScaled", _STAYS, "Retain", type_=_KEPT),
                ),
            ),
            "its parts decide",
        ),
        accepted(
            "ordinals",
            Object(
                "Ordinals",
                (refused("start", "is not possible: machines are numbered from 0", "leave it out", 0),),
            ),
            "its parts decide",
        ),
        _HISTORY,
    ),
)
STATEFUL_VERSIONS = ("apps/v1", "apps/v1beta2", "apps/v1beta1")
STATEFUL = document("StatefulSet", STATEFUL_VERSIONS, METADATA, STATEFUL_SPEC, "what should run")

REPLICA_SET_SPEC = Object("ReplicaSetSpec", (_REPLICAS, _SELECTOR, _TEMPLATE, MIN_READY))
REPLICA_SET_VERSIONS = ("apps/v1", "apps/v1beta2", "extensions/v1beta1")
REPLICA_SET = document("ReplicaSet", REPLICA_SET_VERSIONS, METADATA, REPLICA_SET_SPEC, "what should run")

CONTROLLER_SPEC = Object(
    "ReplicationControllerSpec",
    (
        _REPLICAS,
        accepted("selector", LABELS, "which pods belong to it; must match the template's labels"),
        _TEMPLATE,
        MIN_READY,
    ),
)
CONTROLLER = document("ReplicationController", ("v1",), METADATA, CONTROLLER_SPEC, "what should run")

_RESTARTS = "`OnFailure`: a container that failed is restarted; `Never`: the pod has failed then"
_DEADLINE = "how long it may take; then it has failed"
SECONDS = Whole(1, INT32)


def _with(title: str, shape: Object, *fields: Field) -> Object:
    """A shape in which these fields take the place of those with their names."""
    others = {one.name: one for one in fields}
    return Object(title, tuple(others.get(one.name, one) for one in shape.fields), shape.others, shape.hint)


BARE_POD = _with(
    "BarePod",
    POD,
    accepted(
        "restartPolicy",
        Choice(("Always", "OnFailure", "Never")),
        f"`Always`: it runs until it is destroyed (the default); else it is a job, and {_RESTARTS}",
    ),
    accepted("activeDeadlineSeconds", SECONDS, f"{_DEADLINE} (not with restartPolicy: Always)"),
)
BARE_METADATA = Object(
    "BarePodMetadata",
    (
        NAMED,
        *(
            accepted("labels", LABELS, "what Services select by") if one.name == "labels" else one
            for one in META
        ),
        silent("annotations", "notes for other tools", NOTES),
    ),
)
BARE = document("Pod", ("v1",), BARE_METADATA, BARE_POD, "the programs that should run")

JOB_POD = _with(
    "JobPod",
    POD,
    accepted(
        "restartPolicy",
        Choice(
            ("OnFailure", "Never"),
            (("Always", "is not possible: a job's pod is meant to end", "use OnFailure or Never"),),
        ),
        _RESTARTS,
        required=True,
        hint="use OnFailure or Never",
    ),
    refused(
        "activeDeadlineSeconds",
        "is not possible for a pod of a job",
        "give it to the job: spec.activeDeadlineSeconds",
    ),
)
JOB_TEMPLATE = Object(
    "JobTemplate",
    (
        accepted("metadata", POD_METADATA, "the pods' labels"),
        accepted("spec", JOB_POD, "the pod", required=True),
    ),
)
_NO_INDEX = "is not possible: pods of a job are not numbered"
JOB_SPEC = Object(
    "JobSpec",
    (
        accepted("template", JOB_TEMPLATE, "the pod", required=True),
        accepted("completions", SECONDS, "how many pods must end well (default: 1)"),
        accepted(
            "parallelism",
            Whole(0, MAX_REPLICAS, f"a job may have {MAX_REPLICAS} machines at a time"),
            "how many machines at a time (default: 1; with 0 it waits, as when it is suspended)",
        ),
        accepted("backoffLimit", Whole(0, INT32), "how many failures are too many is one more (default: 6)"),
        accepted("activeDeadlineSeconds", SECONDS, _DEADLINE),
        accepted("suspend", Flag(), "whether it does not begin (default: false)"),
        silent(
            "ttlSecondsAfterFinished",
            "its machines are off once it ended, and its name stays",
            Whole(0, INT32),
        ),
        accepted(
            "completionMode",
            Choice(("NonIndexed",), (("Indexed", _NO_INDEX, "let the pods find their work in a queue"),)),
            "NonIndexed: any pod that ends well counts",
        ),
        refused("podFailurePolicy", "is not supported yet", "leave it out, and give backoffLimit"),
        refused("successPolicy", "is not possible: it counts numbered pods", "leave it out"),
        refused("backoffLimitPerIndex", _NO_INDEX, "give backoffLimit"),
        refused("maxFailedIndexes", _NO_INDEX, "give backoffLimit"),
        refused(
            "managedBy",
            "is not possible: there is no other controller",
            "leave it out",
            "kubernetes.io/job-controller",
        ),
        silent(
            "podReplacementPolicy",
            "another machine takes the place of one once that is off",
            Choice(("TerminatingOrFailed", "Failed")),
        ),
        silent("selector", "a job has the pods that it makes"),
        silent("manualSelector", "a job has the pods that it makes", Flag()),
    ),
)
JOB_METADATA = Object(
    "JobMetadata",
    (
        accepted("name", NAME, "unique in its namespace, and the DNS name"),
        *META,
        NOTED,
    ),
)
JOB = document("Job", ("batch/v1",), JOB_METADATA, JOB_SPEC, "what should run")

JOB_OF_CRON = Object(
    "CronJobTemplate",
    (
        silent("metadata", "runs are named after the CronJob"),
        accepted("spec", JOB_SPEC, "what runs each time", required=True),
    ),
)
CRON_JOB_SPEC = Object(
    "CronJobSpec",
    (
        accepted(
            "schedule",
            Text(names.schedule, means="schedule"),
            "when it runs: minute, hour, day of the month, month, day of the week; or `@daily` and the like",
            required=True,
            hint='such as schedule: "0 3 * * *"',
        ),
        accepted(
            "timeZone",
            Text(names.time_zone, means="time zone, such as Europe/Madrid"),
            "whose clocks the schedule is about (default: UTC)",
        ),
        accepted(
            "concurrencyPolicy",
            Choice(("Allow", "Forbid", "Replace")),
            "what happens when the run before has not ended: both run, the new one is left out, or the old"
            " one is stopped (default: Allow); on aws runs never overlap, and Replace is refused",
        ),
        accepted("suspend", Flag(), "whether no run begins (default: false)"),
        silent(
            "startingDeadlineSeconds",
            "a run that could not begin at its time is left out",
            Whole(0, INT32),
        ),
        accepted("jobTemplate", JOB_OF_CRON, "what runs", required=True),
        silent("successfulJobsHistoryLimit", "machines are off once they ended", Whole(0, INT32)),
        silent("failedJobsHistoryLimit", "machines are off once they ended", Whole(0, INT32)),
    ),
)
CRON_JOB_VERSIONS = ("batch/v1", "batch/v1beta1", "batch/v2alpha1")
CRON_JOB = document("CronJob", CRON_JOB_VERSIONS, METADATA, CRON_JOB_SPEC, "what should run, and when")
