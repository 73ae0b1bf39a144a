"""Autoscalers: every version of them and the short form, joined with their deployments."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import Metric, Scaling
from tests.manifest.reading import POD, manifest, problem, problems

SIZED = POD + "        resources: {requests: {cpu: 100m}, limits: {memory: 64Mi}}\n"
NATIVE = """\
name: web
containers: {web: {image: nginx, resources: {requests: {cpu: 100m}, limits: {memory: 64Mi}}}}
"""


def autoscaler(rest: str = "", version: str = "v2", target: str = "web") -> str:
    """An autoscaler of POD's deployment; `rest` goes on in spec after a comma, on line 6."""
    return (
        f"apiVersion: autoscaling/{version}\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web.cpu}}\n"
        f"spec: {{\nscaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {target}}}\n{rest}}}\n"
    )


def scaling(rest: str, version: str = "v2") -> Scaling | None:
    (found,) = manifest(SIZED, autoscaler(rest, version)).workloads
    return found.scaling


def resource(name: str, target: str) -> str:
    return f"{{type: Resource, resource: {{name: {name}, target: {{{target}}}}}}}"


CPU = resource("cpu", "type: Utilization, averageUtilization: 70")
CPU_70 = Metric("cpu", percent=70)


@pytest.mark.parametrize(
    ("rest", "version", "metrics"),
    [
        ("", "v2", (Metric("cpu", percent=80),)),
        (", metrics: []", "v2", (Metric("cpu", percent=80),)),
        (f", metrics: [{CPU}]", "v2", (CPU_70,)),
        (f", metrics: [{CPU}]", "v2beta2", (CPU_70,)),
        (f", metrics: [{resource('memory', 'type: Utilization, averageUtilization: 150')}, {CPU}]", "v2", (Metric("memory", percent=150), CPU_70)),
        (f", metrics: [{resource('memory', 'type: AverageValue, averageValue: 1.5Mi')}]", "v2", (Metric("memory", value=3 * 2**19),)),
        (f", metrics: [{resource('cpu', 'type: AverageValue, averageValue: 250m')}]", "v2", (Metric("cpu", value=250),)),
        (f", metrics: [{resource('cpu', 'type: AverageValue, averageValue: 2')}]", "v2", (Metric("cpu", value=2000),)),
        (", metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 70}}]", "v2beta1", (CPU_70,)),
        (", metrics: [{type: Resource, resource: {name: memory, targetAverageValue: 1M}}]", "v2beta1", (Metric("memory", value=10**6),)),
        ("", "v1", (Metric("cpu", percent=80),)),
        (", targetCPUUtilizationPercentage: 70", "v1", (CPU_70,)),
    ],
)  # fmt: skip
def test_every_version(rest: str, version: str, metrics: tuple[Metric, ...]) -> None:
    assert scaling(f", minReplicas: 2, maxReplicas: 9{rest}", version) == Scaling(2, 9, metrics)


def test_what_is_absent_is_as_in_kubernetes() -> None:
    assert scaling(", maxReplicas: 3") == Scaling(1, 3, (Metric("cpu", percent=80),), 300, 0)


def test_windows() -> None:
    windows = "scaleDown: {stabilizationWindowSeconds: 0, selectPolicy: Max}, scaleUp: {stabilizationWindowSeconds: 3600}"
    found = manifest(SIZED, autoscaler(f", maxReplicas: 3, behavior: {{{windows}}}"))
    assert found.workloads[0].scaling == Scaling(1, 3, (Metric("cpu", percent=80),), 0, 3600)
    assert found.warnings == ()


