"""What AWS would refuse of an Ingress, or would take for something else. Pure.

Sources: Elastic Load Balancing, "Quotas for your Application Load Balancers" and "Listener rules".
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from i2kit.errors import Problem
from i2kit.model import Service
from i2kit.providers.aws.design import names
from i2kit.providers.aws.design.ingress import Entrance, named, stack_name
from i2kit.providers.aws.design.rules import rules

MAX_RULES = 100
"""Of all listeners of a load balancer, the default ones aside."""
MAX_CERTIFICATES = 25
"""Of a load balancer, beside the default one."""
MAX_GROUPS = 5
"""That one rule leads to."""
MAX_VALUE = 128
"""Characters of a host or path in a rule."""
MAX_STACK_NAME = 128

_PATH = re.compile(r"/[A-Za-z0-9_\-.$/~\"'@:+&]*")
"""What a rule can say of a path, but for the wildcards."""


def problems(entrance: Entrance, there: Entrance | None, services: Iterable[Service]) -> Iterator[Problem]:
    """What AWS would refuse, or would take for something else. `services` are those of the same release."""
    ingress, network = entrance.ingress, entrance.network

    def problem(message: str, hint: str) -> Problem:
        return Problem(f"Ingress `{ingress.name}`: {message}", ingress.position, hint)

    subnets = network.balancer_subnets(public=ingress.public)
    if network.subnets and not subnets:
        yield problem(
            "it is public, but no subnet leads to the internet", "add a public subnet to I2KIT_SUBNET"
        )
    elif len({subnet.zone for subnet in subnets}) < 2:
        yield problem(
            "it needs an application load balancer, and AWS has those in two zones or more",
            "name subnets of another zone with I2KIT_SUBNET",
        )
    if there and there.network.vpc != network.vpc:
        yield problem(
            f"it is in {there.network.vpc}, and this deployment would be in {network.vpc}",
            "deploy all that it leads to to one VPC",
        )
    if (size := len(stack_name(ingress.key))) > MAX_STACK_NAME:
        yield problem(
            f"its stack's name would have {size} characters, and {MAX_STACK_NAME} is the most",
            "choose a shorter name",
        )
    if ingress.https_only and not entrance.has_tls:
        yield problem(
            "it sends everyone to HTTPS, and has no certificate for that",
            "give it spec.tls with a secret, or a certificate of AWS with I2KIT_CERTIFICATE",
        )
    yield from _of_rules(entrance, problem)
    yield from _of_names(entrance, services, problem)


def of_secrets(entrance: Entrance) -> Iterator[Problem]:
    """Secrets for TLS that were not given, where there is no other certificate."""
    if entrance.certificate:
        return
    ingress, known = entrance.ingress, {one.secret for one in entrance.certificates}
    for name in dict.fromkeys(secret for _, secret in ingress.tls if secret not in known):
        yield Problem(
            f"Ingress `{ingress.name}`: the secret `{name}` for TLS is not there, or lacks tls.crt or tls.key"
            if name
            else f"Ingress `{ingress.name}`: TLS without a secret needs a certificate",
            ingress.position,
            "put the secret into the files, or name a certificate of AWS with I2KIT_CERTIFICATE",
        )


def twice(entrance: Entrance, host: str, other: str) -> Problem:
    return Problem(
        f"Ingress `{entrance.ingress.name}`: the host `{host}` is Ingress `{other}`'s too, and a name in a "
        "hosted zone leads to one load balancer",
        entrance.ingress.position,
        "make one Ingress of both",
    )


def _of_rules(entrance: Entrance, problem: Any) -> Iterator[Problem]:
    ingress = entrance.ingress
    listeners = 2 if entrance.has_tls and not ingress.https_only else 1
    found = rules(ingress)
    if (count := listeners * len(found)) > MAX_RULES:
        yield problem(
            f"{len(found)} rules{' for HTTP and for HTTPS' if listeners > 1 else ''} are {count}: a load "
            f"balancer has {MAX_RULES} at most",
            "split it into several Ingresses",
        )
    if (count := len(entrance.arns)) > MAX_CERTIFICATES + 1:
        yield problem(
            f"{count} certificates: a load balancer has {MAX_CERTIFICATES + 1} at most",
            "use certificates for several hosts",
        )
    for one in found:
        if len(one.host) > MAX_VALUE:
            yield problem(
                f"the host `{one.host}` has more than {MAX_VALUE} characters",
                "rules of load balancers can't have it",
            )
        if one.path is None:
            continue
        if not _PATH.fullmatch(one.path):
            yield problem(
                f"the path `{one.path}` has characters that a rule of a load balancer can't have, or that "
                "would be wildcards there",
                "use letters, digits and _ - . $ / ~ \" ' @ : + &",
            )
        elif len(one.path) + 2 > MAX_VALUE:
            yield problem(f"the path `{one.path}` is too long for a rule", f"{MAX_VALUE - 2} is the most")
    for place in {one.place for one in entrance.backends}:
        if (count := sum(one.place == place for one in entrance.backends)) > MAX_GROUPS:
            yield problem(
                f"{count} deployments are behind service `{place[0]}`, and a rule has {MAX_GROUPS} at most",
                "have fewer deployments behind one service",
            )


def _of_names(entrance: Entrance, services: Iterable[Service], problem: Any) -> Iterator[Problem]:
    zone = entrance.zone
    if zone is None:
        return
    hosts = named(entrance)
    for service in services:
        taken = set(names.all_names(service, zone).values())
        for host in taken.intersection(hosts):
            yield problem(
                f"the host `{host}` is the name of service `{service.name}` in the hosted zone {zone.name}",
                "choose another host, or another zone for services, such as one that ends in .internal",
            )
