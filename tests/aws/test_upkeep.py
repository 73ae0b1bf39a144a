"""AMIs of an emulated AWS: who needs each, and what goes with a deployment that is gone."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from i2kit.errors import OperationError
from i2kit.events import Event, Finished, Started, Warned, ignore
from i2kit.model import PlacedImage
from i2kit.providers.aws.access import calls
from i2kit.providers.aws.amis import ami, upkeep
from i2kit.providers.aws.design import record
from i2kit.providers.aws.design.parts import dumps
from i2kit.providers.aws.design.record import Record
from i2kit.providers.aws.design.template import of_record, tags
from i2kit.providers.aws.running import stacks
from i2kit.providers.aws.running.stacks import DEPLOYMENT
from i2kit.providers.aws.values import stack_name
from tests.aws.conftest import Aws
from tests.aws.test_observe import AT_ONCE, KEY, Cloud


class Place(Cloud):
    """With what tests look at afterwards."""

    def destroy(self, key: str = KEY) -> None:
        stacks.delete(self.account.cloudformation, stack_name(key), ignore, pace=AT_ONCE)

    def amis(self) -> set[str]:
        return {one.ami.image for one in ami.owned(self.account.images)}

    def snapshots(self) -> list[str]:
        found = self.account.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return [one["SnapshotId"] for one in found]

    def used(self) -> dict[str, Sequence[str]]:
        return {one.image: one.used_by for one in upkeep.images(self.account)}

    def placed(self, image: str) -> PlacedImage:
        (found,) = [one for one in upkeep.images(self.account) if one.image == image]
        return found

    def begin_upload(self, disk: str, key: str) -> str:
        """What a run leaves that is killed while it sends blocks."""
        given = {ami.DISK_TAG: disk, ami.IMAGE_TAG: disk, DEPLOYMENT: key}
        answer = self.account.images.ebs.start_snapshot(
            VolumeSize=1, Tags=[{"Key": name, "Value": value} for name, value in given.items()]
        )
        return str(answer["SnapshotId"])


@pytest.fixture
def place(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(ami, "_pauses", lambda patience_s: repeat(0.0, 100))
    return Place(aws, tmp_path)


def updated(place: Place, revisions: int = 2) -> Record:
    """A deployment that was deployed that often, with the images r1, r2 …"""
    last = None
    for number in range(1, revisions + 1):
        last = place.record(place.ami(f"r{number}"), last, replicas=1)
        place.deploy(last)
    assert last
    return last


# --- who needs what ---------------------------------------------------------------------------


def test_images_tell_what_would_miss_them(place: Place) -> None:
    assert upkeep.images(place.account) == ()
    updated(place, 3)
    place.ami("unused", "default/other")
    found = upkeep.images(place.account)
    assert {one.image: one.used_by for one in found} == {
        "r1": (KEY,),
        "r2": (KEY,),
        "r3": (KEY,),
        "unused": (),
    }
    assert {one.image: one.keys for one in found}["unused"] == ("default/other",)
    assert [one.created_at for one in found] == sorted(one.created_at for one in found)
    for one in found:
        assert (one.architecture, one.size_bytes) == ("amd64", 2 << 20)


def test_what_is_no_deployment_can_need_an_image(place: Place) -> None:
    first, second = place.ami("first"), place.ami("second")
    ec2 = place.account.ec2
    started = ec2.run_instances(ImageId=first.id, InstanceType="t3.nano", MinCount=1, MaxCount=1)
    (machine,) = [one["InstanceId"] for one in started["Instances"]]
    data = {"ImageId": second.id}
    ec2.create_launch_template(LaunchTemplateName="theirs", LaunchTemplateData=data)
    assert place.used() == {"first": (machine,), "second": ("theirs",)}
    ec2.terminate_instances(InstanceIds=[machine])
    assert place.used()["first"] == ()


def test_all_images_are_asked_about_at_once(place: Place) -> None:
    updated(place, 2)
    before = len(place.aws.emulator.control("calls"))
    upkeep.images(place.account)
    two = len(place.aws.emulator.control("calls"))
    for n in range(4):
        place.ami(f"more{n}")
    after = len(place.aws.emulator.control("calls"))
    upkeep.images(place.account)
    called = place.aws.emulator.control("calls")
    assert len(called) - after == two - before
    read = ("Describe", "Get", "List")
    assert all(call.partition(":")[2].startswith(read) for call in called[after:])


def test_an_unreadable_record_needs_all_that_was_made_for_its_deployment(place: Place) -> None:
    made = place.record(place.ami("now"), replicas=1)
    place.ami("before")
    place.ami("others", "default/other")
    body = of_record(made)
    body["Metadata"]["i2kit"]["Format"] = 99
    client = place.account.cloudformation
    stacks.deploy(client, "i2kit-web", dumps(body), tags(made.whole), ignore, pace=AT_ONCE)
    assert place.used() == {"now": (KEY,), "before": (KEY,), "others": ()}


def test_what_a_deployment_was_at_first_is_not_needed_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launch template's first version stays the default one, but nothing goes back to that."""
    monkeypatch.setattr(record, "MAX_HISTORY", 1)
    updated(place, 3)
    assert place.used() == {"r1": (), "r2": (KEY,), "r3": (KEY,)}
    upkeep.remove_image(place.account, place.placed("r1"), ignore)
    assert place.amis() == {"r2", "r3"}


# --- one image --------------------------------------------------------------------------------