def test_the_pace_is_not_up_to_the_manifest() -> None:
    rules = "scaleDown: {selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 60}]}"
    assert manifest(SIZED, autoscaler(f", maxReplicas: 3, behavior: {{{rules}}}")).warnings == (
        "b.yml:6:42: spec.behavior.scaleDown.selectPolicy: has no effect: the provider decides how fast the number changes",
        "b.yml:6:61: spec.behavior.scaleDown.policies: has no effect: the provider decides how fast the number changes",
    )


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("", (Metric("cpu", percent=80),)),
        (", cpu: 70%", (CPU_70,)),
        (", cpu: 250m", (Metric("cpu", value=250),)),
        (", cpu: 0.5, memory: 75%", (Metric("cpu", value=500), Metric("memory", percent=75))),
        (f", memory: 64Mi, metrics: [{CPU}]", (Metric("memory", value=2**26), CPU_70)),
    ],
)
def test_the_short_form(text: str, metrics: tuple[Metric, ...]) -> None:
    (found,) = manifest(NATIVE + f"autoscaling: {{minReplicas: 2, maxReplicas: 9{text}}}").workloads
    assert found.scaling == Scaling(2, 9, metrics)


def test_an_autoscaler_may_be_for_an_i2kit_manifest_and_come_first() -> None:
    (found,) = manifest(autoscaler(", maxReplicas: 3"), NATIVE).workloads
    assert found.scaling == Scaling(1, 3, (Metric("cpu", percent=80),))


def test_a_list_of_autoscalers() -> None:
    item = "{metadata: {name: web}, spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 3}}"
    text = f"{{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscalerList, items: [{item}]}}"
    assert manifest(SIZED, text).workloads[0].scaling == Scaling(1, 3, (Metric("cpu", percent=80),))


def test_no_replicas_switch_it_off_as_in_kubernetes() -> None:
    found = manifest(SIZED + "  replicas: 0", autoscaler(", maxReplicas: 3"))
    assert (found.workloads[0].replicas, found.workloads[0].scaling) == (0, None)
    assert found.warnings == (
        "a.yml:3:18: deployment `default/web`: is not scaled by its autoscaler while it has `replicas: 0`",
    )


