"""The part of the table in `fields` for network policies. Nothing is computed here either."""

from i2kit.manifest.tables import names
from i2kit.manifest.tables.meta_fields import DOCUMENT_METADATA, SELECTOR, document
from i2kit.manifest.tables.scalars import Choice, NumberOrName, Text, Whole
from i2kit.manifest.tables.shape import ListOf, Object
from i2kit.manifest.tables.table import PROTOCOL, accepted

_NETWORK = Text(names.network, means="network, such as 192.0.2.0/24")
_PEER = Object(
    "PolicyPeer",
    (
        accepted("podSelector", SELECTOR, "pods of the policy's namespace, or of those that are selected"),
        accepted(
            "namespaceSelector",
            SELECTOR,
            "namespaces, by `kubernetes.io/metadata.name` and the labels of Namespaces in the files; {}: all",
        ),
        accepted(
            "ipBlock",
            Object(
                "IpBlock",
                (
                    accepted("cidr", _NETWORK, "addresses (those of IPv6 are warned about)", required=True),
                    accepted("except", ListOf(_NETWORK), "those of them that are not meant"),
                ),
            ),
            "addresses",
        ),
    ),
    hint="write - podSelector: {matchLabels: {app: NAME}}",
)
_PORT = Object(
    "PolicyPort",
    (
        accepted("port", NumberOrName(), "port of the pods, by number or name (default: all)"),
        accepted("endPort", Whole(1, 65535), "the last of several"),
        accepted("protocol", PROTOCOL, "protocol (default: TCP)"),
    ),
)


def _rule(title: str, peers: str, whom: str) -> Object:
    return Object(
        title,
        (
            accepted(peers, ListOf(_PEER), f"{whom} (default: anybody)"),
            accepted("ports", ListOf(_PORT), "on which ports (default: all)"),
        ),
    )


POLICY_SPEC = Object(
    "NetworkPolicySpec",
    (
        accepted(
            "podSelector", SELECTOR, "which pods it is about; `{}`: all of its namespace", required=True
        ),
        accepted(
            "policyTypes",
            ListOf(Choice(("Ingress", "Egress")), hint="write a list: [Ingress]"),
            "for which directions nothing but its rules holds (default: Ingress, and Egress where it has such"
            " rules)",
        ),
        accepted("ingress", ListOf(_rule("IngressRule", "from", "who may call")), "who may call the pods"),
        accepted("egress", ListOf(_rule("EgressRule", "to", "whom they may call")), "whom the pods may call"),
    ),
)
POLICY_VERSIONS = ("networking.k8s.io/v1", "extensions/v1beta1")
POLICY = document("NetworkPolicy", POLICY_VERSIONS, DOCUMENT_METADATA, POLICY_SPEC, "who may talk with whom")
