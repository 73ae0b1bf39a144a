"""The part of the table in `fields` for Services. Nothing is computed here either."""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import META, NAMED, document
from i2kit.manifest.tables.scalars import Choice, Flag, NumberOrName, Text, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import LABELS, NAME, PORT, PROTOCOL, accepted, later, refused, silent, warned

_INTERNAL = "use type: ClusterIP for a Service that is not public"
AWS_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
AWS_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
SOURCES_NOTE = "service.beta.kubernetes.io/load-balancer-source-ranges"
SERVICE_NOTES = Object(
    "ServiceAnnotations",
    (
        accepted(AWS_INTERNAL, Choice(("true", "false", "0.0.0.0/0")), "anything but `false`: not public"),
        accepted(
            SOURCES_NOTE,
            Text(),
            "the same as loadBalancerSourceRanges, with commas; counts where there is none of those",
        ),
        accepted(AWS_SCHEME, Choice(("internal", "internet-facing")), "whether it is public"),
        *(
            later(name, _INTERNAL)
            for name in (
                "service.beta.kubernetes.io/azure-load-balancer-internal",
                "networking.gke.io/load-balancer-type",
                "cloud.google.com/load-balancer-type",
            )
        ),
    ),
    others=silent("", "notes for other tools", Text(null=True)),
)
SERVICE_METADATA = Object(
    "ServiceMetadata", (NAMED, *META, accepted("annotations", SERVICE_NOTES, "its parts decide"))
)
SERVICE_PORT = Object(
    "ServicePort",
    (
        accepted("port", PORT, "port that callers use", required=True, hint="such as port: 80"),
        accepted(
            "targetPort", NumberOrName(), "port of the pods, by number or name (default: the same as port)"
        ),
        accepted("name", NAME, "name; needed where there are several"),
        accepted("protocol", PROTOCOL, "protocol (default: TCP)"),
        silent("appProtocol", "connections are passed on as they are", Text()),
        accepted(
            "nodePort",
            Whole(0, 65535),
            "port of 127.0.0.1 that provider `local` publishes it on, from 1024 on (default: one that is"
            " free); a cloud has no nodes, and it means nothing there",
        ),
    ),
    hint="write - port: 80",
)
_TRAFFIC = Choice(("Cluster", "Local"))
_NOT_YOURS = "is not possible: addresses are given by the provider"
AFFINITY = Object(
    "SessionAffinityConfig",
    (
        accepted(
            "clientIP",
            Object(
                "ClientIP",
                (
                    accepted(
                        "timeoutSeconds",
                        Whole(1, 86400),
                        "for how long a caller comes back to the same machine (default: 10800)",
                    ),
                ),
            ),
            "how callers are told apart",
        ),
    ),
)
SERVICE_SPEC = Object(
    "ServiceSpec",
    (
        accepted(
            "type",
            Choice(("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")),
            "ClusterIP: for other pods; LoadBalancer: also for callers from outside; NodePort: as ClusterIP,"
            " with a warning, and its nodePort counts; ExternalName: another name for `externalName`"
            " (default: ClusterIP)",
        ),
        accepted("selector", LABELS, "labels of the pods that answer"),
        accepted(
            "ports",
            ListOf(SERVICE_PORT, hint="such as ports: [{port: 80}]"),
            "ports; needed unless it is headless or has the type ExternalName",
        ),
        accepted(
            "clusterIP",
            Text(names.cluster_ip, "(None)?", means="`None`"),
            "None: the name stands for the machines themselves (a headless Service), and ports are those of"
            " the pods",
        ),
        accepted(
            "publishNotReadyAddresses",
            Flag(),
            "whether the name of a headless Service leads to machines that are not ready, too (default:"
            " false); no effect on others",
        ),
        accepted(
            "sessionAffinity",
            Choice(("None", "ClientIP")),
            "ClientIP: a caller comes back to the same machine (default: None)",
        ),
        accepted("sessionAffinityConfig", AFFINITY, "its parts decide"),
        accepted(
            "loadBalancerSourceRanges",
            ListOf(Text(names.network, means="network"), hint="write a list: [192.0.2.0/24]"),
            "the networks that may call it from outside; only of IPv4",
        ),
        accepted(
            "externalName",
            Text(names.external_name, rf"{names.DNS_NAME}\.?", 254, "DNS name"),
            "what its name stands for, with type: ExternalName",
        ),
        refused("clusterIPs", _NOT_YOURS, "leave it out", "None"),
        refused("externalIPs", _NOT_YOURS, "leave it out"),
        refused("loadBalancerIP", _NOT_YOURS, "leave it out"),
        warned("loadBalancerClass", "has no effect: the provider has one load balancer"),
        silent("externalTrafficPolicy", "there are no nodes", _TRAFFIC),
        silent("internalTrafficPolicy", "there are no nodes", _TRAFFIC),
        silent("trafficDistribution", "there are no nodes"),
        silent("allocateLoadBalancerNodePorts", "there are no nodes", Flag()),
        silent("healthCheckNodePort", "there are no nodes"),
        warned("ipFamilies", "has no effect: machines have IPv4 addresses", "IPv4"),
        warned("ipFamilyPolicy", "has no effect: machines have IPv4 addresses", "SingleStack"),
    ),
)
SERVICE = document("Service", ("v1",), SERVICE_METADATA, SERVICE_SPEC, "who answers, and where")
