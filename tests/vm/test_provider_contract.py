"""What every provider must do: `local` with real machines, `aws` with real disks on an emulated AWS.

Each provider joins as a World. Booting costs seconds, so each test follows one deployment through much of
its life.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from i2kit.errors import OperationError, RolloutError
from i2kit.events import Event, ignore
from i2kit.model import Container, Deployment, Port, Release, Service, ServicePort, Workload
from i2kit.providers import Front, Provider, Rollback, Scale, Wanted
from i2kit.settings import Settings
from tests.aws.conftest import aws, emulated
from tests.vm.deployments import SERVE_ITS_NAME
from tests.vm.worlds import Emulated, Real, World

__all__ = ["aws", "emulated"]

pytestmark = pytest.mark.vm

KEY = "default/web"
Make = Callable[..., Release]


@pytest.fixture(params=["local", "aws"])
def world(
    request: pytest.FixtureRequest, machine_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A place where nothing runs, and where nothing runs afterwards."""
    made: World = (
        Real(machine_settings)
        if request.param == "local"
        else Emulated(machine_settings, request.getfixturevalue("aws"), monkeypatch)
    )
    yield made
    for deployment in made.provider.list():
        made.provider.apply(made.provider.plan(deployment.key, None, deployment), ignore)


@pytest.fixture
def provider(world: World) -> Provider:
    return world.provider


@pytest.fixture
def make(world: World, image: str) -> Make:
    """A release of a web server; `env` makes another image, `script` another program."""

    def make(*, replicas: int = 2, script: str = SERVE_ITS_NAME, **env: Any) -> Release:
        container = Container(
            "web", image, command=("sh", "-c", script), env=tuple(env.items()), ports=(Port(80),)
        )
        workload = Workload("web", (container,), replicas, labels=(("app", "web"),))
        return world.build(workload, (Service("web", workload.labels, (ServicePort(80, 80),)),))

    return make


def deploy(provider: Provider, release: Release, watch: Callable[[Event], None] = ignore) -> str:
    """Apply the release and give the address that answers."""
    key = release.workload.key
    deployment = provider.apply(provider.plan(key, release, provider.observe(key)), watch)
    assert deployment
    return deployment.endpoints[0].url


def change(provider: Provider, wanted: Wanted) -> Deployment:
    """Apply a change of what runs."""
    changed = provider.apply(provider.plan(KEY, wanted, provider.observe(KEY)), ignore)
    assert changed
    return changed


def test_a_deployment_from_first_to_last(world: World, provider: Provider, make: Make) -> None:
    key, answers = KEY, world.answers
    assert provider.observe(key) is None

    first = make(replicas=1)
    events: list[Event] = []
    url = deploy(provider, first, events.append)
    found = provider.observe(key)
    assert found
    assert (found.replicas_wanted, found.replicas_ready, found.revision) == (1, 1, 1)
    assert all(instance.ready and instance.image == first.image.id for instance in found.instances)
    assert answers(url) == {instance.id for instance in found.instances}
    assert any(type(event).__name__ == "Progress" for event in events)

    # The same again: nothing to do.
    assert provider.plan(key, first, found).actions == ()

    # More replicas: what runs goes on as it was.
    scaled = change(provider, Scale(2))
    assert (scaled.replicas_wanted, scaled.replicas_ready, scaled.revision) == (2, 2, 1)
    assert {one.id for one in scaled.instances} > {one.id for one in found.instances}
    assert answers(url) == {instance.id for instance in scaled.instances}
    assert provider.plan(key, Scale(2), scaled).actions == ()

    # The next deploy sets the manifest's number again.
    deploy(provider, first)
    before = provider.observe(key)
    assert before
    assert (before.replicas_ready, before.revision) == (1, 1)
    assert answers(url) == {instance.id for instance in before.instances}

    # Another image: other VMs, the same address.
    second = make(replicas=1, VERSION="2")
    assert deploy(provider, second) == url
    updated = provider.observe(key)
    assert updated
    assert updated.revision == 2
    assert {one.id for one in updated.instances}.isdisjoint(one.id for one in before.instances)
    assert answers(url) == {f"{updated.instances[0].id} 2"}

    # One that cannot run: the one before goes on, and the error says why.
    bad = make(replicas=1, script="echo no good; exit 7")
    world.cannot_run(bad)
    with pytest.raises(RolloutError) as error:
        deploy(provider, bad)
    assert world.why("no good") in error.value.message.lower()
    assert world.why("exit status 7") in error.value.message.lower()
    deadline = time.monotonic() + 30
    while True:
        after = provider.observe(key)
        assert after
        if len(after.instances) == 1 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    if world.boots:  # where a group goes back, it may do so with new machines
        assert [one.id for one in after.instances] == [updated.instances[0].id]
    assert answers(url) == {f"{after.instances[0].id} 2"}
    assert provider.plan(key, second, after).actions == ()

    history = provider.history(key)
    assert (history[0].number, history[0].image, history[0].outcome) == (1, first.image.id, "superseded")
    assert [one.image for one in history if one.outcome == "serving"] == [second.image.id]
    (failed,) = [one for one in history if one.outcome == "failed"]
    assert bad.image.id.startswith(failed.image)
    assert world.why("exit status 7") in failed.reason.lower()

    if world.boots:
        lines = [line for _, _, line in provider.logs(key, container="web", replica=0, follow=False)]
        assert "serving" in lines

    # A service of another file comes in front of what runs, and of what runs later.
    shop = Service("shop", first.workload.labels, (ServicePort(8080, 80),))
    fronted = change(provider, Front((shop,)))
    assert (fronted.instances, fronted.revision) == (after.instances, after.revision)
    assert shop in fronted.services
    (shop_url,) = [one.url for one in fronted.endpoints if one.port == 8080]
    assert answers(shop_url) == answers(url) == {f"{after.instances[0].id} 2"}
    assert provider.plan(key, Front((shop,)), fronted).actions == ()

    # Back to the first revision, as a new one: it answers as it did, there as well.
    with pytest.raises(OperationError):
        provider.plan(key, Rollback(99), fronted)
    back = change(provider, Rollback(1))
    assert (back.image, back.replicas_ready) == (first.image.id, 1)
    assert back.revision > fronted.revision
    assert answers(shop_url) == answers(url) == {back.instances[0].id}
    assert provider.plan(key, Rollback(1), back).actions == ()

    alone = change(provider, Front(without=(shop.key,)))
    assert [one.url for one in alone.endpoints] == [url]
    assert answers(url) == {back.instances[0].id}

    # Gone is gone, and gone again is no error.
    assert provider.apply(provider.plan(key, None, alone), ignore) is None
    assert provider.observe(key) is None
    assert provider.plan(key, None, None).actions == ()
    assert provider.apply(provider.plan(key, None, None), ignore) is None


def test_a_first_deployment_that_cannot_run_says_why_and_can_be_mended(
    world: World, provider: Provider, make: Make
) -> None:
    bad = make(replicas=1, script="echo my last words; exit 3")
    world.cannot_run(bad)
    with pytest.raises(OperationError) as error:
        deploy(provider, bad)
    assert (isinstance(error.value, RolloutError), error.value.exit_code) == (False, 3)
    assert world.why("exit status 3") in error.value.message.lower()
    assert world.why("my last words") in error.value.message.lower()
    assert world.answers(deploy(provider, make(replicas=1)))
