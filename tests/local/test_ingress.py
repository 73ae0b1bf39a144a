"""Which service answers a request to an Ingress: decided, and by the real HAProxy."""

import http.client
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.model import (
    Alias,
    Ingress,
    NetworkPolicy,
    Port,
    Release,
    Route,
    SecretValue,
    Selector,
    Service,
    ServicePort,
    secrets_text,
)
from i2kit.process import run, which
from i2kit.providers.local.design import describe, desired, orders
from i2kit.providers.local.design.desired import (
    INGRESS,
    Certified,
    Desired,
    Order,
    admit,
    from_json,
    go_back,
    order_of,
    remove,
    serve,
    to_json,
)
from i2kit.providers.local.reach import certificates, dns, haproxy, ingress
from i2kit.providers.local.reach.balancer import Balancer
from tests.golden import check as golden

from .releases import release
from .test_balancer import balancer as balancer

SHOP = Ingress(
    "shop",
    (
        (
            "shop.example.com",
            (
                Route("/", False, "web", "http"),
                Route("/api", False, "api", 9000),
                Route("/api/v2/", False, "web", 80),
                Route("/api", True, "web", 80),
                Route("/it's here", True, "api", 9000),
                Route("/a\n  bind :80", False, "api", 9000),
            ),
        ),
        ("*.example.com", (Route("/any", False, "api", 9000),)),
        ("", (Route("/health", True, "gone", 80),)),
        ("plain.localhost", (Route("/", False, "web", 80),)),
    ),
)
BLOG = Ingress(
    "blog",
    (("Blog.example.com", (Route("/", False, "web", 80),)), ("shop.example.com", ())),
    default=Route("/", False, "api", 9000),
)


def two(*ingresses: Ingress) -> Desired:
    """`web` and `api`, which these Ingresses lead to."""
    web = Service("web", (("app", "web"),), (ServicePort(80, 8080, "http"),))
    api = Service("api", (("app", "api"),), (ServicePort(9000, 9000),))
    made = Desired()
    for one in (
        release("web", services=(web,), ports=(Port(8080),)),
        release("api", services=(api,), ports=(Port(9000),)),
    ):
        made = admit(made, order_of(replace(one, ingresses=ingresses)))
    return made


def asked(state: Desired, host: str, path: str) -> str:
    """The service that the rules give to this request, by the most specific host and the first route."""
    for site in ingress.sites(state):
        name, _, rest = host.partition(".")
        if site.host in (host, f"*.{rest}" if name and rest else host, ""):
            to = next((to for route, to in site.routes if route.matches(path)), site.default)
            return to.service if to else "nobody"
    return "nobody"


@pytest.mark.parametrize(
    ("host", "path", "service"),
    [
        ("shop.example.com", "/", "default/web"),
        ("shop.example.com", "/api", "default/web"),
        ("shop.example.com", "/api/", "default/api"),
        ("shop.example.com", "/api/v1", "default/api"),
        ("shop.example.com", "/api/v2", "default/web"),
        ("shop.example.com", "/api/v2/x", "default/web"),
        ("shop.example.com", "/apis", "default/web"),
        ("cdn.example.com", "/any/thing", "default/api"),
        ("cdn.example.com", "/other", "nobody"),
        ("a.b.example.com", "/any", "nobody"),
        ("a.b.example.com", "/health", "default/gone"),
        ("example.com", "/health", "default/gone"),
    ],
)
def test_the_most_specific_host_and_path_answer(host: str, path: str, service: str) -> None:
    assert asked(two(SHOP), host, path) == service


def test_several_ingresses_share_hosts_and_what_is_left_has_the_default() -> None:
    state = two(SHOP, BLOG)
    assert asked(state, "blog.example.com", "/x") == "default/web"
    assert asked(state, "cdn.example.com", "/other") == "default/api"
    assert asked(state, "elsewhere.org", "/") == "default/api"
    assert asked(state, "shop.example.com", "/") == "default/web"


