"""The second half of the table in `fields`: the documents themselves, of both forms of a manifest.

Nothing is computed here either.
"""

from i2kit.manifest.tables import (
    claim_fields,
    config_fields,
    disk_fields,
    ingress_fields,
    names,
    policy_fields,
    service_fields,
    workload_fields,
)
from i2kit.manifest.tables.fields import (
    CONTAINER_FIELDS,
    GRACE,
    POD_COMMON,
    POD_SECURITY,
    PORT_FIELDS,
    VALUE_FROM,
    first,
)
from i2kit.manifest.tables.meta_fields import (
    DOCUMENT_METADATA,
    META,
    METADATA,
    NAMED,
    OTHER_NAME,
    ROLLOUT,
    SELECTOR,
    TEMPLATE,
    document,
)
from i2kit.manifest.tables.scalars import (
    Anything,
    Flag,
    Text,
    Whole,
)
from i2kit.manifest.tables.scaling_fields import (
    AUTOSCALER_SPEC,
    AUTOSCALER_V1_SPEC,
    AUTOSCALER_V2BETA1_SPEC,
    AUTOSCALING,
)
from i2kit.manifest.tables.shape import Either, Field, ListOf, MapOf, Object
from i2kit.manifest.tables.table import (
    CERTIFICATE,
    DEPLOYMENT_VERSIONS,
    INSTANCE_TYPE,
    LABELS,
    NAME,
    NOTES,
    PORT,
    REPLICAS,
    VALUE,
    accepted,
    refused,
    silent,
    warned,
)
from i2kit.manifest.tables.volume_fields import NATIVE_VOLUME

DEPLOYMENT_SPEC = Object(
    "DeploymentSpec",
    (
        accepted("replicas", REPLICAS, "how many machines run the pod (default: 1)"),
        accepted("selector", SELECTOR, "which pods belong to it; must match the template's labels"),
        accepted("template", TEMPLATE, "the pod", required=True),
        *ROLLOUT,
        silent("revisionHistoryLimit", "ten revisions are kept", Whole(0, 2**31 - 1)),
        refused("paused", "is not possible: a deploy is done when it returns", "leave it out", False),
        refused("rollbackTo", "is not possible in a manifest", "use i2kit rollback"),
    ),
)
DEPLOYMENT = document("Deployment", DEPLOYMENT_VERSIONS, METADATA, DEPLOYMENT_SPEC, "what should run")

_IN_NOTES = "is not supported: autoscaling/v2 has a field for it"
AUTOSCALER_V1_METADATA = Object(
    "AutoscalerV1Metadata",
    (
        OTHER_NAME,
        *META,
        accepted(
            "annotations",
            Object(
                "AutoscalerV1Annotations",
                tuple(
                    refused(
                        f"autoscaling.alpha.kubernetes.io/{name}",
                        _IN_NOTES,
                        "write it as kubectl get hpa.v2.autoscaling -o yaml prints it",
                    )
                    for name in ("metrics", "behavior")
                ),
                others=silent("", "notes for other tools", Text(null=True)),
            ),
            "its parts decide",
        ),
    ),
)


def _autoscaler(title: str, version: str, metadata: Object, spec: Object) -> Object:
    return Object(
        title,
        (
            accepted("apiVersion", Text(), version, required=True),
            accepted("kind", Text(), "HorizontalPodAutoscaler", required=True),
            accepted("metadata", metadata, "name, namespace, labels", required=True),
            accepted("spec", spec, "what follows what, and how far", required=True),
            silent("status", "written by the API server"),
        ),
    )


AUTOSCALERS: tuple[tuple[tuple[str, ...], Object], ...] = (
    (
        ("autoscaling/v2", "autoscaling/v2beta2"),
        _autoscaler("HorizontalPodAutoscaler", "autoscaling/v2", DOCUMENT_METADATA, AUTOSCALER_SPEC),
    ),
    (
        ("autoscaling/v2beta1",),
        _autoscaler(
            "HorizontalPodAutoscalerV2beta1",
            "autoscaling/v2beta1",
            DOCUMENT_METADATA,
            AUTOSCALER_V2BETA1_SPEC,
        ),
    ),
    (
        ("autoscaling/v1",),
        _autoscaler(
            "HorizontalPodAutoscalerV1", "autoscaling/v1", AUTOSCALER_V1_METADATA, AUTOSCALER_V1_SPEC
        ),
    ),
)
"""Each version has words of its own."""


