"""Earlier revisions, other numbers and services of other files: what is ordered, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import InputError, OperationError, Position
from i2kit.model import Deployment, Metric, Port, Release, Scaling, Service, ServicePort
from i2kit.providers import Front, Rollback, Scale
from i2kit.providers.local.design import desired, orders, plan
from i2kit.providers.local.design.desired import Desired, admit, in_front, order_of, serve
from i2kit.providers.local.design.orders import Change, attached_to, order_for

from .releases import image, release

KEY = "default/web"
IMAGES = {number: image(f"{number:x}" * 64) for number in range(1, 16)}
ALL = frozenset(range(1, 20))
SHOP = Service("shop", (("app", "web"),), (ServicePort(8080, 80),), position=Position("shop.yml", 3, 7))


def revisions(*numbers: int, state: Desired | None = None) -> Desired:
    """What is noted after these images were deployed one after the other and served."""
    state = state or Desired()
    for second, number in enumerate(numbers):
        order = order_of(replace(release(machine=IMAGES[number]), manifest=f"manifest {number}"))
        state = serve(admit(state, order, now=f"2026-01-01T00:00:0{second % 10}Z"), KEY)
    return state


def changed(state: Desired, wanted: Change) -> Desired:
    return admit(state, order_for(state, KEY, wanted, ALL))


def images(state: Desired) -> list[tuple[int, str, str]]:
    now = state.deployment(KEY)
    assert now
    return [(one.number, one.image[0], one.outcome) for one in orders.history(now, ALL)]


def found(state: Desired) -> Deployment:
    """What is noted, as the supervisor tells it."""
    now = state.deployment(KEY)
    assert now
    return Deployment(
        name="web",
        namespace="default",
        provider="local",
        revision=now.revision,
        image=now.machine.image,
        endpoints=(),
        replicas_wanted=now.replicas,
        replicas_ready=now.replicas,
        instances=(),
        fingerprint=now.fingerprint,
        machine=now.machine.fingerprint,
        labels=now.written.labels,
        services=in_front(now.key, now.written, now.attached),
    )


def words(state: Desired, wanted: Release | Change) -> list[tuple[str, str]]:
    made = plan.plan(KEY, wanted, found(state), state, ALL)
    return [(action.verb, action.reason) for action in made.actions]


# Revisions


def test_history_tells_what_ran_when_and_what_came_of_it() -> None:
    state = admit(revisions(1, 2), order_of(release(machine=IMAGES[3])), now="2026-01-01T00:00:09Z")
    assert images(state) == [(1, "1", "superseded"), (2, "2", "superseded"), (3, "3", "rolling out")]
    state = desired.go_back(state, KEY, ALL, "web-1: exit status 7", now="2026-01-01T00:01:00Z")
    assert images(state) == [
        *[(1, "1", "superseded"), (2, "2", "superseded")],
        *[(3, "3", "failed"), (4, "2", "serving")],
    ]
    now = state.deployment(KEY)
    assert now
    told = orders.history(now, {1, 2, 4})
    assert [one.created_at[-9:] for one in told] == ["00:00:00Z", "00:00:01Z", "00:00:09Z", "00:01:00Z"]
    assert [one.kept for one in told] == [True, True, False, True]
    assert [one.reason for one in told] == ["", "", "web-1: exit status 7", ""]
    assert [one.manifest for one in told] == ["manifest 1", "manifest 2", "", "manifest 2"]


def test_a_first_rollout_that_is_given_up_failed_until_it_serves_after_all() -> None:
    state = admit(Desired(), order_of(release(machine=IMAGES[1])))
    state = desired.give_up(state, KEY, "no database")
    assert images(state) == [(1, "1", "failed")]
    assert images(serve(state, KEY)) == [(1, "1", "serving")]
    assert images(desired.give_up(serve(state, KEY), KEY, "too late")) == [(1, "1", "serving")]
    again = admit(state, order_of(release(machine=IMAGES[1])))
    assert images(again) == [(1, "1", "rolling out")]


def test_a_rollback_that_was_interrupted_goes_on_when_it_is_asked_for_again() -> None:
    begun = changed(revisions(1, 2), Rollback())
    assert images(begun) == [(1, "1", "superseded"), (2, "2", "superseded"), (3, "1", "rolling out")]
    assert words(begun, Rollback()) == []
    assert changed(desired.from_json(desired.to_json(begun)), Rollback()) == begun
    served = serve(begun, KEY)
    assert images(changed(served, Rollback()))[-1] == (4, "2", "rolling out")
    given_up = desired.give_up(begun, KEY, "no database")
    assert images(changed(given_up, Rollback()))[-1] == (4, "2", "rolling out")


def test_an_interrupted_deploy_is_taken_back_by_a_rollback() -> None:
    begun = admit(revisions(1, 2, 1), order_of(release(machine=IMAGES[2])))
    assert images(changed(begun, Rollback()))[-1] == (5, "1", "rolling out")


def test_ten_earlier_revisions_are_kept() -> None:
    state = revisions(*range(1, 14))
    assert [number for number, _, _ in images(state)] == list(range(3, 14))
    assert desired.from_json(desired.to_json(state)) == state


def test_a_rollback_brings_the_machine_and_ports_with_as_many_replicas_as_there_are() -> None:
    first = serve(admit(Desired(), order_of(release(ports=(Port(81),), machine=IMAGES[1]))), KEY)
    state = changed(revisions(2, state=first), Scale(5))
    back = changed(state, Rollback(1))
    (web,) = back.deployments
    assert (web.revision, web.machine.image, web.replicas, web.ready_ports) == (3, IMAGES[1].id, 5, (81,))
    assert words(state, Rollback(1)) == [
        ("replace", f"image {'2' * 12} → {'1' * 12}, back to revision 1"),
    ]


def test_without_a_number_a_rollback_goes_to_the_last_other_machine_that_served() -> None:
    state = revisions(1, 2)
    failed = desired.go_back(admit(state, order_of(release(machine=IMAGES[3]))), KEY, ALL, "exit status 7")
    assert orders.revision_of(failed, KEY, None, ALL) == 1, "2 is what runs again, 3 never served"
    back = serve(changed(state, Rollback()), KEY)
    assert images(back)[-1] == (3, "1", "serving")
    assert images(changed(back, Rollback()))[-1] == (4, "2", "rolling out"), "back again"


def test_the_number_that_is_told_is_applied_whatever_comes_between() -> None:
    state = revisions(1, 2)
    told = plan.plan(KEY, Rollback(), found(state), state, ALL)
    assert told.prepared == Rollback(1)


@pytest.mark.parametrize("to", [2, 4])
def test_a_rollback_to_what_runs_changes_nothing(to: int) -> None:
    state = revisions(1, 2, 1, 2)
    assert words(state, Rollback(to)) == []
    assert admit(state, order_for(state, KEY, Rollback(to), kept=())) == state


@pytest.mark.parametrize(
    ("to", "kept", "said", "hint"),
    [
        (9, {1, 2, 3}, "has no revision 9", "it can go back to 1, 2"),
        (1, {2, 3}, "image of revision 1 .* is gone", "it can go back to 2"),
        (None, {1, 3}, "image of revision 2 .* is gone", "it can go back to 1"),
        (1, {3}, "image of revision 1 .* is gone", "deploy its files instead"),
    ],
)
def test_what_cannot_be_gone_back_to_is_said_with_what_can(
    to: int | None, kept: set[int], said: str, hint: str
) -> None:
    with pytest.raises(OperationError, match=said) as raised:
        order_for(revisions(1, 2, 3), KEY, Rollback(to), kept)
    assert raised.value.hint == hint


def test_a_first_revision_has_none_before() -> None:
    with pytest.raises(OperationError, match="no revision of default/web is known that served before"):
        order_for(revisions(1), KEY, Rollback(), ALL)
    with pytest.raises(OperationError, match="nothing named default/web runs"):
        order_for(Desired(), KEY, Rollback(), ALL)


# Scale


def test_another_number_is_the_same_revision_until_the_next_deploy() -> None:
    state = revisions(1)
    scaled = changed(state, Scale(5))
    (web,) = scaled.deployments
    assert (web.revision, web.replicas, web.machine) == (1, 5, state.deployments[0].machine)
    assert images(scaled) == [(1, "1", "serving")]
    assert words(state, Scale(5)) == [("scale", "3 → 5 VMs")]
    assert words(state, Scale(3)) == []
    assert words(scaled, release(machine=IMAGES[1])) == [("scale", "5 → 3 VMs")]


def test_more_than_the_network_holds_is_refused() -> None:
    assert changed(revisions(1), Scale(250)).deployments[0].replicas == 250
    with pytest.raises(InputError, match="250 replicas on one machine, not 251"):
        changed(revisions(1), Scale(251))


def test_what_scales_by_itself_takes_another_number_only_within_its_bounds() -> None:
    given = release(machine=IMAGES[1])
    scaling = Scaling(2, 6, (Metric("cpu", percent=80),))
    given = replace(given, workload=replace(given.workload, scaling=scaling))
    state = admit(Desired(), order_of(given))
    assert words(state, Scale(5)) == [("scale", "3 → 5 VMs")]
    scaled = changed(state, Scale(5))
    assert words(scaled, given) == [], "a later deploy keeps the number"
    assert changed(scaled, Scale(3)) == state
    with pytest.raises(InputError, match="scales by itself between 2 and 6 replicas"):
        changed(state, Scale(7))
    most = replace(given, workload=replace(given.workload, scaling=replace(scaling, most=251)))
    with pytest.raises(InputError, match="250 replicas on one machine, not 251"):
        order_for(state, KEY, most, ALL)


# Services of other files


def test_a_service_of_another_file_comes_in_front_stays_with_a_deploy_and_goes() -> None:
    state = revisions(1)
    with_shop = changed(state, Front((SHOP,)))
    (web,) = with_shop.deployments
    assert (web.revision, web.served) == (1, True)
    assert [(one.service, one.number, one.target) for one in web.backends] == [
        *[("default/web", 80, 80), ("default/shop", 8080, 80)]
    ]
    assert found(with_shop).services == (SHOP,)
    assert words(state, Front((SHOP,))) == [("change", "service default/shop comes")]
    assert words(with_shop, Front((SHOP,))) == []
    other = replace(SHOP, ports=(ServicePort(8081, 80),))
    assert words(with_shop, Front((other,))) == [("change", "service default/shop changes")]

    assert words(with_shop, release(machine=IMAGES[1])) == [], "its own files say nothing of it"
    updated = release(machine=IMAGES[2])
    updated_state = admit(with_shop, order_of(updated, attached_to(with_shop, updated)))
    assert found(updated_state).services == (SHOP,)
    assert found(changed(updated_state, Rollback(1))).services == (SHOP,)

    assert words(with_shop, Front(without=("default/shop",))) == [("change", "service default/shop goes")]
    assert changed(with_shop, Front(without=("default/shop",))) == state


def test_a_service_that_selects_the_labels_no_more_is_not_kept() -> None:
    state = changed(revisions(1), Front((SHOP,)))
    other = release(machine=IMAGES[1])
    other = replace(other, workload=replace(other.workload, labels=(("app", "other"),)))
    assert attached_to(state, other) == ()


def test_its_own_files_count_for_a_service_of_theirs() -> None:
    state = changed(revisions(1), Front((SHOP,)))
    own = replace(SHOP, ports=(ServicePort(9999, 80),))
    theirs = release(machine=IMAGES[1], services=(own,))
    assert attached_to(state, theirs) == ()
    state = admit(state, order_of(theirs))
    assert found(state).services == (own,)
    # Given once more by another file, that one's word is the last.
    again = changed(state, Front((SHOP,)))
    assert found(again).services == (SHOP,)
    assert found(changed(again, Front(without=("default/shop",)))).services == ()


def test_a_written_service_of_the_deployments_name_takes_the_implied_ones_place() -> None:
    state = revisions(1)
    written = replace(SHOP, name="web")
    fronted = changed(state, Front((written,)))
    assert [(one.service, one.number) for one in fronted.deployments[0].backends] == [("default/web", 8080)]
    assert attached_to(fronted, release(machine=IMAGES[1])) == (written,)
    assert changed(fronted, Front(without=("default/web",))).deployments == state.deployments


def test_a_port_that_only_other_files_ask_for_does_not_keep_a_vm_from_being_ready() -> None:
    admin = Service("admin", (("app", "web"),), (ServicePort(9090, 9090),))
    (web,) = changed(revisions(1), Front((admin,))).deployments
    assert web.ready_ports == (80,)
    assert web.target_ports == (80, 9090)


def test_a_new_deployment_joins_the_others_behind_a_service() -> None:
    state = admit(Desired(), order_of(release("a", services=(SHOP,))))
    second = release("b")
    second = replace(second, workload=replace(second.workload, labels=SHOP.selector))
    assert attached_to(state, second) == (SHOP,), "one of the other's own files"
    state = changed(revisions(1), Front((SHOP,)))
    assert attached_to(state, second) == (SHOP,)
    both = admit(state, order_of(second, attached_to(state, second)))
    assert [one.key for one in both.services] == ["default/b", "default/shop", "default/web"]
    assert [found.service for one in both.deployments for found in one.backends].count("default/shop") == 2
    elsewhere = replace(second, workload=replace(second.workload, namespace="other"))
    assert attached_to(state, elsewhere) == ()


def test_a_named_port_is_looked_up_in_what_runs_or_refused() -> None:
    named = replace(SHOP, ports=(ServicePort(8080, "www"),))
    state = admit(Desired(), order_of(release(ports=(Port(8123, "www"),))))
    (web,) = changed(state, Front((named,))).deployments
    assert [one.target for one in web.backends if one.service == "default/shop"] == [8123]
    unknown = replace(SHOP, ports=(ServicePort(1, "a"), ServicePort(2, "b")))
    with pytest.raises(InputError) as raised:
        changed(state, Front((unknown,)))
    assert [str(one) for one in raised.value.problems] == [
        f"shop.yml:3:7: service `shop`: default/web, which runs, has no port named `{name}`"
        "\n  hint: its named ports: www"
        for name in "ab"
    ]


# What an older version noted


def test_what_an_older_version_noted_is_read_and_changed() -> None:
    state = desired.from_json((Path(__file__).parent / "format-1.json").read_text())
    (web,) = state.deployments
    assert [one.key for one in state.services] == ["default/db", "default/shop", "default/web"]
    assert images(state) == [(1, "a", "superseded"), (2, "c", "rolling out")]
    assert desired.from_json(desired.to_json(state)) == state
    assert words(state, Scale(3)) == []

    scaled = changed(state, Scale(1))
    assert scaled == Desired(
        (replace(web, replicas=1, fingerprint=scaled.deployments[0].fingerprint),), state.services
    )
    back = changed(state, Rollback())
    assert back.services == state.services
    assert set(back.deployments[0].backends) == set(web.backends)
    assert back.deployments[0].machine.image == "a" * 64