def test_they_have_ports_of_their_own_as_long_as_one_is_left() -> None:
    state = two(SHOP)
    ports = ingress.record_ports(state)
    assert [number for number, _ in ports] == [80]
    again = from_json(to_json(state))
    assert again == state
    secure = replace(BLOG, tls=((("blog.example.com",), "cert"),))
    more = admit(state, order_of(replace(release("web"), ingresses=(SHOP, secure))))
    assert ingress.record_ports(more)[0] == ports[0]
    assert [number for number, _ in ingress.record_ports(more)] == [80, 443]
    less = remove(more, "default/web")
    assert [one.key for one in less.ingresses] == ["default/shop"]
    assert ingress.record_ports(less) == ports
    assert not remove(less, "default/api").services


def test_what_was_said_last_of_an_ingress_counts() -> None:
    state = two(SHOP)
    changed = replace(SHOP, rules=(("new.example.com", (Route("/", False, "web", 80),)),))
    after = admit(state, order_of(replace(release("web"), ingresses=(changed,))))
    assert after.ingresses == (changed,)
    later = admit(after, order_of(replace(release("other"))))
    assert later.ingresses == (changed,)


def test_a_rollout_that_goes_back_takes_its_ingress_along() -> None:
    def of(host: str, image: str) -> Release:
        from .releases import image as made

        one = Ingress("shop", ((host, (Route("/", False, "web", 80),)),))
        return replace(release("web", machine=made(image * 64)), ingresses=(one,))

    state = serve(admit(Desired(), order_of(of("old.example.com", "a"))), "default/web")
    after = go_back(admit(state, order_of(of("new.example.com", "b"))), "default/web", {1})
    assert [host for one in after.ingresses for host, _ in one.rules] == ["old.example.com"]


def test_deployments_tell_where_they_are_called() -> None:
    state = two(SHOP)
    port = dict(ingress.record_ports(state))[80]

    def urls(name: str, *, usual: bool = False) -> list[str]:
        wanted = state.deployment(f"default/{name}")
        assert wanted
        told = describe.deployment(
            *(wanted, state, ()), unpublished=[port], usual=usual, detail="", complete=True, stuck=""
        )
        assert told["unpublished"] == ([] if usual else [port])
        return [one["url"] for one in told["endpoints"]]

    assert urls("api")[1:] == [
        f"http://shop.example.com.localhost:{port}/api",
        f"http://shop.example.com.localhost:{port}/it's%20here",
        f"http://shop.example.com.localhost:{port}/a%0A%20%20bind%20%3A80",
        f"http://any.example.com.localhost:{port}/any",
    ]
    assert urls("web")[-1] == f"http://plain.localhost:{port}"
    assert urls("web", usual=True)[-1] == "http://plain.localhost"


def test_the_usual_ports_are_those_of_ingresses_unless_a_service_was_promised_one() -> None:
    state = two(SHOP)
    assert ingress.usual_ports(state) == (80,)
    assert ingress.usual_ports(two()) == ()
    front = Service("old", (("app", "old"),), (ServicePort(8080, 80, node_port=80),))
    assert ingress.usual_ports(admit(state, order_of(release("old", services=(front,))))) == ()


def test_the_names_of_an_ingress_are_known_in_the_network() -> None:
    state = two(SHOP, BLOG)
    vip = next(one.vip for one in state.services if one.key == INGRESS)
    lines = dns.host_lines(state, ()).splitlines()
    assert [line for line in lines if line.startswith(f"{vip} ")] == [
        f"{vip} blog.example.com",
        f"{vip} plain.localhost",
        f"{vip} shop.example.com",
    ]


def gate_of(state: Desired, http: int) -> haproxy.Gate:
    """The gate with a backend for each service."""

    def name(to: ingress.Target | None) -> str:
        if to is None:
            return haproxy.NOBODY
        return to.service.replace("/", ":") if to.service != "default/gone" else haproxy.NOTHING

    return haproxy.Gate(
        (http,),
        (),
        30443,
        tuple(
            haproxy.Host(
                site.host,
                tuple(haproxy.Rule(route.path, route.exact, name(to)) for route, to in site.routes),
                name(site.default),
                site.secure,
            )
            for site in ingress.sites(state)
        ),
    )


