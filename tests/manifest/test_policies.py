"""Network policies: what they say with all that Kubernetes leaves out, and what is wrong with them."""

# ruff: noqa: E501 (a line is a case)

import pytest

from i2kit.model import NetworkPeer, NetworkPolicy, PodPeer, PolicyPort, PolicyRule, Selector
from tests.manifest.reading import POD, manifest, problem, problems

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec:\n"
ALL = HEAD + "  podSelector: {}\n"
WEB = Selector((("app", "web"),))


def read(rest: str, *others: str) -> NetworkPolicy:
    (policy,) = manifest(POD, ALL + rest, *others).policies
    return policy


@pytest.mark.parametrize(
    ("rest", "ingress", "egress"),
    [
        ("", (), None),
        ("  policyTypes: [Ingress]\n", (), None),
        ("  policyTypes: [Egress]\n", None, ()),
        ("  policyTypes: [Ingress, Egress]\n", (), ()),
        ("  ingress: [{}]\n", (PolicyRule(),), None),
        ("  egress: [{}]\n", (), (PolicyRule(),)),
        ("  egress: []\n", (), None),
        ("  ingress: [{from: [], ports: []}]\n", (PolicyRule(),), None),
    ],
)
def test_what_is_left_out(
    rest: str, ingress: tuple[PolicyRule, ...] | None, egress: tuple[PolicyRule, ...] | None
) -> None:
    found = read(rest)
    assert found == NetworkPolicy("web", Selector(), ingress, egress)


def test_whom_it_selects() -> None:
    text = HEAD.replace("networking.k8s.io/v1", "extensions/v1beta1")
    (policy,) = manifest(
        POD,
        text
        + "  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: app, operator: In, values: [web, x]}, {key: tier, operator: DoesNotExist}]}\n",
    ).policies
    assert policy.selector == Selector(
        (("app", "web"),), (("app", "In", ("web", "x")), ("tier", "DoesNotExist", ()))
    )


def test_peers_and_ports() -> None:
    rest = """\
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
    - namespaceSelector: {}
    - ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16]}
    - ipBlock: {cidr: "2001:db8::/32"}
    ports:
    - {port: 80}
    - {port: dns, protocol: UDP}
    - {port: 8000, endPort: 8010}
    - {protocol: UDP}
"""
    assert read(rest).ingress == (
        PolicyRule(
            (
                PodPeer(WEB, ("default",)),
                PodPeer(Selector(), None),
                NetworkPeer("10.0.0.0/8", ("10.1.0.0/16",)),
            ),
            (
                PolicyPort("TCP", 80),
                PolicyPort("UDP", "dns"),
                PolicyPort("TCP", 8000, 8010),
                PolicyPort("UDP"),
            ),
        ),
    )


def test_a_rule_for_ipv6_alone_lets_nobody_in() -> None:
    found = manifest(POD, ALL + "  ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]\n")
    assert found.policies[0].ingress == ()
    assert found.warnings == (
        "b.yml:6:38: spec.ingress[0].from[0].ipBlock.cidr: has no effect: machines have IPv4 addresses",
    )


NAMESPACES = "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: x}}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: b}}\n"


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("{matchLabels: {team: x}}", ("a",)),
        ("{matchLabels: {kubernetes.io/metadata.name: other}}", ("other",)),
        (
            "{matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [b, c]}]}",
            ("b", "c"),
        ),
        ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", ("b", "default")),
        ("{matchLabels: {team: yy}}", ()),
    ],
)
def test_which_namespaces(selector: str, found: tuple[str, ...]) -> None:
    rest = f"  ingress: [{{from: [{{namespaceSelector: {selector}, podSelector: {{matchLabels: {{app: web}}}}}}]}}]\n"
    policy = read(rest, NAMESPACES)
    assert policy.ingress == (PolicyRule((PodPeer(WEB, found),)),)


def test_a_policy_that_selects_nothing_is_never_dropped() -> None:
    text = HEAD + "  podSelector: {matchLabels: {app: wbe}}\n"
    assert problem(POD, text) == (
        "b.yml:5:16: spec.podSelector: no deployment here has pods with app: wbe in namespace `default`\n"
        "  hint: give the deployment's file too, with another -f"
    )
    assert problem(POD, ALL.replace("{name: web}", "{name: web, namespace: shop}")).startswith(
        "b.yml:5:16: spec.podSelector: no deployment here has pods with any labels in namespace `shop`"
    )


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("ingress: [{from: [{}]}]", "b.yml:6:21: spec.ingress[0].from[0]: says nobody\n  hint: write podSelector, namespaceSelector or ipBlock; for anybody, leave the list out"),
        ("ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]", "b.yml:6:48: spec.ingress[0].from[0].ipBlock: cannot be beside podSelector\n  hint: make two of them"),
        ("ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]", "b.yml:6:38: spec.ingress[0].from[0].ipBlock.cidr: `10.0.0.1` is not a network\n  hint: write 10.0.0.1/32"),
        ("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]", "b.yml:6:58: spec.ingress[0].from[0].ipBlock.except: `11.0.0.0/8` is not a part of 10.0.0.0/8"),
        ("egress: [{ports: [{port: 80, protocol: SCTP}]}]", "b.yml:6:42: spec.egress[0].ports[0].protocol: `SCTP` is not possible: load balancers do not speak it"),
        ("egress: [{ports: [{port: 80, endPort: 79}]}]", "b.yml:6:41: spec.egress[0].ports[0].endPort: must be at least the port (80) and is 79"),
        ("egress: [{ports: [{endPort: 79}]}]", "b.yml:6:31: spec.egress[0].ports[0].endPort: needs a `port` that is a number"),
        ("policyTypes: [ingress]", "b.yml:6:17: spec.policyTypes[0]: `ingress` is not known\n  hint: did you mean `Ingress`?"),
        ("egress: [{to: [{podSelector: {matchExpressions: [{key: a, operator: In}]}}]}]", "b.yml:6:52: spec.egress[0].to[0].podSelector.matchExpressions[0]: `In` needs values\n  hint: such as values: [web]"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(rest: str, message: str) -> None:
    assert problems(POD, f"{ALL}  {rest}\n") == [message]
