"""The third part of the table in `fields`: what follows how busy the machines are, in all of its versions.

Nothing is computed here either.
"""

from i2kit.manifest.tables.scalars import INT32, Choice, Load, Quantity, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import (
    DEPLOYMENT_VERSIONS,
    LATER,
    MAX_REPLICAS,
    NAME,
    accepted,
    silent,
    warned,
)

_BOUNDS = (
    accepted(
        "minReplicas",
        Whole(
            1,
            MAX_REPLICAS,
            f"a deployment may have {MAX_REPLICAS} replicas: split it into several",
            "nothing would be left to be measured; i2kit scale NAME 0 stops a deployment",
        ),
        "the fewest replicas (default: 1)",
    ),
    accepted(
        "maxReplicas",
        Whole(1, MAX_REPLICAS, f"a deployment may have {MAX_REPLICAS} replicas: split it into several"),
        "the most replicas",
        required=True,
        hint="such as maxReplicas: 10",
    ),
)
SCALING_RULES = Object(
    "ScalingRules",
    (
        accepted(
            "stabilizationWindowSeconds",
            Whole(0, 3600),
            "how long a change must have been asked for (default: 0 to grow, 300 to shrink)",
        ),
        warned("policies", "has no effect: the provider decides how fast the number changes"),
        warned(
            "selectPolicy",
            "has no effect: the provider decides how fast the number changes",
            "Max",
            type_=Choice(
                ("Max", "Min"), (("Disabled", LATER, "leave it out and bound the number of replicas"),)
            ),
        ),
        warned("tolerance", "has no effect: the provider decides which changes are too small to follow"),
    ),
)
BEHAVIOR = Object(
    "Behavior",
    (
        accepted("scaleUp", SCALING_RULES, "how the number grows"),
        accepted("scaleDown", SCALING_RULES, "how the number shrinks"),
    ),
)
_NO_METRICS_API = (
    "is not possible: only what the machines report can be followed, and there is no metrics API"
)
_FOLLOW = "use type: Resource with cpu or memory"
_RESOURCE_NAME = accepted(
    "name",
    Choice(("cpu", "memory")),
    "what is measured: the average of all machines, and all their containers",
    required=True,
)
_PERCENT = "percent of what the containers request (a limit counts as a request where there is none)"
_EACH = "how much for each machine"
_AT_LEAST_ONE = Whole(1, INT32)
_ONE_METRIC = (
    accepted(
        "type",
        Choice(
            ("Resource",),
            (
                ("Pods", _NO_METRICS_API, _FOLLOW),
                ("Object", _NO_METRICS_API, _FOLLOW),
                ("External", _NO_METRICS_API, _FOLLOW),
                ("ContainerResource", "is not supported yet: machines are measured as a whole", _FOLLOW),
            ),
        ),
        "what kind of metric",
        required=True,
        hint="write type: Resource",
    ),
)
OTHER_METRICS = ("pods", "object", "external", "containerResource")
_NOT_THESE = tuple(silent(name, "belongs to a type of metric that is refused") for name in OTHER_METRICS)
METRIC_TARGET = Object(
    "MetricTarget",
    (
        accepted(
            "type",
            Choice(
                ("Utilization", "AverageValue"),
                (("Value", "is not possible: a resource has an average only", "use AverageValue"),),
            ),
            "which of the two",
            required=True,
            hint="write type: Utilization",
        ),
        accepted("averageUtilization", _AT_LEAST_ONE, _PERCENT),
        accepted("averageValue", Quantity("either"), _EACH),
        silent("value", "a resource has an average only"),
    ),
)
METRIC = Object(
    "Metric",
    (
        *_ONE_METRIC,
        accepted(
            "resource",
            Object(
                "ResourceMetric",
                (
                    _RESOURCE_NAME,
                    accepted("target", METRIC_TARGET, "where to keep it", required=True),
                ),
            ),
            "what is measured, and where to keep it",
        ),
        *_NOT_THESE,
    ),
    hint="write - type: Resource and resource: {name: cpu, target: …}",
)
OLD_METRIC = Object(
    "MetricV2beta1",
    (
        *_ONE_METRIC,
        accepted(
            "resource",
            Object(
                "ResourceMetricV2beta1",
                (
                    _RESOURCE_NAME,
                    accepted("targetAverageUtilization", _AT_LEAST_ONE, _PERCENT),
                    accepted("targetAverageValue", Quantity("either"), _EACH),
                ),
            ),
            "what is measured, and where to keep it",
        ),
        *_NOT_THESE,
    ),
)
SCALE_TARGET = Object(
    "ScaleTarget",
    (
        accepted("apiVersion", Choice(DEPLOYMENT_VERSIONS), "its apiVersion"),
        accepted(
            "kind",
            Choice(
                ("Deployment", "ReplicaSet"),
                (
                    ("StatefulSet", LATER, "use a Deployment if the pods keep no data"),
                    ("ReplicationController", LATER, "use a Deployment"),
                ),
            ),
            "its kind",
            required=True,
            hint="write kind: Deployment",
        ),
        accepted("name", NAME, "name of a deployment in the same files and namespace", required=True),
    ),
)
_TARGET = accepted("scaleTargetRef", SCALE_TARGET, "which deployment", required=True)
_METRICS_ABOUT = "what the number follows; that which asks for the most counts (default: cpu at 80%)"
_METRICS = accepted("metrics", ListOf(METRIC), _METRICS_ABOUT)
_BEHAVIOR = accepted("behavior", BEHAVIOR, "how fast it follows")
AUTOSCALER_SPEC = Object("AutoscalerSpec", (_TARGET, *_BOUNDS, _METRICS, _BEHAVIOR))
AUTOSCALER_V2BETA1_SPEC = Object(
    "AutoscalerV2beta1Spec", (_TARGET, *_BOUNDS, accepted("metrics", ListOf(OLD_METRIC), _METRICS_ABOUT))
)
AUTOSCALER_V1_SPEC = Object(
    "AutoscalerV1Spec",
    (
        _TARGET,
        *_BOUNDS,
        accepted("targetCPUUtilizationPercentage", _AT_LEAST_ONE, f"{_PERCENT} (default: 80)"),
    ),
)
AUTOSCALING = Object(
    "Autoscaling",
    (
        *_BOUNDS,
        accepted("cpu", Load("cpu"), "what the average use of processors should be kept at"),
        accepted("memory", Load("memory"), "what the average use of memory should be kept at"),
        _METRICS,
        _BEHAVIOR,
    ),
    hint="write autoscaling: {maxReplicas: 10, cpu: 80%}",
)
