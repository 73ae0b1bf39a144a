"""Probes: what they mean in both forms, and what each mistake is told as."""

# ruff: noqa: E501 (a line is a case)

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from i2kit.manifest.pods.probes import target
from i2kit.model import Exec, Grpc, HttpGet, Probe, TcpSocket
from tests.manifest.reading import POD, manifest, problem, problems

PORTS = "        ports: [{containerPort: 8080, name: http}, {containerPort: 9000}]\n"
NATIVE = (
    "name: web\ncontainers:\n  web:\n    image: nginx\n    ports: [80, {containerPort: 8080, name: http}]\n"
)


def probe(text: str) -> Probe | None:
    """The liveness probe that the text is, the same in both forms."""
    (theirs,) = manifest(POD + PORTS + f"        livenessProbe: {text}").workloads
    (ours,) = manifest(NATIVE + f"    livenessProbe: {text}").workloads
    assert ours.containers[0].liveness == theirs.containers[0].liveness
    return theirs.containers[0].liveness


@pytest.mark.parametrize(
    ("text", "handler"),
    [
        ("{httpGet: {port: 80}}", HttpGet(80)),
        ("{httpGet: {port: http, path: ok?x=1, scheme: HTTPS, host: 10.0.0.1, httpHeaders: [{name: X-A, value: b c}, {name: Accept}]}}",
         HttpGet(8080, "/ok?x=1", "HTTPS", (("X-A", "b c"), ("Accept", "")), "10.0.0.1")),
        ("{tcpSocket: {port: http}}", TcpSocket(8080)),
        ("{tcpSocket: {port: 5432, host: 'fd00::1'}}", TcpSocket(5432, "fd00::1")),
        ('{exec: {command: [sh, -c, "a\\nb"]}}', Exec(("sh", "-c", "a\nb"))),
        ("{grpc: {port: 9000}}", Grpc(9000)),
        ("{grpc: {port: 9000, service: a.B}, httpGet: null}", Grpc(9000, "a.B")),
    ],
)  # fmt: skip
def test_what_is_asked(text: str, handler: HttpGet | TcpSocket | Exec | Grpc) -> None:
    assert probe(text) == Probe(handler)


def test_when_it_is_asked() -> None:
    assert probe(
        "{tcpSocket: {port: 80}, initialDelaySeconds: 5, periodSeconds: 3, timeoutSeconds: 2,"
        " successThreshold: 1, failureThreshold: 30, terminationGracePeriodSeconds: 7}"
    ) == Probe(TcpSocket(80), 5, 3, 2, 1, 30, 7)


def test_zero_is_the_default_as_it_is_to_the_api_server() -> None:
    zeros = ", ".join(f"{name}: 0" for name in ("initialDelaySeconds", "periodSeconds", "timeoutSeconds",
                                                "successThreshold", "failureThreshold"))  # fmt: skip
    assert probe(f"{{tcpSocket: {{port: 80}}, {zeros}}}") == Probe(TcpSocket(80))


def test_each_probe_is_its_own() -> None:
    (found,) = manifest(
        POD
        + "        startupProbe: {exec: {command: [a]}}\n        livenessProbe: {exec: {command: [b]}}\n"
        + "        readinessProbe: {exec: {command: [c]}, successThreshold: 3}\n"
    ).workloads
    (container,) = found.containers
    assert container.startup == Probe(Exec(("a",)))
    assert container.liveness == Probe(Exec(("b",)))
    assert container.readiness == Probe(Exec(("c",)), success_threshold=3)


LIVENESS = "spec.template.spec.containers[0].livenessProbe"


def test_a_command_has_the_variables_as_the_kubelet_expands_them() -> None:
    """Those that are written, as they are; of another source they are empty; of envFrom they are unknown."""
    config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {KEY: value, MORE: value}}"
    (found,) = manifest(
        POD
        + "        env: [{name: A, value: a}, {name: B, value: $(A)b}, {name: C, valueFrom: {configMapKeyRef: {name: c, key: KEY}}}]\n"
        + "        envFrom: [{configMapRef: {name: c}}]\n"
        + "        livenessProbe: {exec: {command: [a, $(A) $(B) $(C). $(MORE) $$(A) $$]}}\n"
        + "        lifecycle: {preStop: {exec: {command: [sh, -c, kill $$ $(A)]}}}\n",
        config,
    ).workloads
    (container,) = found.containers
    assert container.liveness == Probe(Exec(("a", "a $(A)b . $(MORE) $(A) $")))
    assert container.pre_stop == Exec(("sh", "-c", "kill $$ $(A)"))