def _config(kind: str, fields: tuple[Field, ...]) -> Object:
    return Object(
        kind,
        (
            accepted("apiVersion", Text(), "v1", required=True),
            accepted("kind", Text(), kind, required=True),
            accepted("metadata", DOCUMENT_METADATA, "name and namespace", required=True),
            *fields,
        ),
    )


CONFIG_MAP = _config("ConfigMap", config_fields.CONFIG_MAP)
SECRET = _config("Secret", config_fields.SECRET)


# The i2kit manifest: the same words made shorter, maps instead of lists of named things.
NATIVE_PORT = Object("Port", PORT_FIELDS)
NATIVE_VARIABLE = Object(
    "ManifestVariable",
    (
        accepted("value", VALUE, "its value"),
        accepted("valueFrom", VALUE_FROM, "its parts decide"),
    ),
    hint="write NAME: value, or NAME: {valueFrom: …}",
)
NATIVE_CONTAINER = Object(
    "ManifestContainer",
    (
        *CONTAINER_FIELDS[:3],
        accepted(
            "env",
            MapOf(
                Either(VALUE, NATIVE_VARIABLE, "value"),
                names.variable,
                names.VARIABLE,
                hint="write a mapping: NAME: value",
            ),
            "environment, on top of the image's; `$(NAME)` is a variable before it, `$$` a dollar",
        ),
        accepted(
            "ports",
            ListOf(Either(PORT, NATIVE_PORT, "containerPort"), hint="write a list: [80]"),
            "ports that the container listens on",
        ),
        *CONTAINER_FIELDS[3:],
    ),
    hint="write image: below the container's name",
)
NATIVE_INIT_CONTAINER = Object(
    "ManifestInitContainer", first(NATIVE_CONTAINER.fields), hint=NATIVE_CONTAINER.hint
)
NATIVE = Object(
    "Manifest",
    (
        NAMED,
        accepted("namespace", NAME, "groups names; part of the DNS name (default: `default`)"),
        accepted("labels", LABELS, "labels of the pods, beside `app: NAME`: what Services select by"),
        silent("annotations", "notes for other tools", NOTES),
        accepted("replicas", REPLICAS, "how many machines run the pod (default: 1)"),
        accepted(
            "containers",
            MapOf(
                NATIVE_CONTAINER,
                names.dns_label,
                names.DNS_LABEL,
                least=1,
                hint="write containers: {NAME: {image: IMAGE}}",
            ),
            "the programs of the pod, by name; they share localhost",
            required=True,
            hint="write containers: {NAME: {image: IMAGE}}",
        ),
        *ROLLOUT,
        GRACE,
        accepted("autoscaling", AUTOSCALING, "lets the number of replicas follow how busy they are"),
        accepted(
            "volumes",
            MapOf(NATIVE_VOLUME, names.dns_label, names.DNS_LABEL, hint="write NAME: {emptyDir: {}}"),
            "what containers can mount, by name",
        ),
        accepted(
            "initContainers",
            MapOf(
                NATIVE_INIT_CONTAINER,
                names.dns_label,
                names.DNS_LABEL,
                hint="write initContainers: {NAME: {image: IMAGE}}",
            ),
            "what runs before the containers, by name, one after the other, each until it ended well",
        ),
        *POD_COMMON,
        accepted("public", Flag(), "whether callers from outside reach it on a cloud (default: false)"),
        accepted("certificate", CERTIFICATE, "what a cloud's load balancer ends TLS with: on AWS its ARN"),
        accepted("instanceType", INSTANCE_TYPE, "which machines a cloud takes, such as t4g.micro"),
        accepted("securityContext", POD_SECURITY, "its parts decide"),
    ),
)

MESHES = "there is no controller that would act on it"
GATEWAYS = "gateway.networking.k8s.io"
ADDED_GROUPS = (GATEWAYS, "snapshot.storage.k8s.io", "autoscaling.k8s.io", "metrics.k8s.io")
"""Groups that look like Kubernetes' own and are custom resources."""

