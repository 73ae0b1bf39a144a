"""The part of the table in `fields` for Services. Nothing is computed here either."""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import META, NAMED, document
from i2kit.manifest.tables.scalars import Choice, Flag, NumberOrName, Text, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import LABELS, NAME, PORT, PROTOCOL, accepted, later, refused, silent, warned

_INTERNAL = "use type: ClusterIP for a Service that is not public"
AWS = "service.beta.kubernetes.io/aws-load-balancer-"
AWS_INTERNAL = f"{AWS}internal"
AWS_SCHEME = f"{AWS}scheme"
AWS_TYPE = f"{AWS}type"
AWS_CONTROLLED = ("external", "nlb-ip")
"""Types that AWS's own controller is for, whose load balancers are internal unless they say otherwise."""

_ENDS_TLS = "is not supported for a Service: nothing would end TLS"
_BY_INGRESS = "write an Ingress with tls, or let the application do it"
_GREETS = "is not supported: pods would wait for the PROXY protocol's greeting"
_TUNES = "has no effect: the provider's load balancer has its own"
_WITHOUT_EFFECT = (
    ("machines are asked whether they are ready", ("healthcheck-",)),
    ("machines are the targets", ("nlb-target-type", "target-node-labels")),
    ("is of use with `ssl-cert` only", ("ssl-ports", "ssl-negotiation-policy", "alpn-policy")),
    ("names and tags are the provider's", ("name", "additional-resource-tags")),
)
"""Why, and what AWS's notes of no effect begin with."""

_TUNING = ("subnets", "cross-zone-", "connection-", "access-log-", "attributes", "extra-security-groups")
_AWS_NOTES = (
    silent(
        AWS_TYPE,
        "the provider has one; of the types external and nlb-ip, a Service is public only where its scheme"
        " says so",
        Text(),
    ),
    refused(f"{AWS}ssl-cert", _ENDS_TLS, _BY_INGRESS),
    refused(
        f"{AWS}backend-protocol",
        "is not supported: pods are called as they are",
        _BY_INGRESS,
        *("tcp", "http", "TCP", "HTTP"),
    ),
    refused(f"{AWS}proxy-protocol", _GREETS, "leave it out, and let the application do without"),
    accepted(
        f"{AWS}target-group-attributes",
        Text(names.target_attributes),
        "refused where it asks for the PROXY protocol; else of no effect",
    ),
    refused(
        f"{AWS}security-groups",
        "keeps callers out, and is not supported",
        "write loadBalancerSourceRanges, or leave it out",
    ),
    *(
        refused(f"{AWS}{word}", "is not possible: addresses are given by the provider", "leave it out")
        for word in ("eip-allocations", "private-ipv4-addresses", "ipv6-addresses")
    ),
)
_DO = "service.beta.kubernetes.io/do-loadbalancer-"
_OTHER_CLOUDS = (
    refused(
        "service.beta.kubernetes.io/do-loadbalancer-enable-proxy-protocol", _GREETS, "leave it out", "false"
    ),
    refused("service.beta.kubernetes.io/do-loadbalancer-certificate-id", _ENDS_TLS, _BY_INGRESS),
)
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
        *_AWS_NOTES,
        *_OTHER_CLOUDS,
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
    families=(
        *((f"{AWS}{word}", silent("", why, Text())) for why, words in _WITHOUT_EFFECT for word in words),
        *((f"{AWS}{word}", warned("", _TUNES, type_=Text())) for word in _TUNING),
    ),
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
