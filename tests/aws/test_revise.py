"""From how a deployment stands to how it should: what changes it, and what does not."""

from dataclasses import replace
from typing import Any

import pytest

from i2kit.errors import OperationError
from i2kit.model import NetworkPolicy, Pairs, Release, Selector, Service
from i2kit.providers import Front, Rollback
from i2kit.providers.aws.design import ingress, record, revise, template
from i2kit.providers.aws.design.revise import Place, Stand

from .releases import AMI, NETWORK, OPTIONS, PRIVATE_ZONE, release, service
from .templates import SITE

NEXT = replace(AMI, id="ami-0fedcba9876543210", image="c" * 64)
BARE = Place(NETWORK, None, AMI, OPTIONS)
ZONED = replace(BARE, zone=PRIVATE_ZONE)
NOW = "2026-11-21T08:00:00Z"
SHOP = Service("shop", (("tier", "front"),), service("shop", (80, 80, None)).ports)


def deployment(name: str, *more: Service, **words: Any) -> Release:
    """With the service that each has, and those that were written."""
    made = release(name, **words)
    own = tuple(replace(one, selector=made.workload.labels) for one in made.services)
    return replace(made, services=(*own, *more))


def first(wanted: Release, place: Place = ZONED, *others: Stand) -> Stand:
    return revise.released(None, wanted, place, others, NOW)


def told(one: Stand) -> str:
    data = one.template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]
    return str(data["UserData"])


def answering(one: Stand, host: str) -> Stand:
    """As it is on AWS, with a load balancer of this name."""
    ids = [id_ for id_ in one.template["Outputs"] if id_.startswith("Endpoint")]
    return replace(one, outputs=dict.fromkeys(ids, f"tcp://{host}:5432"))


def test_the_same_again_is_the_same_one() -> None:
    before = first(deployment("web"))
    assert revise.released(before, deployment("web"), ZONED, (), "2030-01-01T00:00:00Z") is before
    after = revise.released(before, deployment("web"), replace(ZONED, ami=NEXT), (), NOW)
    assert (before.record.revision, after.record.revision) == (1, 2)
    assert [one.revision for one in after.record.history] == [1]


def test_a_revision_is_what_machines_are_made_of() -> None:
    before = first(deployment("web"))
    more = revise.released(before, deployment("web", replicas=5), ZONED, (), "2030-01-01T00:00:00Z")
    assert more is not before
    assert (more.record.revision, more.record.created_at, more.record.history) == (1, NOW, ())
    other = revise.released(more, deployment("web"), replace(ZONED, ami=NEXT), (), NOW)
    assert other.record.revision == 2
    assert [one.release.workload.replicas for one in other.record.history] == [5]


def test_neighbours_that_come_and_go_change_nothing_by_themselves() -> None:
    database = first(deployment("db"))
    before = first(deployment("web"))
    assert revise.released(before, deployment("web"), ZONED, [database], NOW) is before
    after = revise.released(before, deployment("web"), replace(ZONED, ami=NEXT), [database], NOW)
    assert "env=DB_SERVICE_HOST=db.i2kit.internal" in told(after)
    assert revise.released(after, deployment("web"), replace(ZONED, ami=NEXT), (), NOW) is after