def test_what_is_in_use_is_not_removed(place: Place) -> None:
    earlier = replace(place.placed(made_unused(place)), used_by=())
    updated(place)
    for image in ("r1", "r2"):
        with pytest.raises(OperationError, match=f"in use by {KEY}"):
            # Whatever was known of it before.
            upkeep.remove_image(place.account, replace(place.placed(image), used_by=()), ignore)
    assert place.amis() == {"unused", "r1", "r2"}
    events: list[Event] = []
    upkeep.remove_image(place.account, earlier, events.append)
    assert place.amis() == {"r1", "r2"}
    assert len(place.snapshots()) == 2
    assert [type(event) for event in events] == [Started, Finished]
    upkeep.remove_image(place.account, earlier, ignore)


def made_unused(place: Place) -> str:
    return place.ami("unused").image


# --- after a deployment -----------------------------------------------------------------------


def test_all_of_a_deployment_goes_and_nothing_of_others(place: Place) -> None:
    last = updated(place, 3)
    # Deployed once, and rolled back: in no record by now.
    place.ami("failed")
    other = place.record(place.ami("theirs", "default/other"), name="other", replicas=1)
    place.deploy(other)
    place.ami("spare", "default/other")
    half = place.begin_upload("d" * 64, KEY)
    going_on = place.begin_upload("e" * 64, "default/other")
    place.destroy()
    events: list[Event] = []
    upkeep.forget(place.account, KEY, last, events.append)
    assert place.amis() == {"theirs", "spare"}
    assert half not in place.snapshots()
    assert going_on in place.snapshots()
    assert len(place.snapshots()) == 3
    assert [event.result for event in events if isinstance(event, Finished)] == ["removed"] * 4
    before = len(place.aws.emulator.control("calls"))
    upkeep.forget(place.account, KEY, last, ignore)
    assert all("Describe" in call for call in place.aws.emulator.control("calls")[before:])


def test_an_image_of_two_deployments_goes_with_the_last(place: Place) -> None:
    """It has the tag of the first alone; the second could only go back to it."""
    shared = place.ami("shared")
    one = place.record(shared, replicas=1)
    place.deploy(one)
    before = place.record(shared, name="other", replicas=1)
    place.deploy(before)
    two = place.record(place.ami("newer", "default/other"), before, name="other", replicas=1)
    place.deploy(two)
    place.destroy()
    upkeep.forget(place.account, KEY, one, ignore)
    assert place.amis() == {"shared", "newer"}
    assert place.used()["shared"] == ("default/other",)
    place.destroy("default/other")
    upkeep.forget(place.account, "default/other", two, ignore)
    assert place.amis() == set()
    assert place.snapshots() == []


def test_without_the_record_the_tags_tell(place: Place) -> None:
    """As after a destroy that was killed when the stack was gone."""
    updated(place)
    place.destroy()
    upkeep.forget(place.account, KEY, None, ignore)
    assert (place.amis(), place.snapshots()) == (set(), [])


def test_a_deployment_that_is_there_again_keeps_its_images(place: Place) -> None:
    last = updated(place)
    upkeep.forget(place.account, KEY, last, ignore)
    assert place.amis() == {"r1", "r2"}


def test_what_cannot_be_removed_is_told_and_the_rest_goes(place: Place) -> None:
    last = updated(place, 3)
    place.destroy()
    refused: dict[str, Any] = {"code": "UnauthorizedOperation", "status": 403}
    place.aws.emulator.control("fault", action="DeregisterImage", **refused)
    events: list[Event] = []
    upkeep.forget(place.account, KEY, last, events.append)
    (left,) = place.amis()
    (warned,) = [event for event in events if isinstance(event, Warned)]
    (id_,) = [one.ami.id for one in ami.owned(place.account.images)]
    assert f"the AMI {id_} and its snapshot are left" in warned.message
    assert "UnauthorizedOperation" in warned.message
    started = [event.key for event in events if isinstance(event, Started)]
    assert started == [event.key for event in events if isinstance(event, Finished)]
    assert len(place.snapshots()) == 1
    upkeep.forget(place.account, KEY, last, ignore)
    assert (place.amis(), place.snapshots()) == (set(), [])
    assert left


def test_what_cannot_even_be_looked_for_is_told(place: Place) -> None:
    last = updated(place, 1)
    place.destroy()
    for action in ("DescribeImages", "DescribeStacks", "DescribeSnapshots"):
        place.aws.emulator.control("fault", code="ExpiredToken", status=403, action=action)
        events: list[Event] = []
        upkeep.forget(place.account, KEY, last, events.append)
        (warned,) = [event for event in events if isinstance(event, Warned)]
        assert f"AMIs and snapshots of {KEY} may be left" in warned.message
        assert "expired" in warned.message


def test_an_image_that_somebody_else_uses_stays_and_is_told(place: Place) -> None:
    last = updated(place, 1)
    place.account.ec2.create_launch_template(
        LaunchTemplateName="theirs", LaunchTemplateData={"ImageId": last.ami.id}
    )
    place.destroy()
    events: list[Event] = []
    upkeep.forget(place.account, KEY, last, events.append)
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert "in use by theirs" in warned.message
    assert place.amis() == {"r1"}


def test_what_killed_uploads_of_anybody_left_is_swept_when_it_is_old(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = place.ami("kept", "default/other")
    left = place.begin_upload("d" * 64, "default/third")
    upkeep.forget(place.account, KEY, None, ignore)
    assert left in place.snapshots()
    monkeypatch.setattr(ami, "ABANDONED", -ami.ABANDONED)
    upkeep.forget(place.account, KEY, None, ignore)
    assert len(place.snapshots()) == 1, "that of the AMI"
    assert ami.find(place.account.images, ami.survey(place.folder / "kept.raw", "x86_64")) == kept
