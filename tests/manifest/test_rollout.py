"""How an update replaces machines: what the fields mean in both forms, and what is told of mistakes."""

# ruff: noqa: E501 (a line is a case)

from dataclasses import replace

import pytest

from i2kit.app import hash_of
from i2kit.model import Amount, Exec, Metric, Probe, Scaling, Strategy, Workload
from tests.manifest.reading import POD, manifest, problem, problems

NATIVE = "name: web\ncontainers: {web: {image: 'nginx:1.27'}}\n"


def workload(text: str) -> Workload:
    """The workload with these fields, the same in both forms."""
    (theirs,) = manifest(POD + f"  {text}").workloads
    (ours,) = manifest(NATIVE + text).workloads
    assert ours == theirs
    return theirs


QUARTER = Amount(25, percent=True)


@pytest.mark.parametrize(
    ("text", "strategy"),
    [
        ("strategy: {}", Strategy()),
        ("strategy: {type: RollingUpdate, rollingUpdate: null}", Strategy()),
        ("strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", Strategy(False, Amount(1), Amount(0))),
        ("strategy: {rollingUpdate: {maxSurge: 300%}}", Strategy(False, Amount(300, percent=True), QUARTER)),
        ("strategy: {rollingUpdate: {maxSurge: 0}}", Strategy(False, Amount(0), QUARTER)),
        ("strategy: {rollingUpdate: {maxUnavailable: 100%}}", Strategy(False, QUARTER, Amount(100, percent=True))),
        ("strategy: {type: Recreate, rollingUpdate: null}", Strategy(recreate=True)),
    ],
)  # fmt: skip
def test_strategies(text: str, strategy: Strategy) -> None:
    assert workload(text).strategy == strategy


def test_times() -> None:
    found = workload("minReadySeconds: 0")
    assert (found.min_ready_s, found.progress_deadline_s, found.grace_s) == (0, 600, 30)
    assert workload("minReadySeconds: 599").min_ready_s == 599
    assert workload("progressDeadlineSeconds: 2147483647").progress_deadline_s == 2147483647
    (theirs,) = manifest(POD + "      terminationGracePeriodSeconds: 0").workloads
    (ours,) = manifest(NATIVE + "terminationGracePeriodSeconds: 0").workloads
    assert theirs.grace_s == ours.grace_s == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strategy: Recreate", "13: spec.strategy: must be a mapping and is the text `Recreate`"),
        ("strategy: {type: Rolling}", "20: spec.strategy.type: `Rolling` is not known\n  hint: did you mean `RollingUpdate`?"),
        ("strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}", "45: spec.strategy.rollingUpdate: has no meaning with type: Recreate\n  hint: leave it out, or use type: RollingUpdate"),
        ("strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}", "29: spec.strategy.rollingUpdate: allows no machine more and none less, so that none could be replaced\n  hint: such as maxSurge: 1"),
        ("strategy: {rollingUpdate: {maxUnavailable: 101%}}", "46: spec.strategy.rollingUpdate.maxUnavailable: must be at most 100% and is 101%"),
        ("strategy: {rollingUpdate: {maxSurge: '1'}}", "40: spec.strategy.rollingUpdate.maxSurge: `1` is not a percentage\n  hint: remove the quotes: 1, or write 1%"),
        ("strategy: {rollingUpdate: {maxSurge: 2.5%}}", "40: spec.strategy.rollingUpdate.maxSurge: `2.5%` is not a percentage\n  hint: such as 25%"),
        ("strategy: {rollingUpdate: {maxSurge: -1}}", "40: spec.strategy.rollingUpdate.maxSurge: must be at least 0 and is -1"),
        ("strategy: {rollingUpdate: {maxSurge: 0.5}}", "40: spec.strategy.rollingUpdate.maxSurge: must be a whole number and is the number 0.5"),
        ("strategy: {rollingUpdate: {maxSurge: true}}", "40: spec.strategy.rollingUpdate.maxSurge: must be a whole number or a percentage and is the boolean true\n  hint: such as 1 or 25%"),
        ("strategy: {rollingUpdate: {maxSurge: '${SURGE}'}}", "40: spec.strategy.rollingUpdate.maxSurge: `${SURGE}` is not rendered: `${SURGE}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
        ("strategy: {rollingUpdate: {maxSurge: 1, partition: 1}}", "43: spec.strategy.rollingUpdate.partition: is not a known field\n  hint: the fields here are maxSurge, maxUnavailable"),
        ("minReadySeconds: -5", "20: spec.minReadySeconds: must be at least 0 and is -5"),
        ("minReadySeconds: 600", "20: spec.minReadySeconds: must be less than progressDeadlineSeconds (by default 600) and is 600\n  hint: such as progressDeadlineSeconds: 1200"),
        ("progressDeadlineSeconds: 0", "28: spec.progressDeadlineSeconds: must be more than minReadySeconds (0) and is 0\n  hint: such as progressDeadlineSeconds: 600"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(text: str, message: str) -> None:
    assert problem(POD + f"  {text}") == f"a.yml:12:{message}"
    column, _, rest = message.partition(": ")
    assert problem(NATIVE + text) == f"a.yml:3:{int(column) - 2}: {rest.removeprefix('spec.')}"


def test_what_is_wrong_is_told_once() -> None:
    assert len(problems(POD + "  minReadySeconds: 10\n  progressDeadlineSeconds: soon")) == 1
    assert len(problems(POD + "      terminationGracePeriodSeconds: -1")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": Strategy(recreate=True)},
        {"strategy": Strategy(max_surge=Amount(25))},
        {"min_ready_s": 1},
        {"progress_deadline_s": 601},
        {"grace_s": 31},
        {"scaling": Scaling(1, 2, (Metric("cpu", percent=80),))},
    ],
)
def test_another_rollout_is_another_manifest(change: dict[str, object]) -> None:
    (before,) = manifest(POD).workloads
    assert hash_of(replace(before, **change), ()) != hash_of(before, ())  # type: ignore[arg-type]


def test_another_probe_is_another_manifest() -> None:
    (before,) = manifest(POD).workloads
    (container,) = before.containers
    hashes = {
        hash_of(replace(before, containers=(replace(container, **{kind: probe}),)), ())  # type: ignore[arg-type]
        for kind in ("startup", "liveness", "readiness")
        for probe in (None, Probe(Exec(("a",))), Probe(Exec(("a",)), period_s=5))
    }
    assert len(hashes) == 7
