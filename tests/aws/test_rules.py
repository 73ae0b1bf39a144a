"""The rules of an Ingress: their order is Kubernetes', and their numbers stay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.model import Ingress, Port, Route
from i2kit.providers.aws.design import ingress, ingress_checks
from i2kit.providers.aws.design.ingress import Backend, prepared, settled
from i2kit.providers.aws.design.rules import MAX_PRIORITY, priorities, rules

from .releases import NETWORK, PRIVATE_ZONE, PUBLIC_ZONE, SUBNETS, release, service
from .templates import SITE, entrance

OF_KUBERNETES = [
    # Kubernetes, "Ingress", the table "Examples": type, rule's path, request's path, whether it matches.
    (False, "/", "/a/b", True),
    (True, "/foo", "/foo", True),
    (True, "/foo", "/bar", False),
    (True, "/foo", "/foo/", False),
    (True, "/foo/", "/foo", False),
    (False, "/foo", "/foo", True),
    (False, "/foo", "/foo/", True),
    (False, "/foo/", "/foo", True),
    (False, "/foo/", "/foo/", True),
    (False, "/aaa/bb", "/aaa/bbb", False),
    (False, "/aaa/bbb", "/aaa/bbb", True),
    (False, "/aaa/bbb/", "/aaa/bbb", True),
    (False, "/aaa/bbb", "/aaa/bbb/", True),
    (False, "/aaa/bbb", "/aaa/bbb/ccc", True),
    (False, "/aaa/bbb", "/aaa/bbbxyz", False),
]


def meant(value: str, text: str) -> bool:
    """AWS: `*` is for any number of characters."""
    start, star, end = value.partition("*")
    if not star:
        return text == value
    return text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)


def answer(one: Ingress, host: str, path: str) -> str | None:
    """The Service that the first rule is for, as AWS goes through them; None where it is none of these."""
    for rule in rules(one):
        said = {each["Field"]: next(v for k, v in each.items() if k != "Field") for each in rule.conditions}
        fits = [
            any(meant(value, given) for value in said[field]["Values"])
            for field, given in (("host-header", host), ("path-pattern", path))
            if field in said
        ]
        if all(fits):
            return rule.route.service if rule.route else None
    return one.default.service if one.default else None


@pytest.mark.parametrize(("exact", "path", "request_", "matches"), OF_KUBERNETES)
def test_paths_mean_what_they_mean_in_kubernetes(
    exact: bool, path: str, request_: str, matches: bool
) -> None:
    one = Ingress("a", (("a.com", (Route(path, exact, "yes", 80),)),))
    assert (answer(one, "a.com", request_) == "yes") == matches
    assert Route(path, exact, "yes", 80).matches(request_) == matches


def test_the_nearest_host_and_then_the_longest_path_counts() -> None:
    def route(path: str, name: str, *, exact: bool = False) -> Route:
        return Route(path, exact, name, 80)

    one = Ingress(
        "a",
        (
            ("", (route("/", "any"), route("/only", "only"))),
            ("*.a.com", (route("/", "wild"),)),
            ("b.a.com", (route("/x", "x"), route("/x/y", "long"), route("/x", "exact", exact=True))),
        ),
        default=route("/", "default"),
    )
    found = {
        request: answer(one, *request)
        for request in (
            ("b.a.com", "/x"),
            ("b.a.com", "/x/"),
            ("b.a.com", "/x/y/z"),
            ("b.a.com", "/only"),
            ("c.a.com", "/only"),
            ("d.com", "/only/1"),
            ("d.com", "/"),
        )
    }
    assert list(found.values()) == ["exact", "x", "long", "default", "wild", "only", "any"]
    # Without a default one, nothing answers for a host's other paths.
    assert answer(replace(one, default=None), "b.a.com", "/only") is None
    assert answer(Ingress("a", one.rules[2:]), "c.a.com", "/x") is None


@given(st.lists(st.integers(0, 300), unique=True, max_size=60), st.sets(st.integers(0, 300)))
def test_rules_are_numbered_in_order_and_keep_their_numbers(ids: list[int], first: set[int]) -> None:
    before = priorities([f"{one:03}" for one in sorted(first)], {})
    wanted = [f"{one:03}" for one in sorted(ids)]
    after = priorities(wanted, before)
    numbers = [after[one] for one in wanted]
    assert numbers == sorted(set(numbers))
    assert all(1 <= one <= MAX_PRIORITY for one in numbers)
    kept = {one for one in wanted if one in before}
    if any(after[one] != before[one] for one in kept):
        # All new, and none of them one that another rule has until then.
        assert not set(numbers) & set(before.values())
    else:
        assert not {after[one] for one in wanted if one not in kept} & set(before.values())


def test_where_there_is_no_room_all_rules_are_numbered_anew() -> None:
    before = {"a": 5, "c": 6}
    after = priorities(["a", "b", "c"], before)
    assert after["a"] < after["b"] < after["c"]
    assert not set(after.values()) & {5, 6}


# --- what stands behind it --------------------------------------------------------------------


def ids(found: tuple[Backend, ...]) -> list[tuple[str, int, int]]:
    return [(one.deployment.partition("/")[2], one.target, one.weight) for one in found]


def test_an_update_leads_to_the_new_once_it_is_there() -> None:
    one = entrance()
    moved = release(
        "web",
        services=(
            service(
                "web",
                (80, 9090, "http"),
            ),
        ),
    )
    fresh = replace(one, backends=ingress.backends(moved, SITE))
    first = prepared(one, fresh, "default/web")
    assert sorted(ids(first.backends))[2:] == [("web", 8080, 3), ("web", 9090, 0)]
    # Done once more after an interruption, it is the same.
    assert prepared(first, fresh, "default/web") == first
    after = settled(first, fresh, "default/web", {"default/canary": 2}, first.deployments)
    assert after and ids(after.backends) == [("api", 8443, 3), ("canary", 3000, 2), ("web", 9090, 1)]
    without = settled(after, None, "default/web", {}, {"default/canary"})
    assert without and ids(without.backends) == [("canary", 3000, 1)]
    assert settled(without, None, "default/canary", {}, {"default/canary"}) is None


def test_a_stack_tells_what_it_is_made_of() -> None:
    one = entrance(zone=PRIVATE_ZONE)
    assert ingress.of(ingress.template(one)) == one


def problems(one: ingress.Entrance, *services: str) -> list[str]:
    found = ingress_checks.problems(one, None, [service(name, (80, 80, None)) for name in services])
    return [str(each) for each in (*found, *ingress_checks.of_secrets(one))]


def test_what_a_load_balancer_cannot_do_is_said() -> None:
    assert problems(entrance()) == []
    assert "two zones or more" in problems(entrance(network=replace(NETWORK, subnets=SUBNETS[:1])))[0]
    assert "sends everyone to HTTPS" in problems(entrance(replace(SITE, tls=(), https_only=True)))[0]
    (said,) = problems(replace(entrance(), certificates=()))[:1]
    assert "the secret `first` for TLS is not there" in said

    def with_paths(*paths: str) -> ingress.Entrance:
        routes = tuple(Route(path, False, "web", 80) for path in paths)
        return entrance(replace(SITE, rules=(("a.com", routes),), tls=()))

    assert "characters that a rule" in problems(with_paths("/a*"))[0]
    assert "too long" in problems(with_paths("/" + "a" * 128))[0]
    assert problems(with_paths(*(f"/{number}" for number in range(100)))) == []
    assert "101 rules are 101" in problems(with_paths(*(f"/{number}" for number in range(101))))[0]
    public = entrance(replace(SITE, rules=(("web.example.com", SITE.rules[0][1]),)), zone=PUBLIC_ZONE)
    assert "`web.example.com` is the name of service `web`" in problems(public, "web")[0]
    assert problems(public, "api") == []


def test_a_deployment_is_checked_on_its_own_health_port() -> None:
    taken = release("web", ports=(Port(80), Port(10256)), services=(service("web", (80, 80, "http")),))
    (one,) = ingress.backends(taken, replace(SITE, default=None))
    assert ingress.target_group(one, NETWORK)["Properties"]["HealthCheckPort"] == "10257"