NEITHER = "\n  hint: give it one of httpGet, tcpSocket, exec and grpc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", f"13:24: {LIVENESS}: says how often to ask and not what{NEITHER}"),
        ("{periodSeconds: 5}", f"13:24: {LIVENESS}: says how often to ask and not what{NEITHER}"),
        ("{tcpSocket: {port: 1}, grpc: {port: 1}}", f"13:53: {LIVENESS}: asks in 2 ways: tcpSocket, grpc\n  hint: leave one of them"),
        ("{tcpSocket: {}}", f"13:36: {LIVENESS}.tcpSocket: `port` is missing"),
        ("{tcpSocket: {port: 0}}", f"13:43: {LIVENESS}.tcpSocket.port: must be at least 1 and is 0"),
        ("{httpGet: {port: 65536}}", f"13:41: {LIVENESS}.httpGet.port: must be at most 65535 and is 65536"),
        ("{httpGet: {port: '80'}}", f'13:41: {LIVENESS}.httpGet.port: "80" is a number in quotes\n  hint: remove the quotes: 80'),
        ("{httpGet: {port: www}}", f"13:41: {LIVENESS}.httpGet.port: this container has no port named `www`\n  hint: its named ports: http"),
        ("{httpGet: {port: 80, scheme: http}}", f"13:53: {LIVENESS}.httpGet.scheme: `http` is not known\n  hint: did you mean `HTTP`?"),
        ("{httpGet: {port: 80, host: 'http://x'}}", f"13:51: {LIVENESS}.httpGet.host: `http://x` is not a host name or an address\n  hint: the scheme and the port have fields of their own"),
        ("{httpGet: {port: 80, httpHeaders: [{name: X A, value: b}]}}", f"13:66: {LIVENESS}.httpGet.httpHeaders[0].name: `X A` is not a header's name: only letters, digits and `-`\n  hint: use `X-A`"),
        ('{httpGet: {port: 80, httpHeaders: [{name: A, value: "b\\r\\nC: d"}]}}', f"13:76: {LIVENESS}.httpGet.httpHeaders[0].value: contains a line break or another control character"),
        ("{httpGet: {port: 80, httpHeaders: [{value: b}]}}", f"13:59: {LIVENESS}.httpGet.httpHeaders[0]: `name` is missing"),
        ("{httpGet: {port: 80, httpHeaders: {A: b}}}", f"13:58: {LIVENESS}.httpGet.httpHeaders: must be a list and is a mapping\n  hint: write a list of name and value"),
        ("{exec: {command: []}}", f"13:41: {LIVENESS}.exec.command: is an empty list\n  hint: write one item per argument: [sh, -c, …]"),
        ("{exec: {}}", f"13:31: {LIVENESS}.exec: `command` is missing\n  hint: such as command: [test, -f, /ready]"),
        ('{exec: {command: ["a\\0"]}}', f"13:42: {LIVENESS}.exec.command[0]: contains a NUL character, which no argument or variable can hold"),
        ("{grpc: {port: http}}", f"13:38: {LIVENESS}.grpc.port: must be a whole number and is the text `http`"),
        ('{grpc: {port: 1, service: "a\\nb"}}', f"13:50: {LIVENESS}.grpc.service: contains a line break or another control character"),
        ("{grpc: {port: 1}, periodSeconds: -1}", f"13:57: {LIVENESS}.periodSeconds: must be at least 0 and is -1"),
        ("{grpc: {port: 1}, timeoutSeconds: 1.5}", f"13:58: {LIVENESS}.timeoutSeconds: must be a whole number and is the number 1.5"),
        ("{grpc: {port: 1}, failureThreshold: 2147483648}", f"13:60: {LIVENESS}.failureThreshold: must be at most 2147483647 and is 2147483648"),
        ("{grpc: {port: 1}, successThreshold: 2}", f"13:60: {LIVENESS}.successThreshold: must be at most 1 and is 2\n  hint: only a readinessProbe can ask for several: leave it out"),
        ("{grpc: {port: 1}, terminationGracePeriodSeconds: 0}", f"13:73: {LIVENESS}.terminationGracePeriodSeconds: must be at least 1 and is 0"),
        ("{grpc: {port: 1}, periodSecond: 1}", f"13:42: {LIVENESS}.periodSecond: is not a known field\n  hint: did you mean `periodSeconds`?"),
        ("{httpGet: {port: '${PORT}'}}", f"13:41: {LIVENESS}.httpGet.port: `${{PORT}}` is not rendered: `${{PORT}}` is a placeholder\n  hint: fill it in first, such as: envsubst < FILE | i2kit deploy -f -"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_message(text: str, message: str) -> None:
    assert problem(POD + PORTS + f"        livenessProbe: {text}") == f"a.yml:{message}"


def test_a_readiness_probe_stops_nothing() -> None:
    text = "        readinessProbe: {exec: {command: [a]}, terminationGracePeriodSeconds: 5}"
    assert problem(POD + text) == (
        "a.yml:12:48: spec.template.spec.containers[0].readinessProbe.terminationGracePeriodSeconds: "
        "is not possible: a failed readinessProbe stops no container\n"
        "  hint: give it to the livenessProbe or the startupProbe"
    )


def test_a_named_port_is_the_containers_own() -> None:
    other = "      - name: two\n        image: nginx\n        startupProbe: {tcpSocket: {port: http}}"
    assert problem(POD + PORTS + other) == (
        "a.yml:15:42: spec.template.spec.containers[1].startupProbe.tcpSocket.port: "
        "this container has no port named `http`\n  hint: give the port's number"
    )


@pytest.mark.parametrize(
    "ports", ["[{containerPort: 0, name: http}]", "[{containerPort: 80, name: HTTP}]", "80"]
)
def test_a_port_that_is_wrong_is_told_once(ports: str) -> None:
    text = f"        ports: {ports}\n        livenessProbe: {{tcpSocket: {{port: http}}}}"
    assert len(problems(POD + text)) == 1


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/", "/"),
        ("healthz", "/healthz"),
        ("?x=1", "/?x=1"),
        ("/a b/ä\n", "/a%20b/%C3%A4%0A"),
        ("/a#b?c", "/a"),
        ("/a%20b/100%", "/a%20b/100%25"),
        ("http://host:80/a?b#c", "/a?b"),
        ("//host", "/"),
        ("/a?to=http://x/", "/a?to=http://x/"),
    ],
)
def test_a_path_is_asked_for_as_the_kubelet_does(path: str, asked: str) -> None:
    assert target(path) == asked


@given(st.text(st.characters()))
@example("a\0\r\n b")
def test_a_path_never_leaves_its_line(path: str) -> None:
    asked = target(path)
    assert asked.startswith("/")
    assert all("!" <= c <= "~" for c in asked)
