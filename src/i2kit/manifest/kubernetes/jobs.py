"""Jobs and CronJobs: pods that are meant to end.

In: one document as a record. Out: a Workload with a Job, gathered in a Reading. Pure.
"""

from dataclasses import replace
from typing import Literal

from i2kit.manifest import pods
from i2kit.manifest.log import Log
from i2kit.manifest.reading import Reading
from i2kit.manifest.tables.shape import Record
from i2kit.model import Job

LONGEST_CRON_JOB = 52
"""Kubernetes puts eleven characters behind the name for each run (batch/validation)."""

_OVERLAPS: tuple[Literal["Allow", "Forbid", "Replace"], ...] = ("Allow", "Forbid", "Replace")


def job(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A Job. Its pods have the labels that Kubernetes gives them beside their own."""
    metadata, spec = record.record("metadata"), record.record("spec")
    if metadata and not (metadata.has("name") or metadata.has("generateName")):
        log.problem(metadata.position, metadata.path, "`name` is missing", "such as name: migrate")
    found = _of(spec, metadata, reading, log)
    if found is None:
        return
    workload, needs = found.workload, found.needs
    own = {"job-name": workload.name, "batch.kubernetes.io/job-name": workload.name}
    labels = tuple({**own, **dict(workload.labels)}.items()) if workload.name else workload.labels
    reading.add(replace(workload, labels=labels), needs)


def cron_job(record: Record, version: str, reading: Reading, log: Log) -> None:
    """A CronJob of any version."""
    metadata, spec = record.record("metadata"), record.record("spec")
    template = spec.record("jobTemplate") if spec else None
    found = _of(template.record("spec") if template else None, metadata, reading, log)
    if not (metadata and spec and found and found.workload.job):
        reading.complete = False
        return
    name = metadata.text("name") or ""
    if len(name) > LONGEST_CRON_JOB:
        message = f"`{name}` has {len(name)} characters and a CronJob's name may have {LONGEST_CRON_JOB}"
        log.problem(metadata.place("name"), metadata.at("name"), message)
    schedule = spec.text("schedule")
    if schedule:
        from i2kit import cron  # only a CronJob needs it

        schedule = cron.parse(schedule).text
    overlap = spec.text("concurrencyPolicy")
    job = replace(
        found.workload.job,
        schedule=schedule,
        time_zone=spec.text("timeZone"),
        overlap=next((one for one in _OVERLAPS if one == overlap), "Allow"),
        suspended=found.workload.job.suspended or spec.flag("suspend") or False,
    )
    reading.add(replace(found.workload, job=job), found.needs)


def _of(spec: Record | None, metadata: Record | None, reading: Reading, log: Log) -> pods.Found | None:
    template = spec.record("template") if spec else None
    body = template.record("spec") if template else None
    if not (metadata and spec and template and body):
        reading.complete = False
        return None
    found = pods.read(metadata, template.record("metadata"), body, reading, log)
    completions, parallelism = spec.whole("completions"), spec.whole("parallelism")
    if completions is None and (parallelism or 1) > 1 and not spec.is_wrong("completions"):
        message = "without `completions` is not supported: the pods would decide together when all is done"
        hint = f"such as completions: {parallelism}, where each pod does a part"
        log.problem(spec.place("parallelism"), spec.at("parallelism"), message, hint)
    failures = spec.whole("backoffLimit")
    job = Job(
        completions=completions or 1,
        parallelism=parallelism or 1,
        most_failures=6 if failures is None else failures,
        deadline_s=spec.whole("activeDeadlineSeconds"),
        retry=body.text("restartPolicy") == "OnFailure",
        suspended=spec.flag("suspend") or parallelism == 0,
    )
    return replace(found, workload=replace(found.workload, job=job))
