"""What every provider must do, run on the real thing: each provider joins by a line in `providers`.

Booting costs seconds, so each test follows one deployment through much of its life.
"""

import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from i2kit.errors import OperationError, RolloutError
from i2kit.events import Event, ignore
from i2kit.model import Container, Deployment, Port, Release, Service, ServicePort, Workload
from i2kit.providers import Front, Provider, Rollback, Scale, Wanted, load
from i2kit.settings import Settings
from tests.vm.deployments import SERVE_ITS_NAME, build_release

pytestmark = pytest.mark.vm

KEY = "default/web"
Make = Callable[..., Release]


@pytest.fixture(params=["local"])
def provider(request: pytest.FixtureRequest, machine_settings: Settings) -> Iterator[Provider]:
    """A provider where nothing runs, and where nothing runs afterwards."""
    provider = load(request.param, machine_settings)
    yield provider
    for deployment in provider.list():
        provider.apply(provider.plan(deployment.key, None, deployment), ignore)


@pytest.fixture
def make(machine_settings: Settings, image: str) -> Make:
    """A release of a web server; `env` makes another image, `script` another program."""

    def make(*, replicas: int = 2, script: str = SERVE_ITS_NAME, **env: str) -> Release:
        container = Container(
            "web", image, command=("sh", "-c", script), env=tuple(env.items()), ports=(Port(80),)
        )
        workload = Workload("web", (container,), replicas, labels=(("app", "web"),))
        service = Service("web", workload.labels, (ServicePort(80, 80),))
        return build_release(workload, (service,), machine_settings)

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


def answers(url: str, count: int = 12) -> set[str]:
    """What different requests are answered; any failure fails the test."""
    found = set()
    for _ in range(count):
        with urllib.request.urlopen(url, timeout=10) as answer:
            found.add(answer.read().decode().strip())
    return found


def test_a_deployment_from_first_to_last(provider: Provider, make: Make) -> None:
    key = KEY
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
    with pytest.raises(RolloutError, match="no good") as error:
        deploy(provider, make(replicas=1, script="echo no good; exit 7"))
    assert "exit status 7" in error.value.message
    assert answers(url) == {f"{updated.instances[0].id} 2"}
    deadline = time.monotonic() + 30
    while True:
        after = provider.observe(key)
        assert after
        if len(after.instances) == 1 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert [one.id for one in after.instances] == [updated.instances[0].id]
    assert provider.plan(key, second, after).actions == ()

    history = provider.history(key)
    assert (history[0].number, history[0].image, history[0].outcome) == (1, first.image.id, "superseded")
    assert [one.image for one in history if one.outcome == "serving"] == [second.image.id]
    (failed,) = [one for one in history if one.outcome == "failed"]
    assert failed.image not in (first.image.id, second.image.id)
    assert "exit status 7" in failed.reason

    lines = [line for _, _, line in provider.logs(key, container="web", replica=0, follow=False)]
    assert "serving" in lines

    # A service of another file comes in front of what runs, and of what runs later.
    shop = Service("shop", first.workload.labels, (ServicePort(8080, 80),))
    fronted = change(provider, Front((shop,)))
    assert (fronted.instances, fronted.revision) == (after.instances, after.revision)
    assert shop in fronted.services
    (shop_url,) = [one.url for one in fronted.endpoints if one.port == 8080]
    assert answers(shop_url) == answers(url) == {f"{updated.instances[0].id} 2"}
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
    provider: Provider, make: Make
) -> None:
    with pytest.raises(OperationError, match="exit status 3") as error:
        deploy(provider, make(replicas=1, script="echo my last words; exit 3"))
    assert not isinstance(error.value, RolloutError)
    assert "my last words" in error.value.message
    assert answers(deploy(provider, make(replicas=1)))