NO_API = "is not possible: only what the machines report can be followed, and there is no metrics API\n  hint: use type: Resource with cpu or memory"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("", "4:7: spec: `maxReplicas` is missing\n  hint: such as maxReplicas: 10"),
        (", maxReplicas: 0", "6:16: spec.maxReplicas: must be at least 1 and is 0"),
        (", maxReplicas: 251", "6:16: spec.maxReplicas: must be at most 250 and is 251\n  hint: a deployment may have 250 replicas: split it into several"),
        (", minReplicas: 0, maxReplicas: 2", "6:16: spec.minReplicas: must be at least 1 and is 0\n  hint: nothing would be left to be measured; i2kit scale NAME 0 stops a deployment"),
        (", minReplicas: 3, maxReplicas: 2", "6:32: spec.maxReplicas: must be at least minReplicas (3) and is 2"),
        (", maxReplicas: 2, metrics: [{type: Pods, pods: {metric: {name: x}}}]", f"6:36: spec.metrics[0].type: `Pods` {NO_API}"),
        (", maxReplicas: 2, metrics: [{type: External, external: {}}]", f"6:36: spec.metrics[0].type: `External` {NO_API}"),
        (", maxReplicas: 2, metrics: [{type: Object}]", f"6:36: spec.metrics[0].type: `Object` {NO_API}"),
        (", maxReplicas: 2, metrics: [{type: ContainerResource, containerResource: {}}]", "6:36: spec.metrics[0].type: `ContainerResource` is not supported yet: machines are measured as a whole\n  hint: use type: Resource with cpu or memory"),
        (", maxReplicas: 2, metrics: [{type: Resource}]", "6:29: spec.metrics[0]: `resource` is missing\n  hint: write resource: {name: cpu, …}"),
        (", maxReplicas: 2, metrics: [{resource: {name: cpu, target: {type: Utilization, averageUtilization: 5}}}]", "6:29: spec.metrics[0]: `type` is missing\n  hint: write type: Resource"),
        (", maxReplicas: 2, metrics: [{type: Resource, resource: {name: cpu}}]", "6:56: spec.metrics[0].resource: `target` is missing"),
        (f", maxReplicas: 2, metrics: [{resource('gpu', 'type: Utilization, averageUtilization: 5')}]", "6:63: spec.metrics[0].resource.name: `gpu` is not known\n  hint: use cpu or memory"),
        (f", maxReplicas: 2, metrics: [{resource('cpu', 'type: Utilization')}]", "6:76: spec.metrics[0].resource.target: does not say where to keep it\n  hint: such as averageUtilization: 80"),
        (f", maxReplicas: 2, metrics: [{resource('cpu', 'type: Utilization, averageUtilization: 0')}]", "6:116: spec.metrics[0].resource.target.averageUtilization: must be at least 1 and is 0"),
        (f", maxReplicas: 2, metrics: [{resource('cpu', 'type: Utilization, averageUtilization: 5, averageValue: 1')}]", "6:76: spec.metrics[0].resource.target: has both a percentage and an amount\n  hint: leave one of them"),
        (f", maxReplicas: 2, metrics: [{resource('cpu', 'type: Value, value: 1')}]", "6:83: spec.metrics[0].resource.target.type: `Value` is not possible: a resource has an average only\n  hint: use AverageValue"),
        (", maxReplicas: 2, behavior: {scaleDown: {selectPolicy: Disabled}}", "6:56: spec.behavior.scaleDown.selectPolicy: `Disabled` is not supported yet\n  hint: leave it out and bound the number of replicas"),
        (", maxReplicas: 2, behavior: {scaleUp: {stabilizationWindowSeconds: 3601}}", "6:68: spec.behavior.scaleUp.stabilizationWindowSeconds: must be at most 3600 and is 3601"),
        (", maxReplicas: 2, targetCPUUtilizationPercentage: 5", "6:19: spec.targetCPUUtilizationPercentage: is not a known field\n  hint: the fields here are scaleTargetRef, minReplicas, maxReplicas, metrics, behavior"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(rest: str, message: str) -> None:
    assert problem(SIZED, autoscaler(rest)) == f"b.yml:{message}"


def test_what_old_versions_hide_in_notes_is_not_ignored() -> None:
    text = autoscaler(", maxReplicas: 2", "v1").replace(
        "name: web.cpu", "name: web, annotations: {autoscaling.alpha.kubernetes.io/metrics: '[]', other: x}"
    )
    assert problem(SIZED, text) == (
        'b.yml:3:37: metadata.annotations."autoscaling.alpha.kubernetes.io/metrics": is not supported: '
        "autoscaling/v2 has a field for it\n  hint: write it as kubectl get hpa.v2.autoscaling -o yaml prints it"
    )


def test_a_target_that_is_not_there() -> None:
    message = "b.yml:5:63: spec.scaleTargetRef.name: there is no deployment `app` in namespace `default` of these files"
    lost = autoscaler(", maxReplicas: 2", target="app")
    assert (
        problem(POD, lost)
        == f"{message}\n  hint: those here are web; give the deployment's file too, with another -f"
    )
    elsewhere = POD.replace("metadata: {name: web}", "metadata: {name: app, namespace: shop}")
    assert problem(elsewhere, lost) == f"{message}\n  hint: deployment `app` is in namespace `shop`"
    assert problem(lost).endswith("hint: give the deployment's file too, with another -f")
    assert len(problems("name: [", lost)) == 1


def test_only_deployments_are_scaled() -> None:
    text = autoscaler(", maxReplicas: 2")
    assert problem(SIZED, text.replace("kind: Deployment", "kind: StatefulSet")) == (
        "b.yml:5:45: spec.scaleTargetRef.kind: `StatefulSet` is not supported yet\n"
        "  hint: use a Deployment if the pods keep no data"
    )
    assert problem(SIZED, text.replace("apiVersion: apps/v1", "apiVersion: v1")).startswith(
        "b.yml:5:30: spec.scaleTargetRef.apiVersion: `v1` is not known"
    )


def test_what_keeps_its_number_is_not_scaled() -> None:
    text = autoscaler(", maxReplicas: 2")
    (message,) = problems(SIZED.replace("kind: Deployment", "kind: StatefulSet"), text)
    assert "`default/web` keeps the number of its machines: a deployment can follow how busy it is" in message


def test_two_autoscalers_of_one_deployment() -> None:
    text = autoscaler(", maxReplicas: 2")
    assert problem(SIZED, text, text) == (
        "c.yml:5:63: spec.scaleTargetRef.name: deployment `default/web` has an autoscaler already; "
        "the first is at b.yml:5:63\n  hint: leave one of them; it may have several metrics"
    )
    assert problem(NATIVE + "autoscaling: {maxReplicas: 2}", text).startswith("b.yml:5:63: ")


def test_a_percentage_needs_a_request_of_every_container() -> None:
    text = SIZED + "      - {name: log, image: busybox, resources: {limits: {cpu: 1}}}\n"
    assert problems(text, autoscaler(f", maxReplicas: 2, metrics: [{CPU}]")) == []
    memory = resource("memory", "type: Utilization, averageUtilization: 5")
    value = resource("cpu", "type: AverageValue, averageValue: 1")
    both = manifest(text, autoscaler(f", maxReplicas: 2, metrics: [{memory}, {value}]"))
    assert "has no effect, as in Kubernetes: 5% is of the memory" in both.warnings[0]
    assert "and `log` requests none" in both.warnings[0]
    assert both.workloads[0].scaling == Scaling(1, 2, (Metric("cpu", value=1000),), 300, 0)
    assert problem(NATIVE.replace("requests: {cpu: 100m}, ", "") + "autoscaling: {maxReplicas: 2}") == (
        "a.yml:3:14: autoscaling: 80% is of the cpu that the containers of deployment `web` request, and `web`"
        " requests none\n  hint: give each container resources: {requests: {cpu: …}}, or follow an amount"
    )


@pytest.mark.parametrize(
    ("replicas", "limits", "found"),
    [("", "minReplicas: 3, maxReplicas: 5", 3), ("replicas: 9", "maxReplicas: 5", 5), ("replicas: 4", "maxReplicas: 5", 4)],
)  # fmt: skip
def test_what_cannot_be_measured_leaves_the_number_within_its_limits(
    replicas: str, limits: str, found: int
) -> None:
    one = manifest(POD.replace("spec:\n", f"spec:\n  {replicas}\n", 1), autoscaler(f", {limits}"))
    (workload,) = one.workloads
    assert (workload.replicas, workload.scaling) == (found, None)
    assert one.warnings == (
        "b.yml:4:7: spec: has no effect, as in Kubernetes: 80% is of the cpu that the containers of deployment"
        " `web` request, and `web` requests none",
    )


def test_a_request_that_is_wrong_is_told_once() -> None:
    wrong = POD + "        resources: {requests: {cpu: much}}"
    assert len(problems(wrong, autoscaler(", maxReplicas: 2"))) == 1
    assert len(problems(NATIVE.replace("100m", "much") + "autoscaling: {maxReplicas: 2}")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "14: autoscaling: must be a mapping and is the number 5\n  hint: write autoscaling: {maxReplicas: 10, cpu: 80%}"),
        ("{maxReplicas: 2, cpu: 0%}", "36: autoscaling.cpu: must be at least 1%\n  hint: such as 80%"),
        ("{maxReplicas: 2, cpu: much}", "36: autoscaling.cpu: `much` is not a quantity\n  hint: such as 500m or 0.5"),
        ("{maxReplicas: 2, memory: 5MB}", "39: autoscaling.memory: `5MB` is not a quantity: `MB` is no unit\n  hint: write 5Mi (1024s) or 5M (1000s)"),
        ("{maxReplicas: 2, scaleTargetRef: {}}", "31: autoscaling.scaleTargetRef: is not a known field\n  hint: the fields here are minReplicas, maxReplicas, cpu, memory, metrics, behavior"),
    ],
)  # fmt: skip
def test_mistakes_in_the_short_form(text: str, message: str) -> None:
    assert problem(NATIVE + f"autoscaling: {text}") == f"a.yml:3:{message}"