def test_the_configuration() -> None:
    golden(
        "local/haproxy-ingress.cfg", haproxy.render((), stats_fd=5, check=True, gate=gate_of(two(SHOP), 7))
    )


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with its name and what it was told."""

    def do_GET(self) -> None:
        headers = ("Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
        told = [",".join(self.headers.get_all(one, [""])) for one in headers]
        body = "|".join([getattr(self.server, "label", ""), *told]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[dict[str, int]]:
    made = {}
    started = []
    for label in ("default:web", "default:api"):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
        server.label = label  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        made[label] = server.server_address[1]
    yield made
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_does_what_was_decided(balancer: Balancer, servers: dict[str, int]) -> None:
    state = two(SHOP)
    secure = replace(SHOP, name="safe", rules=(("safe.example.com", ()),))
    secure = replace(secure, tls=((("safe.example.com",), "cert"),), https_only=True)
    state = admit(state, order_of(replace(release("web"), ingresses=(SHOP, secure))))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        backends = tuple(
            haproxy.Frontend(label, True, (), (haproxy.Server(f"{label}:0", "127.0.0.1", port, on=True),))
            for label, port in servers.items()
        )
        gate = gate_of(state, listener.fileno())
        text = haproxy.render(backends, stats_fd=balancer.stats_fd, check=False, gate=gate)
        balancer.configure(text, text, [listener.fileno()])
        port = listener.getsockname()[1]

        def get(host: str, path: str) -> tuple[int, list[str], str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path, headers={"Host": host, "X-Forwarded-For": "192.0.2.9"})
            answer = connection.getresponse()
            words = answer.read().decode().strip().split("|")
            connection.close()
            return answer.status, words, answer.getheader("Location") or ""

        def service(host: str, path: str) -> str:
            status, words, _ = get(host, path)
            if status == 503:
                return "default/gone"
            return words[0].replace(":", "/") if status == 200 else "nobody"

        for host in ("shop.example.com", "cdn.example.com", "a.b.example.com", "example.com", "x.localhost"):
            for path in ("/", "/api", "/api/", "/api/v2", "/api/v2/x", "/apis", "/any", "/any/x", "/health"):
                for query in ("", "?q=/api/v2"):
                    assert service(host, path + query) == asked(state, host.removesuffix(".localhost"), path)
        assert service("shop.example.com", "/it's%20here") == "default/api"
        assert service("SHOP.example.com.:80", "/api/v1") == "default/api"
        status, words, _ = get(f"shop.example.com.localhost:{port}", "/")
        told = ["shop.example.com", "127.0.0.1", f"shop.example.com.localhost:{port}", "http"]
        assert (status, words) == (200, ["default:web", *told])
        assert get(f"plain.localhost:{port}", "/")[1][1] == f"plain.localhost:{port}"
        where = "https://safe.example.com.localhost:30443/a?b=c"
        assert get(f"safe.example.com.localhost:{port}", "/a?b=c")[::2] == (308, where)


@pytest.fixture(scope="module")
def shop_pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate for shop.example.com, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=shop.example.com", "-addext", "subjectAltName=DNS:shop.example.com", "-days", "2"]
    run([*words, "-keyout", folder / "key", "-out", folder / "crt"])
    return (folder / "crt").read_bytes(), (folder / "key").read_bytes()


def values(crt: bytes, key: bytes, secret: str = "cert") -> tuple[SecretValue, ...]:
    return (
        SecretValue("default", secret, "tls.crt", crt),
        SecretValue("default", secret, "tls.key", key),
    )


SECURE = replace(SHOP, tls=((("shop.example.com", "*.example.com"), "cert"),), https_only=True)


def test_https_is_ended_with_the_certificate_of_the_host(
    balancer: Balancer, servers: dict[str, int], shop_pem: tuple[bytes, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "a folder" / "tls"
    folder.parent.mkdir()
    state = two(SECURE)
    text = secrets_text(certificates.keys_of(["cert"]), values(*shop_pem))
    pems = {"default/cert": certificates.pem(text, "cert")}
    names = ingress.certificates(state.ingresses)
    assert names == (
        (
            "default/cert",
            "shop.example.com shop.example.com.localhost *.example.com *.example.com.localhost",
        ),
    )
    version = certificates.write(folder, names, pems)
    assert version == certificates.write(folder, names, pems)
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())} == {0o700, 0o600}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        backends = tuple(
            haproxy.Frontend(label, True, (), (haproxy.Server(f"{label}:0", "127.0.0.1", port, on=True),))
            for label, port in servers.items()
        )
        gate = replace(
            gate_of(state, 0),
            http=(),
            https=(listener.fileno(),),
            certificates=str(folder / certificates.LIST),
            version=version,
        )
        text = haproxy.render(backends, stats_fd=balancer.stats_fd, check=False, gate=gate)
        assert "BEGIN" not in text
        balancer.configure(text, text, [listener.fileno()])
        (tmp_path / "ca").write_bytes(shop_pem[0])
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca"))
        with (
            socket.create_connection(listener.getsockname(), timeout=10) as plain,
            trusting.wrap_socket(plain, server_hostname="shop.example.com") as safe,
        ):
            safe.sendall(b"GET /api/x HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: safe.recv(4096), b"")).decode()
    assert answer.splitlines()[-1] == "default:api|shop.example.com|127.0.0.1|shop.example.com|https"
    assert certificates.write(folder, names, {}) != version
    assert [path.name for path in folder.iterdir()] == [certificates.LIST]
    assert certificates.write(folder, (), {}) == ""
    assert not folder.exists()


def test_certificates_that_cannot_be_used_are_refused(shop_pem: tuple[bytes, bytes]) -> None:
    crt, key = shop_pem
    other = run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout"]).stdout
    locked = run(["openssl", "ec", "-aes128", "-passout", "pass:x"], stdin=key).stdout

    def refused(*given: SecretValue, ingress: Ingress = SECURE) -> str:
        with pytest.raises(InputError) as caught:
            orders.order_for(
                Desired(),
                "default/web",
                replace(release("web"), ingresses=(ingress,), secrets=given),
                (),
            )
        return str(caught.value)

    assert "secret `cert` with the certificate for shop.example.com, *.example.com is not given" in refused()
    assert "is not given" in refused(values(crt, key)[0])
    assert "its key is not that of its certificate" in refused(*values(crt, other))
    assert "its key is encrypted" in refused(*values(crt, locked))
    assert "no certificate with its key in PEM" in refused(*values(b"x", b"y"))
    nameless = replace(SECURE, tls=((("shop.example.com",), ""),))
    assert "there is no certificate for shop.example.com" in refused(ingress=nameless)
    made = replace(release("web"), ingresses=(SECURE,), secrets=values(crt, key))
    assert orders.order_for(Desired(), "default/web", made, ()).written.ingresses == (SECURE,)


def test_a_certificate_comes_from_the_newest_deploy() -> None:
    def given(name: str, certificates: str) -> Order:
        front = Service(name, (("app", name),), (ServicePort(80, 80),))
        one = replace(release(name, services=(front,)), ingresses=(SECURE,))
        return order_of(one, certificates=certificates)

    state = admit(admit(Desired(), given("web", "first")), given("api", "second"))
    assert state.certificates == (Certified("default/cert", "default/api", "second"),)
    assert desired.secret_sets(state) == {"default/web": {"first"}, "default/api": {"second"}}
    state = admit(state, given("web", "third"))
    assert state.certificates == (Certified("default/cert", "default/web", "third"),)
    assert admit(state, order_of(release("other"))).certificates == state.certificates
    assert from_json(to_json(state)) == state
    state = remove(state, "default/web")
    assert state.certificates == (Certified("default/cert", "default/api", "second"),)


@pytest.mark.parametrize("obstacle", ["", "there is no /dev/net/tun"])
def test_what_needs_a_network_of_vms_is_refused_without_one(obstacle: str) -> None:
    front = Service("db", (("app", "web"),), (ServicePort(80, 80),), headless=True)
    made = replace(release("web", services=(front,)), aliases=(Alias("store", "db.example.com"),))
    made = replace(made, policies=(NetworkPolicy("closed", Selector(), ingress=()),))
    here = orders.Here(obstacle=obstacle)
    assert orders.needs_network(made)
    assert not orders.needs_network(release("web"))
    if not obstacle:
        assert orders.order_for(Desired(), "default/web", made, (), here).written.aliases == made.aliases
        return
    with pytest.raises(InputError) as caught:
        orders.order_for(Desired(), "default/web", made, (), here)
    assert len(caught.value.problems) == 3 and all(obstacle in str(one) for one in caught.value.problems)
