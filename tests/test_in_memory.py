"""The provider in memory lives as the real ones do: the same story, told by each."""

import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from i2kit import app, image, settings
from i2kit.errors import OperationError, RolloutError
from i2kit.events import ignore
from i2kit.image import base
from i2kit.image.store import Store
from i2kit.model import (
    Container,
    Deployment,
    MachineImage,
    Port,
    Release,
    Service,
    ServicePort,
    Workload,
)
from i2kit.providers import Front, Provider, Rollback, Scale, Wanted
from i2kit.providers.local import LocalProvider
from tests.in_memory import InMemoryProvider
from tests.vm.machine import busybox_image

KEY = "default/web"
SERVE = ("sh", "-c", "echo serving; trap exit TERM; httpd -f -p 80 -h /www & wait")
OTHER = ("sh", "-c", "echo other; trap exit TERM; httpd -f -p 80 -h /www & wait")
BREAK = ("false",)


@dataclass(frozen=True, slots=True)
class Place:
    """A provider to try, how to make an image for it, and how to ask an address of it."""

    provider: Provider
    build: Callable[[Workload], MachineImage]
    get: Callable[[str], bytes]

    def release(self, *, replicas: int = 1, command: tuple[str, ...] = SERVE) -> Release:
        container = Container("web", "busybox", command=command, ports=(Port(80),))
        workload = Workload("web", (container,), replicas=replicas, labels=(("app", "web"),))
        return Release(workload, self.build(workload), app.services_of(workload, ()))

    def deploy(self, wanted: Wanted | None) -> Deployment | None:
        return self.provider.apply(self.provider.plan(KEY, wanted, self.provider.observe(KEY)), ignore)


def in_memory(folder: Path, config: pytest.Config) -> Place:
    provider = InMemoryProvider()

    def build(workload: Workload) -> MachineImage:
        return MachineImage(
            id=f"image-that-runs-{workload.containers[0].command}",
            kernel=folder / "kernel",
            vmlinuz=folder / "kernel",
            initrd=folder / "initrd",
            root=folder / "root",
            cmdline="",
            memory_floor_bytes=1,
        )

    return Place(provider, build, provider.get)


def local(folder: Path, config: pytest.Config) -> Place:
    chosen = replace(
        settings.load(),
        store_dir=config.cache.mkdir("store"),  # it outlives the run: packages are fetched once
        state_dir=folder / "state",
        run_dir=folder / "run",
        lock_file=folder / "lock",
    )
    store = Store(chosen.store_dir)
    made = base.ensure(store=store, lock_file=chosen.lock_file, locked=False, watch=ignore)
    busybox = busybox_image(store, made).pinned

    def build(workload: Workload) -> MachineImage:
        containers = tuple(replace(each, image=busybox) for each in workload.containers)
        return image.build(replace(workload, containers=containers), settings=chosen, watch=ignore)

    def get(url: str) -> bytes:
        with closing(urllib.request.urlopen(url, timeout=10)) as answer:
            body: bytes = answer.read()
            return body

    return Place(LocalProvider(chosen), build, get)


@pytest.fixture(params=[in_memory, pytest.param(local, marks=pytest.mark.vm)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="i2kit-test-") as folder:
        place: Place = request.param(Path(folder), request.config)
        try:
            yield place
        finally:
            place.deploy(None)


def test_the_life_of_a_deployment(place: Place) -> None:
    provider = place.provider
    assert provider.observe(KEY) is None
    assert provider.plan(KEY, None, None).actions == ()

    with pytest.raises(OperationError) as raised:
        place.deploy(place.release(command=BREAK))
    assert not isinstance(raised.value, RolloutError), "nothing served before"
    assert raised.value.exit_code == 3
    assert place.deploy(None) is None
    assert provider.observe(KEY) is None

    one = place.release()
    first = place.deploy(one)
    assert first is not None
    assert (first.name, first.namespace, first.provider) == ("web", "default", provider.name)
    assert (first.replicas_wanted, first.replicas_ready, len(first.instances)) == (1, 1, 1)
    assert first.instances[0].ready
    assert first.image == one.image.id
    (endpoint,) = first.endpoints
    assert (endpoint.port, endpoint.public) == (80, False)
    assert place.get(endpoint.url) == b"hello\n"
    assert [deployment.key for deployment in provider.list()] == [KEY]

    assert provider.plan(KEY, one, provider.observe(KEY)).actions == (), "the same again is nothing to do"

    second = place.deploy(Scale(2))
    assert second is not None
    assert (second.revision, second.replicas_wanted, second.replicas_ready) == (1, 2, 2)
    assert provider.plan(KEY, Scale(2), second).actions == ()
    assert provider.plan(KEY, one, second).actions != (), "the files have a number, too"
    assert second.endpoints == first.endpoints, "an address stays"
    ids = [instance.id for instance in second.instances]
    assert first.instances[0].id in ids, "scaling replaces none"

    lines = list(provider.logs(KEY, container="web", replica=0, follow=False))
    assert lines == [(ids[0], "web", "serving")]
    with pytest.raises(OperationError):
        list(provider.logs(KEY, container=None, replica=2, follow=False))

    with pytest.raises(RolloutError):
        place.deploy(place.release(replicas=2, command=BREAK))
    assert place.get(endpoint.url) == b"hello\n"
    after = provider.observe(KEY)
    assert after is not None
    assert (after.image, after.replicas_ready) == (one.image.id, 2), "the previous revision serves"

    other = place.release(command=OTHER)
    third = place.deploy(other)
    assert third is not None
    assert third.revision > second.revision
    back = place.deploy(Rollback())
    assert back is not None
    assert (back.image, back.revision > third.revision) == (one.image.id, True)
    assert provider.plan(KEY, Rollback(back.revision), back).actions == ()
    with pytest.raises(OperationError):
        provider.plan(KEY, Rollback(99), back)
    history = provider.history(KEY)
    assert [revision.number for revision in history] == list(range(1, back.revision + 1))
    assert history[0].image == history[-1].image == one.image.id
    assert {revision.image for revision in history if revision.outcome == "superseded"} == {
        one.image.id,
        other.image.id,
    }
    assert [revision.number for revision in history if revision.outcome == "serving"] == [back.revision]

    shop = Service("shop", (("app", "web"),), (ServicePort(8080, 80),))
    fronted = place.deploy(Front((shop,)))
    assert fronted is not None
    assert (fronted.revision, fronted.instances) == (back.revision, back.instances)
    assert (fronted.labels, fronted.services) == (one.workload.labels, (shop,))
    (shop_endpoint,) = set(fronted.endpoints) - set(back.endpoints)
    assert shop_endpoint.port == 8080
    assert place.get(shop_endpoint.url) == place.get(endpoint.url) == b"hello\n"
    assert provider.plan(KEY, Front((shop,)), fronted).actions == ()
    alone = place.deploy(Front(without=(shop.key,)))
    assert alone is not None
    assert (alone.services, alone.endpoints) == ((), first.endpoints)

    assert place.deploy(None) is None
    assert provider.observe(KEY) is None
    assert provider.list() == []
    with pytest.raises(OSError):
        place.get(endpoint.url)
