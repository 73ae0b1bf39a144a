"""StatefulSets, ReplicaSets, ReplicationControllers, bare Pods, Jobs and CronJobs."""

# ruff: noqa: E501 (a line is a case)

import textwrap
from dataclasses import replace

import pytest

from i2kit.model import Amount, Claim, Container, Job, Scratch, Strategy, Volume, Workload
from tests.manifest.reading import POD, manifest, problem, problems

STATEFUL = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: postgres}]}
"""
DISK = "{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
HEADLESS = "---\n{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {clusterIP: None, selector: {app: db}, ports: [port: 80]}}\n"
BARE = """\
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  containers: [{name: web, image: nginx}]
"""
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: web, image: nginx}]
"""
CRON = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: web, image: nginx}]
"""
ONE = (Container("web", "nginx"),)


def only(text: str) -> Workload:
    (workload,) = manifest(text).workloads
    return workload


@pytest.mark.parametrize("version", ["apps/v1", "apps/v1beta2", "apps/v1beta1"])
def test_a_stateful_set(version: str) -> None:
    text = STATEFUL.replace("apps/v1", version) + f"  minReadySeconds: 5\n  volumeClaimTemplates: [{DISK}]\n"
    assert only(text) == Workload(
        name="db",
        containers=(Container("db", "postgres"),),
        replicas=3,
        labels=(("app", "db"),),
        stateful=True,
        subdomain="db",
        strategy=Strategy(max_surge=Amount(0), max_unavailable=Amount(1)),
        min_ready_s=5,
        volumes=(Volume("data", Claim("data", 2**30, each=True)),),
    )


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("storageClassName: gp3,", "gp3"),
        ('storageClassName: "",', None),
        ("", None),
    ],
)
def test_what_kind_of_disk(spec: str, kind: str | None) -> None:
    text = DISK.replace("spec: {", f"spec: {{{spec} ").replace("Once]", "OncePod]")
    (volume,) = only(STATEFUL + f"  volumeClaimTemplates: [{text}]").volumes
    assert volume.source == Claim("data", 2**30, each=True, kind=kind)


def test_the_old_name_of_the_kind_of_disk() -> None:
    note = "{name: data, annotations: {volume.beta.kubernetes.io/storage-class: fast}}"
    (volume,) = only(STATEFUL + f"  volumeClaimTemplates: [{DISK.replace('{name: data}', note)}]").volumes
    assert volume.source == Claim("data", 2**30, each=True, kind="fast")


def test_no_service_by_an_empty_name() -> None:
    found = manifest(STATEFUL.replace("serviceName: db", 'serviceName: ""'))
    assert (found.workloads[0].subdomain, found.warnings) == (None, ())


def test_a_template_of_claims_takes_the_place_of_a_volume_with_its_name() -> None:
    volumes = "volumes: [{name: data, persistentVolumeClaim: {claimName: none}}, {name: tmp, emptyDir: {}}]"
    text = STATEFUL.replace("image: postgres}]", f"image: postgres}}], {volumes}")
    found = only(f"{text}  volumeClaimTemplates: [{DISK}]\n")
    assert set(found.volumes) == {Volume("data", Claim("data", 2**30, each=True)), Volume("tmp", Scratch())}


def test_what_a_stateful_set_says_in_vain_is_told() -> None:
    rest = """\
      podManagementPolicy: Parallel
      ordinals: {start: 0}
      updateStrategy: {type: OnDelete}
      persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}
    """
    found = manifest(STATEFUL + textwrap.indent(textwrap.dedent(rest), "  "))
    assert found.warnings == (
        "a.yml:14:42: spec.persistentVolumeClaimRetentionPolicy.whenDeleted: has no effect: disks stay until they are destroyed with i2kit destroy --volumes",
        "a.yml:13:26: spec.updateStrategy.type: `OnDelete` has no effect: an update replaces the machines, one after the other",
        "a.yml:5:16: spec.serviceName: there is no service `db` here, so names such as db-0.db do not exist",
    )


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("updateStrategy: {rollingUpdate: {partition: 1}}", "a.yml:11:36: spec.updateStrategy.rollingUpdate.partition: is not possible: an update replaces all machines\n  hint: leave it out"),
        ("updateStrategy: {rollingUpdate: {partition: 0}}", None),
        ("updateStrategy: {type: Recreate}", "a.yml:11:26: spec.updateStrategy.type: `Recreate` is not known\n  hint: use RollingUpdate or OnDelete"),
        ("ordinals: {start: 1}", "a.yml:11:14: spec.ordinals.start: is not possible: machines are numbered from 0\n  hint: leave it out"),
        ("strategy: {}", "a.yml:11:3: spec.strategy: is not a known field\n  hint: did you mean `updateStrategy`?"),
        (f"volumeClaimTemplates: [{DISK}, {DISK}]", "a.yml:11:147: spec.volumeClaimTemplates[1].metadata.name: `data` is given twice; the first is at a.yml:11:44"),
        (f"volumeClaimTemplates: [{DISK.replace('[ReadWriteOnce]', '[]')}]", "a.yml:11:71: spec.volumeClaimTemplates[0].spec.accessModes: is an empty list\n  hint: write accessModes: [ReadWriteOnce]"),
        (f"volumeClaimTemplates: [{DISK.replace('WriteOnce', 'WriteMany')}]", "a.yml:11:72: spec.volumeClaimTemplates[0].spec.accessModes[0]: `ReadWriteMany` is not possible: a disk is in one machine at a time\n  hint: use ReadWriteOnce if one machine is enough"),
        (f"volumeClaimTemplates: [{DISK.replace('storage: 1Gi', '')}]", "a.yml:11:110: spec.volumeClaimTemplates[0].spec.resources.requests: `storage` is missing"),
        (f"volumeClaimTemplates: [{DISK.replace('accessModes', 'volumeMode: Block, accessModes')}]", "a.yml:11:70: spec.volumeClaimTemplates[0].spec.volumeMode: `Block` is not possible: a disk is mounted, never given as it is"),
        (f"volumeClaimTemplates: [{DISK.replace('accessModes', 'volumeName: x, accessModes')}]", "a.yml:11:58: spec.volumeClaimTemplates[0].spec.volumeName: is not possible: each machine gets a disk of its own\n  hint: leave it out"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_stateful_set_is_one_message(rest: str, message: str | None) -> None:
    assert problems(f"{STATEFUL}  {rest}\n") == ([message] if message else [])


@pytest.mark.parametrize("version", ["apps/v1", "apps/v1beta2", "extensions/v1beta1"])
def test_a_replica_set_is_a_deployment(version: str) -> None:
    text = POD.replace("apps/v1", version).replace("Deployment", "ReplicaSet") + "  replicas: 2\n"
    (deployment,) = manifest(POD + "  replicas: 2\n").workloads
    assert only(text) == deployment


@pytest.mark.parametrize("selector", ["selector: {app: web}", "minReadySeconds: 0"])
def test_a_replication_controller_too(selector: str) -> None:
    text = POD.replace("apps/v1", "v1").replace("Deployment", "ReplicationController")
    (deployment,) = manifest(POD).workloads
    assert only(text.replace("selector: {matchLabels: {app: web}}", selector)) == deployment


def test_a_replication_controllers_selector_must_match_too() -> None:
    text = POD.replace("apps/v1", "v1").replace("Deployment", "ReplicationController")
    assert problem(text.replace("{matchLabels: {app: web}}", "{app: wbe}")) == (
        "a.yml:5:13: spec.selector: selects app: wbe, but the template's labels have app: web\n"
        "  hint: write app: wbe into spec.template.metadata.labels too"
    )


def test_a_bare_pod() -> None:
    assert only(BARE) == Workload(name="one", containers=ONE, labels=(("app", "one"),))


@pytest.mark.parametrize(
    ("rest", "job"),
    [
        ("restartPolicy: Always", None),
        ("restartPolicy: Never", Job(most_failures=0)),
        ("restartPolicy: OnFailure", Job(most_failures=2**31 - 1, retry=True)),
        ("restartPolicy: Never\n  activeDeadlineSeconds: 9", Job(most_failures=0, deadline_s=9)),
    ],
)
def test_a_bare_pod_may_be_meant_to_end(rest: str, job: Job | None) -> None:
    assert only(f"{BARE}  {rest}\n").job == job


def test_a_bare_pod_that_never_ends_has_no_deadline() -> None:
    assert problem(f"{BARE}  activeDeadlineSeconds: 9\n") == (
        "a.yml:6:26: spec.activeDeadlineSeconds: is not possible: a pod with restartPolicy: Always runs until it"
        " is destroyed\n  hint: leave it out, or use restartPolicy: Never"
    )


def test_a_service_may_select_a_bare_pod_or_a_jobs() -> None:
    service = "---\n{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {selector: {%s}, ports: [port: 80]}}\n"
    for text in (BARE + service % "app: one", JOB + service % "job-name: migrate"):
        found = manifest(text)
        assert found.services[0].selects(found.workloads[0])


def test_a_job() -> None:
    assert only(JOB) == Workload(
        name="migrate",
        containers=ONE,
        labels=(("job-name", "migrate"), ("batch.kubernetes.io/job-name", "migrate")),
        job=Job(),
    )


@pytest.mark.parametrize(
    ("rest", "job"),
    [
        ("completions: 4\n  parallelism: 2\n  backoffLimit: 0", Job(4, 2, 0)),
        ("completions: 4", Job(4, 1)),
        ("parallelism: 1", Job()),
        ("parallelism: 0", Job(suspended=True)),
        ("suspend: true\n  activeDeadlineSeconds: 60", Job(deadline_s=60, suspended=True)),
        ("ttlSecondsAfterFinished: 0\n  completionMode: NonIndexed\n  podReplacementPolicy: Failed", Job()),
    ],
)
def test_what_a_job_says(rest: str, job: Job) -> None:
    assert only(f"{JOB}  {rest}\n").job == job
    assert only(f"{JOB}  {rest}\n".replace("Never", "OnFailure")).job == replace(job, retry=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("restartPolicy: Never", "hostIPC: false", "a.yml:7:7: spec.template.spec: `restartPolicy` is missing\n  hint: use OnFailure or Never"),
        ("Never", "Always", "a.yml:7:22: spec.template.spec.restartPolicy: `Always` is not possible: a job's pod is meant to end\n  hint: use OnFailure or Never"),
        ("{name: migrate}", "{generateName: migrate-}", "a.yml:3:12: metadata.generateName: is not possible: names must stay the same from one deploy to the next\n  hint: use name"),
        ("{name: migrate}", "{namespace: a}", "a.yml:3:11: metadata: `name` is missing\n  hint: such as name: migrate"),
        ("spec:\n  t", "spec:\n  completionMode: Indexed\n  t", "a.yml:5:19: spec.completionMode: `Indexed` is not possible: pods of a job are not numbered\n  hint: let the pods find their work in a queue"),
        ("spec:\n  t", "spec:\n  parallelism: 3\n  t", "a.yml:5:16: spec.parallelism: without `completions` is not supported: the pods would decide together when all is done\n  hint: such as completions: 3, where each pod does a part"),
        ("spec:\n  t", "spec:\n  podFailurePolicy: {rules: []}\n  t", "a.yml:5:3: spec.podFailurePolicy: is not supported yet\n  hint: leave it out, and give backoffLimit"),
        ("spec:\n  t", "spec:\n  successPolicy: {rules: []}\n  t", "a.yml:5:3: spec.successPolicy: is not possible: it counts numbered pods\n  hint: leave it out"),
        ("spec:\n  t", "spec:\n  backoffLimitPerIndex: 1\n  t", "a.yml:5:3: spec.backoffLimitPerIndex: is not possible: pods of a job are not numbered\n  hint: give backoffLimit"),
        ("spec:\n  t", "spec:\n  managedBy: example.com/me\n  t", "a.yml:5:3: spec.managedBy: is not possible: there is no other controller\n  hint: leave it out"),
        ("batch/v1", "v1", "a.yml:1:13: apiVersion: `v1` is not an apiVersion of Job\n  hint: use batch/v1"),
        ("      restart", "      activeDeadlineSeconds: 3\n      restart", "a.yml:7:7: spec.template.spec.activeDeadlineSeconds: is not possible for a pod of a job\n  hint: give it to the job: spec.activeDeadlineSeconds"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_job_is_one_message(old: str, new: str, message: str) -> None:
    assert problem(JOB.replace(old, new)) == message


@pytest.mark.parametrize("version", ["batch/v1", "batch/v1beta1", "batch/v2alpha1"])
def test_a_cron_job(version: str) -> None:
    assert only(CRON.replace("batch/v1", version)) == Workload(
        name="nightly", containers=ONE, job=Job(retry=True, schedule="0 3 * * *")
    )


def test_what_a_cron_job_says() -> None:
    rest = """\
      timeZone: Europe/Madrid
      concurrencyPolicy: Forbid
      suspend: true
      startingDeadlineSeconds: 30
      successfulJobsHistoryLimit: 1
      failedJobsHistoryLimit: 0
    """
    found = only(CRON.replace("0 3 * * *", "@hourly") + textwrap.indent(textwrap.dedent(rest), "  "))
    assert found.job == Job(
        retry=True, schedule="0 * * * *", time_zone="Europe/Madrid", overlap="Forbid", suspended=True
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0 3 * * *", "0 3 * *", "a.yml:5:13: spec.schedule: has 4 fields and needs 5\n  hint: they are: minute, hour, day of the month, month, day of the week"),
        ("0 3 * * *", "TZ=UTC 0 3 * * *", "a.yml:5:13: spec.schedule: cannot have a time zone in it\n  hint: write timeZone: ZONE beside it"),
        ("0 3 * * *", "${SCHEDULE}", "a.yml:5:13: spec.schedule: `${SCHEDULE}` is not rendered: `${SCHEDULE}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
        ("  jobT", "  timeZone: Mars/Crater\n  jobT", "a.yml:6:13: spec.timeZone: `Mars/Crater` is not a time zone that this machine knows\n  hint: such as Europe/Madrid"),
        ("nightly", 53 * "n", f"a.yml:3:18: metadata.name: `{53 * 'n'}` has 53 characters and a CronJob's name may have 52"),
    ],
)  # fmt: skip
def test_one_mistake_in_a_cron_job_is_one_message(old: str, new: str, message: str) -> None:
    assert problem(CRON.replace(old, new)) == message