def test_policies_of_other_files_hold_for_what_they_select() -> None:
    deny = NetworkPolicy("deny", Selector(), ingress=())
    before, guarded = first(deployment("web")), first(replace(deployment("db"), policies=(deny,)))

    def callers(one: Stand) -> Any:
        group = one.template["Resources"]["InternalApplicationSecurityGroup"]["Properties"]
        return group.get("SecurityGroupIngress")

    assert callers(before)
    # What is deployed later, and what runs when the policy comes.
    later, found = first(deployment("web"), ZONED, guarded), revise.also_changed(guarded, [before])
    after, why = found["default/web"]
    assert (callers(later), callers(after)) == ([], [])
    assert why == "default/deny holds for it"
    assert "the network policy default/deny of other files holds for it too" in template.notes(later.record)
    # It is the other's: read back it is none of its own files, and goes with the other.
    again = Stand(record.of(later.template), later.template)
    assert again.record.held == (deny,)
    assert revise.governing(deployment("api"), [again]) == ()
    gone, why = revise.also_changed(None, [again])["default/web"]
    assert (callers(gone), why) == (callers(before), "default/deny is gone")
    assert revise.released(again, deployment("web"), ZONED, [guarded], NOW) is again
    assert revise.released(again, deployment("web"), ZONED, None, NOW) is again
    # Nothing in other namespaces, and its own files' words count before those of others.
    assert revise.governing(deployment("web", namespace="shop"), [guarded]) == ()
    own = replace(deployment("web"), policies=(replace(deny, ingress=None, egress=()),))
    assert revise.governing(own, [guarded]) == ()


def test_an_ingress_leads_nowhere_that_a_policy_of_other_files_forbids() -> None:
    deny = NetworkPolicy("deny", Selector(), ingress=())
    guarded = first(replace(deployment("db"), policies=(deny,)))
    web = first(deployment("web"), ZONED, guarded).record
    assert ingress.backends(web.release, SITE)
    assert not ingress.backends(web.governed, SITE)


def test_neighbours_of_the_same_files_count() -> None:
    near = deployment("db").services
    before = first(deployment("web"))
    after = revise.released(before, replace(deployment("web"), neighbours=near), ZONED, (), NOW)
    assert after.record.revision == 2
    assert "env=DB_SERVICE_HOST=db.i2kit.internal" in told(after)
    # Deployed without them, machines still know them.
    assert revise.released(after, deployment("web"), ZONED, (), NOW) is after


def test_without_a_zone_machines_are_told_load_balancers_names() -> None:
    near = deployment("db").services
    web = replace(deployment("web"), neighbours=near)
    alone = first(web, BARE)
    assert list(revise.untold(alone.record)) == ["default/db"]
    database = answering(first(deployment("db"), BARE), "Db-1.elb.amazonaws.com")
    both = first(web, BARE, database)
    assert "env=DB_SERVICE_HOST=Db-1.elb.amazonaws.com" in told(both)
    assert list(revise.untold(both.record)) == []
    # Another load balancer takes its place: the old name leads nowhere.
    moved = answering(database, "Db-2.elb.amazonaws.com")
    assert "Db-2.elb" in told(revise.released(both, web, BARE, [moved], NOW))


def test_without_a_zone_what_the_same_files_have_is_told_once_it_is_there() -> None:
    beside = deployment("db").services
    wanted = replace(deployment("web"), neighbours=beside)
    before = first(wanted, BARE)
    assert list(revise.untold(before.record)) == ["default/db"]
    database = answering(first(deployment("db"), BARE), "db.elb.amazonaws.com")
    after = revise.released(before, wanted, BARE, [database], NOW)
    assert "env=DB_SERVICE_HOST=db.elb.amazonaws.com" in told(after)
    assert list(revise.untold(after.record)) == []
    assert revise.released(after, wanted, BARE, [database], NOW) is after


def test_other_namespaces_are_not_told_of() -> None:
    database = first(deployment("db", namespace="shop"))
    after = first(deployment("web"), ZONED, database)
    assert "DB_SERVICE" not in told(after)


LABELS: Pairs = (("tier", "front"),)


def test_a_written_service_finds_what_is_deployed_later() -> None:
    blue = first(deployment("blue", SHOP, labels=LABELS))
    green = first(deployment("green", labels=LABELS), ZONED, blue)
    assert green.record.attached == (SHOP,)
    assert green.record.written == (SHOP,)
    records = green.template["Resources"]["RecordShop"]["Properties"]
    assert (records["SetIdentifier"], records["Weight"]) == ("i2kit-green", 3)
    assert blue.template["Resources"]["RecordShop"]["Properties"]["SetIdentifier"] == "i2kit-blue"
    # What comes by itself is for one deployment alone.
    other = first(deployment("other", labels=LABELS), ZONED, first(deployment("blue", labels=LABELS)))
    assert other.record.attached == ()


