"""What a template says of a deployment, and that read back."""

from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import OperationError, Position
from i2kit.model import Port, Release, Resources
from i2kit.providers.aws.design import record
from i2kit.providers.aws.design.record import MAX_HISTORY, Record

from .releases import AMI, NETWORK, OPTIONS, PRIVATE_ZONE, release, service, udp

FRONT = service("front", (80, "web", "http"), public=True)
NOTHING = Path()


def bare(one: Release) -> Release:
    """As it is when read back: without paths."""
    image = replace(one.image, vmlinuz=NOTHING, kernel=NOTHING, initrd=NOTHING, root=None, cmdline="")
    return replace(one, image=image)


def made(wanted: Release, **words: object) -> Record:
    found = Record(1, "2026-11-21T08:00:00Z", bare(wanted), AMI, OPTIONS, NETWORK, PRIVATE_ZONE)
    return replace(found, **words)  # type: ignore[arg-type]


def read_back(one: Record) -> Record:
    return record.of({"Metadata": {"i2kit": record.metadata(one)}})


@pytest.mark.parametrize(
    "one",
    [
        made(release()),
        made(
            release(
                ports=(Port(80, "web"), Port(81)),
                namespace="shop",
                neighbours=(service("db", (5432, 5432, None)),),
                resources=Resources(cpu_limit_millis=500, memory_request_bytes=64 << 20),
                labels=(("tier", "front"), ("app", "web")),
                facts=(("metadata.namespace", "shop"), ("metadata.labels['tier']", "front")),
            ),
            attached=(FRONT,),
            options=replace(OPTIONS, architecture="arm64", key_pair="ops", addresses=(("a/b", "c"),)),
            zone=None,
            network=replace(NETWORK, security_group="sg-00000000000000001"),
            implied=False,
        ),
        made(
            release(
                ports=(Port(53, "dns"), Port(53, None, "UDP")),
                services=(
                    service("a", udp(53, 53), (53, 53, None), headless=True, unready=True),
                    service("b", udp(53, "dns", "x"), public=True, sticky_s=5, sources=("192.0.2.0/24",)),
                ),
            ),
            implied=False,
        ),
    ],
)
def test_what_is_read_back_is_what_was_written(one: Record) -> None:
    assert read_back(one) == one
    assert read_back(one).manifest == one.release.manifest


def test_revisions_count_up_and_the_oldest_are_forgotten() -> None:
    found = record.after(None, made(release()))
    assert (found.revision, found.history) == (1, ())
    for replicas in range(1, MAX_HISTORY + 5):
        found = read_back(record.after(found, made(release(replicas=replicas))))
    assert found.revision == MAX_HISTORY + 5
    assert [one.revision for one in found.history] == list(range(5, MAX_HISTORY + 5))
    assert [one.release.workload.replicas for one in found.history] == list(range(4, MAX_HISTORY + 4))
    assert all(one.history == () and one.network == NETWORK for one in found.history)


def test_nothing_of_what_is_in_the_image_is_told() -> None:
    wanted = release()
    (container,) = wanted.workload.containers
    private = replace(container, env=(("PASSWORD", "hunter2"),), command=("sh", "-c", "hunter2"))
    workload = replace(wanted.workload, containers=(private,))
    assert "hunter2" not in str(record.metadata(made(replace(wanted, workload=workload))))


def test_own_services_count_before_attached_ones_of_the_same_key() -> None:
    own = service("web", (80, 80, None))
    public = replace(own, public=True)
    one = replace(made(release(services=(own,)), attached=(public, FRONT)), implied=False)
    assert one.services == one.written == (own, FRONT)
    assert one.whole.services == (own, FRONT)
    # One that came by itself does not count.
    other = replace(one, implied=True)
    assert other.services == other.written == other.whole.services == (public, FRONT)
    assert replace(other, attached=(FRONT,)).written == (FRONT,)


def test_a_service_that_was_written_is_told_from_the_one_that_comes_by_itself() -> None:
    own = service("web", (80, 80, None))
    assert record.is_implied(release(services=(own,)))
    assert record.is_implied(release(ports=()))
    written = (
        replace(own, position=Position("app.yml", 1, 1)),
        replace(own, public=True),
        replace(own, selector=(("tier", "front"),)),
        service("web", (80, 81, None)),
    )
    assert not any(record.is_implied(release(services=(one,))) for one in written)


def test_what_a_newer_version_has_deployed_is_not_guessed_at() -> None:
    found = record.metadata(made(release()))
    with pytest.raises(OperationError, match="default/web was deployed by another version"):
        record.of({"Metadata": {"i2kit": {**found, "Format": 2}}})
    with pytest.raises(OperationError, match="can't be read"):
        record.of({"Metadata": {"i2kit": {**found, "History": "x"}}})
    with pytest.raises(OperationError, match="can't be read"):
        record.of({"Metadata": {"i2kit": {**found, "Workload": {}}}})
    with pytest.raises(OperationError, match="no record"):
        record.of({"Resources": {}})
