"""Manifests as people have them, of well-known demos' shapes, deployed as they are, with stand-in images.

Real VMs in the local provider's namespace, by the use cases that the command line calls. Each demo shows in a
handful of requests that its pods got what the manifest gives them.
"""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from i2kit import app
from i2kit.events import Event, ignore
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Deployment
from i2kit.providers.local.machines import capabilities
from i2kit.settings import Settings
from tests.vm import standins
from tests.vm.standins import StandIn

pytestmark = pytest.mark.vm

DEMOS = Path(__file__).with_name("demos")
PATIENCE_S = 60.0


@dataclass(slots=True)
class Demo:
    """A demo as it runs: what its Services and its pods say."""

    file: Path
    settings: Settings
    found: Mapping[str, Deployment] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def deploy(self) -> None:
        outcomes = app.deploy(
            [str(self.file)], settings=self.settings, provider_name="local", watch=self.events.append
        )
        self.found = {one.deployment.name: one.deployment for one in outcomes if one.deployment}

    def url(self, name: str, service: str = "", port: int | None = None) -> str:
        """Where a deployment answers for one of its Services."""
        namespace = self.found[name].namespace
        return next(
            endpoint.url.replace("tcp://", "http://")
            for endpoint in self.found[name].endpoints
            if endpoint.service == f"{namespace}/{service or name}"
            and port in (None, endpoint.port)
            and not endpoint.url.startswith("udp:")
        )

    def get(self, name: str, path: str = "", service: str = "", port: int | None = None) -> str:
        return answer(self.url(name, service, port).rstrip("/") + path)

    def env(self, name: str, service: str = "") -> dict[str, str]:
        """The variables of its first container."""
        lines = self.get(name, "/cgi-bin/env", service).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def file_of(self, name: str, path: str, service: str = "") -> str:
        return self.get(name, f"/cgi-bin/cat?{path}", service)

    def asks(self, name: str, target: str, service: str = "") -> str:
        """What a pod is answered by another one."""
        return self.get(name, f"/cgi-bin/get?{target}", service)

    def logged(self, key: str, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            lines = app.logs(
                key, container=None, replica=None, follow=False, settings=self.settings, provider_name="local"
            )
            for _, _, line in lines:
                if re.search(pattern, line):
                    return line
            assert time.monotonic() < deadline, f"{key} never said {pattern}"
            time.sleep(0.2)


def answer(url: str, host: str | None = None) -> str:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.urlopen(request, timeout=10) as found:
        return str(found.read().decode()).strip()


def guestbook(demo: Demo) -> None:
    assert {demo.get("frontend") for _ in range(8)} == {one.id for one in demo.found["frontend"].instances}
    assert demo.asks("frontend", "redis-leader:6379/").startswith("redis-leader-")
    assert demo.asks("frontend", "redis-follower.default:6379/").startswith("redis-follower-")
    assert demo.env("redis-follower")["GET_HOSTS_FROM"] == "dns"


def voting(demo: Demo) -> None:
    assert demo.url("vote").endswith(":31000")
    assert demo.asks("vote", "redis.default.svc:6379/").startswith("redis-")
    assert demo.env("db")["POSTGRES_USER"] == "postgres"
    mounts = demo.file_of("db", "/proc/mounts")
    assert re.search(r"\S+ /var/lib/postgresql/data tmpfs \S*size=16384k", mounts)
    assert re.search(r"/dev/\S+ /data ext4 ", demo.file_of("redis", "/proc/mounts"))
    assert demo.logged("worker", "stands in")


def wordpress(demo: Demo) -> None:
    password = "not-for-anybody's-eyes"
    assert demo.env("wordpress")["DATABASE_URL"] == f"mysql://root:{password}@wordpress-mysql/wordpress"
    assert demo.asks("wordpress", "wordpress-mysql:3306/cgi-bin/add?/var/lib/mysql/rows") == "1"
    assert demo.asks("wordpress", "wordpress-mysql:3306/cgi-bin/env").count(password) == 1
    assert demo.get("wordpress", "/cgi-bin/add?/var/www/html/posts") == "1"
    before = {one.id for one in demo.found["wordpress-mysql"].instances}
    # Another database: its data is the same.
    text = demo.file.read_text().replace(
        "name: MYSQL_DATABASE, value: wordpress", "name: MYSQL_DATABASE, value: blog"
    )
    demo.file = demo.settings.run_dir.parent.parent / f"{demo.settings.run_dir.parent.name}.yml"
    demo.file.write_text(text)
    try:
        demo.deploy()
    finally:
        demo.file.unlink()
    assert not before & {one.id for one in demo.found["wordpress-mysql"].instances}
    assert demo.asks("wordpress", "wordpress-mysql:3306/cgi-bin/add?/var/lib/mysql/rows") == "2"
    assert "MYSQL_DATABASE=blog" in demo.asks("wordpress", "wordpress-mysql:3306/cgi-bin/env")


def podinfo(demo: Demo) -> None:
    assert len(demo.found["podinfo"].instances) == 2, "the autoscaler's fewest"
    env = demo.env("podinfo")
    assert (env["PODINFO_UI_COLOR"], "NOT_THERE" in env) == ("#34577c", False)
    assert demo.file_of("podinfo", "/config/app.yaml") == "level: info"
    assert demo.get("podinfo", "/cgi-bin/add?/data/calls") in ("1", "2")
    assert demo.get("podinfo", "/cgi-bin/add?/home/calls") == "", "its root is read-only"
    ingress = next(one for one in demo.found["podinfo"].endpoints if "podinfo.localhost" in one.url)
    port = ingress.url.split("/")[2].partition(":")[2] or "80"
    assert answer(f"http://127.0.0.1:{port}/", "podinfo.localhost").startswith("podinfo-")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        answer(f"http://127.0.0.1:{port}/", "elsewhere.localhost")


def store(demo: Demo) -> None:
    assert demo.get("rabbitmq", port=15672) == "rabbitmq-0"
    plugins = demo.get("rabbitmq", "/cgi-bin/cat?/etc/rabbitmq/enabled_plugins", port=15672)
    assert plugins == "[rabbitmq_management,rabbitmq_prometheus,rabbitmq_amqp1_0]."
    assert demo.asks("order-service", "rabbitmq:15672/") == "rabbitmq-0"
    assert demo.env("order-service")["RABBITMQ_SERVICE_PORT_RABBITMQ_AMQP"] == "5672"


def bank(demo: Demo) -> None:
    env = demo.env("ledger-db")
    assert (env["POSTGRES_PASSWORD"], env["LOCAL_ROUTING_NUM"]) == ("a pass word", "883745000")
    assert not [name for name in env if name.startswith("DEMO_")]
    assert demo.get("ledger-db", "/cgi-bin/add?/var/lib/postgresql/data/rows") == "1"
    assert demo.file_of("userservice", "/tmp/.ssh/privatekey") == "private half"
    assert demo.file_of("userservice", demo.env("userservice")["PUB_KEY_PATH"]) == "public half"
    assert demo.get("userservice", "/cgi-bin/add?/tmp/calls") == "1"


def bookinfo(demo: Demo) -> None:
    seen = {demo.get("reviews-v1", service="reviews").rpartition("-")[0] for _ in range(20)}
    assert seen == {"reviews-v1", "reviews-v2"}


def zookeeper(demo: Demo) -> None:
    assert [one.id for one in demo.found["zk"].instances] == ["zk-0", "zk-1"]
    env = demo.env("zk", "zk-cs")
    assert env["POD_NAME"] in ("zk-0", "zk-1")
    for name in ("zk-0.zk-hs", "zk-1.zk-hs.default", "zk-1.zk-hs.default.svc.cluster.local"):
        assert demo.asks("zk", f"{name}:2888/", "zk-cs") == name[:4]
    for name in ("zk-0", "zk-1"):
        assert demo.asks("zk", f"{name}.zk-hs:2181/cgi-bin/add?/var/lib/zookeeper/myid", "zk-cs") == "1"
    assert demo.asks("zk", "zk-1.zk-hs:2181/cgi-bin/add?/var/lib/zookeeper/myid", "zk-cs") == "2"


def sockshop(demo: Demo) -> None:
    assert demo.url("front-end").endswith(":30001")
    assert demo.asks("front-end", "carts/").startswith("carts-")
    assert demo.logged("sock-shop/stranger", "kept out|got in").endswith("kept out")


def migration(demo: Demo) -> None:
    assert demo.found["migrate"].phase == "succeeded"
    assert demo.logged("migrate", "migrated").endswith("migrated to 7")
    assert demo.found["tidy"].phase == "scheduled"
    assert demo.get("notes").startswith("notes-")


def petclinic(demo: Demo) -> None:
    assert demo.file_of("api-gateway", "/shared/prepared") == "prepared"
    assert demo.file_of("api-gateway", "/shared/started") == "started"
    assert demo.env("api-gateway")["WAVEFRONT_URI"] == "https://wavefront.example"
    assert demo.file_of("api-gateway", "/etc/everything/application.yml") == "server: {port: 8080}"
    assert demo.file_of("api-gateway", "/etc/everything/secret/url") == "https://wavefront.example"
    labels = demo.file_of("api-gateway", "/etc/everything/labels")
    assert labels.splitlines() == ['app="api-gateway"', 'tier="web"']
    assert demo.file_of("api-gateway", "/etc/everything/name") == demo.found["api-gateway"].instances[0].id
    assert demo.get("api-gateway") == demo.asks("api-gateway", "localhost:9000/") == "gateway"


def statsd(demo: Demo) -> None:
    assert demo.get("statsd", port=8125).startswith("statsd-")
    assert demo.asks("statsd", "metrics:8125/").startswith("statsd-")


IMAGES: Mapping[str, StandIn] = {
    "busybox": StandIn(),
    "docker.io/redis:6.0.5": StandIn((6379,)),
    "redis:alpine": StandIn((6379,)),
    "postgres:15-alpine": StandIn((5432,)),
    "mysql:8.0": StandIn((3306,)),
    "wordpress:6.2.1-apache": StandIn((80,)),
    "example.com/samples/gb-redis-follower:v2": StandIn((6379,)),
    "example.com/samples/gb-frontend:v5": StandIn((80,)),
    "samples/vote": StandIn((80,)),
    "samples/worker": StandIn(),
    "samples/podinfo:6.7.1": StandIn(
        programs=("/usr/bin/podcli",), paths=("/readyz",), start={"/home/podinfo": (9898, 9797)}
    ),
    "example.com/library/rabbitmq:3.10-management-alpine": StandIn((5672, 15672)),
    "example.com/samples/order-service:latest": StandIn((3000,), paths=("/health",)),
    "samples/ledger-db:v0.6": StandIn((5432,)),
    "samples/userservice:v0.6": StandIn((8080,), paths=("/ready",)),
    "samples/reviews-v1:1.20.1": StandIn((9080,)),
    "samples/reviews-v2:1.20.1": StandIn((9080,)),
    "example.com/kubernetes-zookeeper:1.0-3.4.10": StandIn(
        programs=("/usr/bin/start-zookeeper", "/usr/bin/zookeeper-ready")
    ),
    "samples/carts:0.4.8": StandIn((80,)),
    "samples/front-end:0.3.12": StandIn((8079,)),
    "samples/notes": StandIn((8080,)),
    "samples/logger": StandIn((9000,)),
    "samples/api-gateway": StandIn((8080,)),
    "samples/statsd": StandIn((8126,)),
}

CHECKS: tuple[Callable[[Demo], None], ...] = (
    guestbook,
    voting,
    wordpress,
    podinfo,
    store,
    bank,
    bookinfo,
    zookeeper,
    sockshop,
    migration,
    petclinic,
    statsd,
)


@pytest.fixture(scope="module")
def layout(build_settings: Settings, the_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(build_settings.store_dir)
    return standins.write(tmp_path_factory.mktemp("standins"), IMAGES, store, the_base)


@pytest.fixture
def settings(machine_settings: Settings, layout: Path) -> Iterator[Settings]:
    if capabilities.inspect(machine_settings).network != "namespace":
        pytest.skip("this machine has no namespace for VMs")
    given = replace(machine_settings, images=(layout,))
    yield given
    names = [one.key for one in app.status(None, settings=given, provider_name="local")]
    app.destroy(names, settings=given, provider_name="local", watch=ignore, volumes=True, hurry=True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_demo_deploys_as_it_is(check: Callable[[Demo], None], settings: Settings) -> None:
    demo = Demo(DEMOS / f"{check.__name__}.yml", settings)
    demo.deploy()
    assert all(one.replicas_ready == one.replicas_wanted for one in demo.found.values() if not one.phase), (
        demo.events
    )
    check(demo)


def test_every_demo_is_tried() -> None:
    assert {file.stem for file in DEMOS.iterdir()} == {check.__name__ for check in CHECKS}