def test_a_service_that_left_its_files_is_gone_though_another_has_it_still() -> None:
    blue = first(deployment("blue", SHOP, labels=LABELS))
    green = first(deployment("green", SHOP, labels=LABELS))
    after = revise.released(blue, deployment("blue", labels=LABELS), ZONED, [green], NOW)
    assert after.record.written == ()
    assert "RecordShop" not in after.template["Resources"]


def test_other_labels_leave_services_of_other_files_behind() -> None:
    before = revise.fronted(first(deployment("web", labels=LABELS)), Front((SHOP,)))
    kept = revise.released(before, deployment("web", labels=LABELS), ZONED, (), NOW)
    assert kept is before
    after = revise.released(before, deployment("web", labels=(("tier", "back"),)), ZONED, (), NOW)
    assert after.record.attached == ()


def test_services_in_front_are_no_revision_and_replace_no_machine() -> None:
    before = first(deployment("web", labels=LABELS))
    after = revise.fronted(before, Front((SHOP,)))
    assert after.record.revision == 1
    assert told(after) == told(before)
    assert revise.fronted(after, Front((SHOP,))) is after
    assert revise.same(revise.fronted(after, Front(without=("default/shop",))), before)
    # Its own files decide on what they name.
    own = first(deployment("blue", SHOP, labels=LABELS))
    assert revise.fronted(own, Front((replace(SHOP, public=True),))) is own


def test_a_written_service_takes_the_place_of_the_one_that_came_by_itself() -> None:
    before = first(deployment("web"))
    public = Service("web", (("app", "web"),), service("web", (80, 80, None)).ports, public=True)
    after = revise.fronted(before, Front((public,)))
    assert after is not before
    assert after.record.services == after.record.written == (public,)
    assert "PublicApplicationLoadBalancer" in after.template["Resources"]
    # Its own files, which do not write one, leave it there; without it the other comes back.
    assert revise.released(after, deployment("web"), ZONED, (), NOW) is after
    assert revise.fronted(after, Front((public,))) is after
    back = revise.fronted(after, Front(without=("default/web",)))
    assert back.template["Resources"] == before.template["Resources"]


def test_going_back_keeps_what_is_not_of_the_revision() -> None:
    before = first(deployment("web", labels=LABELS))
    second = revise.released(before, deployment("web", labels=LABELS), replace(ZONED, ami=NEXT), (), NOW)
    now = revise.scaled(revise.fronted(second, Front((SHOP,))), 7)
    back = revise.rolled_back(now, Rollback(), (), NOW)
    assert (back.record.revision, back.record.ami, back.record.attached) == (3, AMI, (SHOP,))
    assert back.record.release.workload.replicas == 7
    assert [one.revision for one in back.record.history] == [1, 2]
    # The one before is the second now.
    assert revise.rolled_back(back, Rollback(), (), NOW).record.ami == NEXT
    assert revise.rolled_back(back, Rollback(3), (), NOW) is back
    assert revise.rolled_back(back, Rollback(1), (), NOW) is back
    with pytest.raises(OperationError, match="has no revision 4"):
        revise.rolled_back(back, Rollback(4), (), NOW)
    with pytest.raises(OperationError, match="no earlier revision"):
        revise.rolled_back(before, Rollback(), (), NOW)


def test_a_number_that_failed_is_not_given_again() -> None:
    before = first(deployment("web"))
    after = revise.released(before, deployment("web"), replace(ZONED, ami=NEXT), (), NOW)
    assert revise.numbered(before, after, 2) is after
    third = revise.numbered(before, after, 3)
    assert third.record.revision == third.template["Metadata"]["i2kit"]["Revision"] == 3
    assert revise.numbered(before, before, 3) is before
