"""Deployments of every sort, by the name of their golden file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from i2kit.model import (
    Alias,
    Amount,
    Claim,
    Ingress,
    Job,
    Metric,
    NetworkPeer,
    NetworkPolicy,
    PodPeer,
    PolicyPort,
    PolicyRule,
    Port,
    Resources,
    Route,
    Scaling,
    Scratch,
    SecretKey,
    Selector,
    Strategy,
    Volume,
)
from i2kit.providers.aws.design import ingress
from i2kit.providers.aws.design.ingress import NEW_GROUP, Certificate, Entrance, backends
from i2kit.providers.aws.design.template import template
from i2kit.providers.aws.place.network import network_template
from i2kit.providers.aws.values import Link, Network, Zone

from .releases import (
    AMI,
    CERTIFICATE,
    NETWORK,
    OPTIONS,
    PRIVATE_SUBNETS,
    PRIVATE_ZONE,
    PUBLIC_ZONE,
    SUBNETS,
    release,
    service,
    udp,
)

WEB_PORTS = (Port(80, "web"), Port(8443))
SHOP = service("shop", (80, "web", "http"), (443, 8443, None), public=True)


SITE = Ingress(
    "site",
    (
        ("example.com", (Route("/", False, "web", 80), Route("/api", False, "api", "http"))),
        ("*.example.com", (Route("/status", True, "web", "http"),)),
        ("", (Route("/", False, "web", 80),)),
    ),
    default=Route("/", False, "gone", 80),
    tls=((("example.com",), "first"), (("*.example.com",), "second")),
)


def entrance(of: Ingress = SITE, network: Network = NETWORK, zone: Zone | None = None) -> Entrance:
    """The Ingress with one deployment behind one Service, and two behind another."""
    web = release("web", services=(service("web", (80, 8080, "http"), sticky_s=600),))
    api = release("api", services=(service("api", (80, 8443, "http")),), grace_s=90)
    canary = release("canary", services=(service("api", (80, 3000, "http")),), replicas=1)
    certificates = (Certificate("first", CERTIFICATE, "a"), Certificate("second", f"{CERTIFICATE}0", "b"))
    made = tuple(one for each in (api, canary, web) for one in backends(each, of))
    return Entrance(of, network, zone, made, certificates=certificates if of.tls else ())


LINK = Link(
    "default/site",
    "sg-00000000000000009",
    ((80, 10256, f"{NEW_GROUP}1"), (8080, 10256, f"{NEW_GROUP}2")),
    (("default/web", 80, "https://example.com"), ("default/web", 8080, "https://example.com/admin")),
)


def all_templates() -> Mapping[str, dict[str, Any]]:
    with_certificate = replace(OPTIONS, certificate=CERTIFICATE)
    private = replace(NETWORK, subnets=(*SUBNETS, *PRIVATE_SUBNETS))
    return {
        "nginx": template(release(), AMI, NETWORK, None, OPTIONS),
        # TLS ends at the load balancer; the deployment's own service shares it.
        "shop-certificate": template(
            release(ports=WEB_PORTS, services=(SHOP, service("web", (80, 80, "web")))),
            AMI,
            NETWORK,
            PUBLIC_ZONE,
            with_certificate,
        ),
        # Without a certificate it is carried through; what is not public has a load balancer of its own.
        "shop-pass-through": template(
            release(
                ports=WEB_PORTS,
                services=(SHOP, service("web", (80, 80, None), (8443, 8443, None))),
                neighbours=(service("db", (5432, 5432, "tcp-sql")),),
                labels=(("app", "web"), ("app.kubernetes.io/part-of", "shop")),
            ),
            AMI,
            private,
            PRIVATE_ZONE,
            OPTIONS,
        ),
        "database": template(
            release("db", replicas=1, ports=(Port(5432),), namespace="shop"),
            AMI,
            replace(NETWORK, subnets=PRIVATE_SUBNETS[:1], security_group="sg-00000000000000001"),
            PRIVATE_ZONE,
            replace(OPTIONS, certificate=CERTIFICATE),
        ),
        "worker-arm64": template(
            release("worker", replicas=5, ports=(), resources=Resources(memory_request_bytes=3 << 30)),
            AMI,
            NETWORK,
            None,
            replace(OPTIONS, architecture="arm64", key_pair="ops"),
        ),
        # How it is updated is said, and what ends an update.
        "careful": template(
            release(
                replicas=10,
                strategy=Strategy(max_surge=Amount(3), max_unavailable=Amount(20, percent=True)),
                min_ready_s=45,
                progress_deadline_s=1200,
                grace_s=120,
            ),
            AMI,
            NETWORK,
            None,
            replace(OPTIONS, alarms=("web: errors", "latency"), bake_time_s=600),
        ),
        # AWS decides how many there are; half a CPU requested is 80 % of it of a machine with two.
        "scaled": template(
            release(
                replicas=4,
                resources=Resources(cpu_request_millis=500),
                scaling=Scaling(2, 10, (Metric("cpu", percent=80),)),
            ),
            AMI,
            NETWORK,
            PUBLIC_ZONE,
            OPTIONS,
        ),
        # TCP and UDP of one number share a listener; callers come back, and only some may call.
        "dns": template(
            release(
                "dns",
                ports=(Port(53, "dns"), Port(53, "dns-udp", "UDP"), Port(9153, "metrics")),
                services=(
                    service(
                        "dns",
                        (53, 53, "dns"),
                        udp(53, 53, "dns-udp"),
                        udp(443, 53, "doq"),
                        public=True,
                        sticky_s=10800,
                        sources=("192.0.2.0/24", "2001:db8::/32"),
                    ),
                    service("metrics", (80, 9153, "http"), sticky_s=600),
                ),
            ),
            AMI,
            NETWORK,
            PUBLIC_ZONE,
            OPTIONS,
        ),
        # A group for each number, where its volume is; scratch disks go with their machines.
        "numbered": template(
            release(
                "db",
                replicas=2,
                stateful=True,
                volumes=(
                    Volume("data", Claim("data", 10 << 30, each=True)),
                    Volume("tmp", Scratch(limit_bytes=2 << 30)),
                ),
            ),
            AMI,
            NETWORK,
            PRIVATE_ZONE,
            OPTIONS,
        ),
        # A group for each run, which machines leave; one with a schedule has none until then.
        "job": template(
            release("import", replicas=1, ports=(), job=Job(2, 2, deadline_s=600)),
            AMI,
            NETWORK,
            None,
            OPTIONS,
        ),
        "nightly": template(
            release(
                "report",
                replicas=1,
                ports=(),
                job=Job(schedule="30 2 * * mon-fri", time_zone="Europe/Madrid", retry=True),
            ),
            AMI,
            NETWORK,
            None,
            OPTIONS,
        ),
        # Where its secrets are is told, and no more than that.
        "secrets": template(
            release(replicas=1, secrets=(SecretKey("db", "password"),)), AMI, NETWORK, None, OPTIONS
        ),
        # Machines that are called by their names, and a name that stands for another.
        "headless": template(
            replace(
                release(
                    "db",
                    ports=(Port(5432), Port(7000), Port(7000, protocol="UDP")),
                    services=(service("dbs", (5432, 5432, None), headless=True, unready=True),),
                    stateful=True,
                    subdomain="dbs",
                ),
                aliases=(Alias("mail", "smtp.example.org"),),
            ),
            AMI,
            NETWORK,
            PRIVATE_ZONE,
            OPTIONS,
        ),
        # Who may call it, and whom it may call, itself among them.
        "closed": template(
            replace(
                release(
                    services=(service("web", (80, 80, None)), service("site", (443, 80, None), public=True))
                ),
                policies=(
                    NetworkPolicy(
                        "closed",
                        Selector((("app", "web"),)),
                        ingress=(
                            PolicyRule((PodPeer(Selector(), ("default",)), NetworkPeer("192.0.2.0/24"))),
                        ),
                        egress=(
                            PolicyRule((PodPeer(Selector(), ("default",)),)),
                            PolicyRule(
                                (NetworkPeer("192.0.2.0/24", ("192.0.2.0/26",)),), (PolicyPort("UDP"),)
                            ),
                        ),
                    ),
                ),
            ),
            AMI,
            NETWORK,
            None,
            OPTIONS,
        ),
        "linked": template(release(ports=(Port(80), Port(8080))), AMI, NETWORK, None, OPTIONS, links=(LINK,)),
        "ingress": ingress.template(entrance(zone=PUBLIC_ZONE)),
        "ingress-internal": ingress.template(
            entrance(
                replace(SITE, tls=(), public=False, default=None),
                replace(NETWORK, security_group="sg-00000000000000001"),
            )
        ),
        "ingress-https": ingress.template(
            replace(entrance(replace(SITE, https_only=True), zone=PRIVATE_ZONE), certificate=CERTIFICATE)
        ),
        "network": network_template(["us-east-1b", "us-east-1a"], zone_name="i2kit.internal"),
    }