KINDS: tuple[tuple[tuple[str, ...], Field], ...] = (
    (("v1",), silent("Namespace", "a namespace is there once something is in it")),
    (
        ("v1",),
        silent(
            "ServiceAccount",
            "there is no Kubernetes API to log in to (but where it gives pods a role of AWS, those that use"
            " it are refused)",
        ),
    ),
    (("rbac.authorization.k8s.io/v1",), silent("Role", "there is no Kubernetes API to protect")),
    (
        ("rbac.authorization.k8s.io/v1",),
        silent("ClusterRole", "there is no Kubernetes API to protect"),
    ),
    (
        ("rbac.authorization.k8s.io/v1",),
        silent(
            "RoleBinding", "there is no Kubernetes API (but a deployment that uses what it grants is refused)"
        ),
    ),
    (
        ("rbac.authorization.k8s.io/v1",),
        silent(
            "ClusterRoleBinding",
            "there is no Kubernetes API (but a deployment that uses what it grants is refused)",
        ),
    ),
    (("storage.k8s.io/v1",), silent("StorageClass", "the provider has its own kinds of disks")),
    (("networking.k8s.io/v1",), silent("IngressClass", "the provider's load balancer answers for any class")),
    (
        ("policy/v1", "policy/v1beta1"),
        warned("PodDisruptionBudget", "has no effect: there are no nodes that could be drained"),
    ),
    (("v1",), warned("ResourceQuota", "has no effect: there is no cluster to share")),
    (("v1",), warned("LimitRange", "has no effect: give each container its resources")),
    (
        ("scheduling.k8s.io/v1",),
        warned("PriorityClass", "has no effect: pods do not compete for nodes"),
    ),
    (
        ("policy/v1beta1", "extensions/v1beta1"),
        warned("PodSecurityPolicy", "has no effect: there is no Kubernetes API that would ask it"),
    ),
    (
        ("node.k8s.io/v1", "node.k8s.io/v1beta1"),
        warned("RuntimeClass", "has no effect: every pod is isolated by a virtual machine"),
    ),
    (
        ("autoscaling.k8s.io/v1", "autoscaling.k8s.io/v1beta2"),
        warned("VerticalPodAutoscaler", "has no effect: machines are as large as `resources` say"),
    ),
    (("monitoring.coreos.com/v1",), warned("ServiceMonitor", f"has no effect: {MESHES}")),
    (("monitoring.coreos.com/v1",), warned("PodMonitor", f"has no effect: {MESHES}")),
    (("monitoring.coreos.com/v1",), warned("PrometheusRule", f"has no effect: {MESHES}")),
    (
        ("apps/v1", "apps/v1beta2", "extensions/v1beta1"),
        refused("DaemonSet", "is not possible: there are no nodes", "use a Deployment with replicas"),
    ),
    (
        ("v1",),
        refused("Endpoints", "is not possible: a Service leads to pods only", "use the address itself"),
    ),
    (
        ("apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1"),
        refused("CustomResourceDefinition", f"is not possible: {MESHES}"),
    ),
    (
        ("kustomize.config.k8s.io/v1beta1",),
        refused(
            "Kustomization",
            "is not a manifest but says how to make one",
            "kustomize build DIR | i2kit deploy -f -",
        ),
    ),
)
"""Documents other than those above and Lists: apiVersions, and the verdict by kind."""

Shapes = tuple[tuple[tuple[str, ...], Object], ...]

SHAPES: dict[str, Shapes] = {
    "Deployment": ((DEPLOYMENT_VERSIONS, DEPLOYMENT),),
    "StatefulSet": ((workload_fields.STATEFUL_VERSIONS, workload_fields.STATEFUL),),
    "ReplicaSet": ((workload_fields.REPLICA_SET_VERSIONS, workload_fields.REPLICA_SET),),
    "ReplicationController": ((("v1",), workload_fields.CONTROLLER),),
    "Pod": ((("v1",), workload_fields.BARE),),
    "Job": ((("batch/v1",), workload_fields.JOB),),
    "CronJob": ((workload_fields.CRON_JOB_VERSIONS, workload_fields.CRON_JOB),),
    "Service": ((("v1",), service_fields.SERVICE),),
    "Ingress": ingress_fields.INGRESSES,
    "NetworkPolicy": ((policy_fields.POLICY_VERSIONS, policy_fields.POLICY),),
    "HorizontalPodAutoscaler": AUTOSCALERS,
    "ConfigMap": ((("v1",), CONFIG_MAP),),
    "Secret": ((("v1",), SECRET),),
    "PersistentVolume": ((("v1",), disk_fields.PERSISTENT),),
    "PersistentVolumeClaim": ((("v1",), claim_fields.CLAIM),),
}
"""The documents that are read: by kind, what the apiVersions look like."""

LIST = Object(
    "List",
    (
        accepted("apiVersion", Text(), "v1", required=True),
        accepted("kind", Text(), "List", required=True),
        silent("metadata", "written by the API server"),
        accepted("items", ListOf(Anything()), "documents", required=True),
    ),
)
