"""Compose files: what they mean, what is around them, and what each mistake is told as."""

# ruff: noqa: E501 (a line is a case)

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError, Position
from i2kit.manifest import check, parse, read
from i2kit.manifest.around import Around
from i2kit.manifest.compose.interpolation import BadText, filled, variables
from i2kit.manifest.compose.merging import DIALECT
from i2kit.manifest.compose.project import project
from i2kit.manifest.log import Log
from i2kit.manifest.source import MappingNode, Node, SequenceNode, documents
from i2kit.model import (
    Amount,
    Build,
    Claim,
    Container,
    Dns,
    Exec,
    File,
    Files,
    Job,
    Manifest,
    Metric,
    Mount,
    NetworkPolicy,
    Port,
    Probe,
    Resources,
    Route,
    Scaling,
    Scratch,
    SecretKey,
    Security,
    Selector,
    Service,
    ServicePort,
    Strategy,
    TcpSocket,
    Volume,
    Workload,
)


def around(files: Mapping[str, str] | None = None, **environ: str) -> Around:
    """A folder `shop` with these files, and these variables."""
    held = {path.removeprefix("./"): text.encode() for path, text in (files or {}).items()}

    def kind(path: str) -> str:
        if path in held:
            return "file"
        return "folder" if path == "." or any(name.startswith(f"{path}/") for name in held) else "none"

    def names(path: str) -> list[str]:
        below = [name.removeprefix(f"{path}/") for name in held if name.startswith(f"{path}/")]
        return list(dict.fromkeys(name.split("/")[0] for name in below))

    return Around(environ, "/home/me/shop", kind, lambda path, most: (False, held[path][:most]), names)  # type: ignore[arg-type]


def compose(text: str, files: Mapping[str, str] | None = None, **environ: str) -> Manifest:
    return parse([("compose.yml", textwrap.dedent(text).encode())], around(files, **environ))


def service(text: str, files: Mapping[str, str] | None = None, **environ: str) -> Container:
    """The container of `services: {web: {image: nginx, TEXT}}`."""
    return workload(text, files, **environ).containers[0]


def workload(text: str, files: Mapping[str, str] | None = None, **environ: str) -> Workload:
    found = compose(f"services: {{web: {{image: nginx, {text}}}, other: {{image: b}}}}", files, **environ)
    return next(one for one in found.workloads if one.name == "web")


def problems(text: str, files: Mapping[str, str] | None = None, **environ: str) -> list[str]:
    try:
        compose(text, files, **environ)
    except InputError as error:
        return [str(problem) for problem in error.problems]
    return []


def wrong(text: str, files: Mapping[str, str] | None = None, **environ: str) -> list[str]:
    """What is wrong with a service, without the place and the service's path."""
    return [
        one.split(": ", 1)[1].removeprefix("services.web.")
        for one in problems(f"services: {{web: {{image: nginx, {text}}}}}", files, **environ)
    ]


def test_two_services() -> None:
    found = compose("""\
        services:
          web:
            image: nginx:1.27
            ports: ["8080:80"]
            depends_on: [db]
          db:
            image: postgres
            volumes: ["data:/var/lib/postgresql/data"]
        volumes:
          data:
        """)
    assert found.workloads == (
        Workload(
            "db",
            (
                Container(
                    "db", "postgres", mounts=(Mount("disk-data", "/var/lib/postgresql/data", filled=True),)
                ),
            ),
            labels=(("app", "db"),),
            volumes=(Volume("disk-data", Claim("shop-data", 2**30)),),
        ),
        Workload("web", (Container("web", "nginx:1.27", ports=(Port(80),)),), labels=(("app", "web"),)),
    )
    assert [replace(one, position=None) for one in found.services] == [
        Service("db", (("app", "db"),), (), headless=True),
        Service("web", (("app", "web"),), (), headless=True),
        Service("web-published", (("app", "web"),), (ServicePort(8080, 80, "tcp-8080", node_port=8080),)),
    ]
    assert [one.position for one in found.workloads] == [
        Position("compose.yml", 6, 3),
        Position("compose.yml", 2, 3),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("command: a 'b c' d", ("a", "b c", "d")),
        ("command: [a, 1, 'b c']", ("a", "1", "b c")),
        ("command: echo $$HOME '$$(A)'", ("echo", "$$HOME", "$$(A)")),
        ("command: ", None),
        ("command: []", None),
    ],
)  # fmt: skip
def test_command(text: str, value: tuple[str, ...] | None) -> None:
    assert service(text).args == value
    if value:
        assert service(text.replace("command", "entrypoint")).command == value
        found = service(f"{text}, entrypoint: []")
        assert (found.command, found.args) == (value, None)


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("environment: {A: b, C: 1, D: true, E: yes, F: 1.50, G: '', H: 1e3, I: 0x10}",
         {"A": "b", "C": "1", "D": "true", "E": "yes", "F": "1.5", "G": "", "H": "1000", "I": "16"}),
        ("environment: [A=b, C=, D=e=f, 'G=h i']", {"A": "b", "C": "", "D": "e=f", "G": "h i"}),
        ("environment: [HOME, NONE]", {"HOME": "/root"}),
        ("environment: {HOME: , NONE: , FILE: }", {"HOME": "/root", "FILE": "x"}),
        ("environment: {A: '$$5 $$(B) ${HOME}'}", {"A": "$$5 $$(B) /root"}),
        ("env_file: a.env", {"A": "1", "B": "two words", "HOME": "/root", "C": "/root"}),
        ("env_file: [a.env, {path: b.env, format: raw}, {path: none.env, required: false}], environment: {C: c}",
         {"A": "'x' # y", "B": "two words", "HOME": "/root", "C": "c"}),
    ],
)  # fmt: skip
def test_environment(text: str, env: Mapping[str, str]) -> None:
    files = {
        ".env": "FILE=x",
        "a.env": "A=1\nexport B='two words' # c\nHOME\n#C=\nC=${HOME}\n",
        "b.env": "A='x' # y\n",
    }
    assert dict(service(text, files, HOME="/root").env) == env


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", "a"), ("$A", "1"), ("${A}", "1"), ("$A$B-", "1-"), ("$$A", "$A"), ("${A:-x}", "1"), ("${E:-x}", "x"),
        ("${E-x}", ""), ("${N-x}", "x"), ("${N:-a${N:-b$A}}", "ab1"), ("${A:+x}", "x"), ("${E:+x}", ""), ("${E+x}", "x"),
        ("${A:?no}", "1"), ("${E?no}", ""), ("${N}", ""), ("${N:-}", ""), ("${A}}", "1}"), ("${N:-$$}", "$"),
    ],
)  # fmt: skip
def test_interpolation(text: str, value: str) -> None:
    assert filled(text, {"A": "1", "E": ""}.get).text == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$", "`$` is no variable"), ("a$ b", "`$ b` is no variable"), ("${", "`${` has no closing brace"),
        ("${A", "`${A` has no closing brace"), ("${}", "`${}` is no variable"), ("${A/b}", "`${A/b}` is no variable"),
        ("${N:?give $A}", "the variable `N` is required: give 1"), ("${N?}", "the variable `N` is required"),
        ("${1A}", "`${1A}` is no variable"), ("${N:-" * 30 + "}" * 30, "variables are nested deeper than 20 levels"),
    ],
)  # fmt: skip
def test_bad_interpolation(text: str, message: str) -> None:
    with pytest.raises(BadText) as caught:
        filled(text, {"A": "1"}.get)
    assert caught.value.message == message


@given(st.text(alphabet="$A{}:-?+ N", max_size=30))
def test_any_text_is_filled_or_explained(text: str) -> None:
    try:
        assert len(filled(text, {"A": "xyz"}.get).text) <= 3 * len(text)
    except BadText as bad:
        assert bad.message


@given(st.text(alphabet="A='\"\\$ {}#\n:x", max_size=40))
def test_any_file_of_variables_is_read_or_explained(text: str) -> None:
    try:
        variables(text, lambda _: None)
    except BadText as bad:
        assert bad.line >= 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\n\n# x\nB = 2 # c\nC=a#b\nD: 4\nE", [("A", "1"), ("B", "2"), ("C", "a#b"), ("D", "4"), ("E", None)]),
        ("A='$X \\n'\nB=\"$X\\n\\$Y\\\"\"\nC=$X", [("A", "$X \\n"), ("B", "x\n$Y\""), ("C", "x")]),
        ("A=\"one\ntwo\"\nB=${A}!\r\nC=", [("A", "one\ntwo"), ("B", "one\ntwo!"), ("C", "")]),
        ("export A=1", [("A", "1")]),
    ],
)  # fmt: skip
def test_a_file_of_variables(text: str, found: list[tuple[str, str | None]]) -> None:
    assert variables(text, {"X": "x"}.get) == found


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("[80]", [(80, 80, "TCP", None)]),
        ("['80']", [(80, 80, "TCP", None)]),
        ("[8080:80]", [(8080, 80, "TCP", 8080)]),
        ("[22:22]", [(22, 22, "TCP", None)]),
        ("['127.0.0.1:8080:80', '[::1]:8081:81']", [(8080, 80, "TCP", 8080), (8081, 81, "TCP", 8081)]),
        ("['127.0.0.1::80']", [(80, 80, "TCP", None)]),
        ("['5353:53/udp', '5353:53/tcp']", [(5353, 53, "UDP", 5353), (5353, 53, "TCP", 5353)]),
        ("['9000-9001:80-81']", [(9000, 80, "TCP", 9000), (9001, 81, "TCP", 9001)]),
        ("['9000-9005:80']", [(9000, 80, "TCP", 9000)]),
        ("['80-81']", [(80, 80, "TCP", None), (81, 81, "TCP", None)]),
        ("[{target: 80, published: '8080', host_ip: 127.0.0.1, protocol: tcp, mode: host}]", [(8080, 80, "TCP", 8080)]),
        ("['8080:80', '8081:80']", [(8080, 80, "TCP", 8080), (8081, 80, "TCP", 8081)]),
        ("['${P}:80']", [(7070, 80, "TCP", 7070)]),
    ],
)  # fmt: skip
def test_ports(text: str, ports: list[tuple[int, int, str, int | None]]) -> None:
    found = compose(f"services: {{web: {{image: a, ports: {text}}}}}", P="7070")
    (published,) = found.services
    assert published.name == "web"
    assert [(one.number, one.target, one.protocol, one.node_port) for one in published.ports] == ports
    targets = dict.fromkeys((target, protocol) for _, target, protocol, _ in ports)
    assert [(port.number, port.protocol) for port in found.workloads[0].containers[0].ports] == list(targets)


def test_the_address_that_a_port_is_published_at_and_a_port_of_the_system_are_warned_about() -> None:
    assert compose("services: {web: {image: a, ports: ['80:80', '192.0.2.1:8080:81']}}").warnings == (
        "compose.yml:1:45: services.web.ports[1]: the address has no effect: provider local uses 127.0.0.1",
        "compose.yml:1:36: services.web.ports[0]: provider local publishes it at another port: those below 1024 are the system's",
    )


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("[CMD, a, b]", Exec(("a", "b"))),
        ("[CMD-SHELL, a b]", Exec(("/bin/sh", "-c", "a b"))),
        ("a || exit 1", Exec(("/bin/sh", "-c", "a || exit 1"))),
    ],
)  # fmt: skip
def test_healthcheck(text: str, probe: Exec) -> None:
    found = service(
        f"healthcheck: {{test: {text}, interval: 1m, timeout: 2500ms, retries: 2, start_period: 90s}}"
    )
    usual = Probe(probe, period_s=60, timeout_s=3, failure_threshold=2)
    assert (found.liveness, found.readiness) == (usual, usual)
    assert found.startup == Probe(probe, period_s=5, timeout_s=3, failure_threshold=120)
    slow = service(
        f"healthcheck: {{test: {text}, start_period: 20m, start_interval: 10s, retries: 2}}"
    ).startup
    assert slow == Probe(probe, period_s=10, timeout_s=30, failure_threshold=126)


@pytest.mark.parametrize(
    "text", ["{test: NONE}", "{test: [NONE]}", "{disable: true}", "{test: [CMD, a], disable: true}"]
)
def test_no_healthcheck(text: str) -> None:
    found = service(f"healthcheck: {text}")
    if text != "{test: NONE}":
        assert (found.startup, found.liveness, found.readiness) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("mem_limit: 512m, mem_reservation: 1gb, cpus: 0.5",
         Resources(cpu_limit_millis=500, memory_request_bytes=2**30, memory_limit_bytes=2**29)),
        ("deploy: {resources: {limits: {cpus: '1.5', memory: 64M}, reservations: {cpus: .25, memory: 33554432}}}",
         Resources(250, 1500, 2**25, 2**26)),
    ],
)  # fmt: skip
def test_resources(text: str, resources: Resources) -> None:
    assert service(text).resources == resources


@pytest.mark.parametrize(
    ("text", "security"),
    [
        ("user: 1000", Security(user=1000)),
        ("user: '1000:50'", Security(user=1000, group=50)),
        ("user: root", Security(user=0)),
        ("cap_add: [net_admin, CAP_SYS_TIME], cap_drop: [ALL]",
         Security(add=("CAP_NET_ADMIN", "CAP_SYS_TIME"), drop=("ALL",))),
        ("read_only: true, privileged: true, security_opt: ['no-new-privileges:true', 'seccomp:unconfined', 'label:disable']",
         Security(readonly_root=True, privileged=True, no_new_privileges=True, unconfined=True)),
        ("group_add: [10, '20', mail]", Security(groups=(10, 20), group_names=("mail",))),
        ("user: node", Security(user_name="node")),
        ("user: '1000:staff'", Security(user_name="1000:staff")),
        ("labels: {kompose.security-context.fsgroup: 1001}", Security(fs_group=1001)),
    ],
)  # fmt: skip
def test_security(text: str, security: Security) -> None:
    assert service(text).security == security


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deploy: {replicas: 3}", {"replicas": 3}),
        ("scale: 0", {"replicas": 0}),
        ("restart: 'no'", {"job": Job(most_failures=0)}),
        ("restart: no", {"job": Job(most_failures=0)}),
        ("restart: 'no', expose: [80]", {"job": None}),
        ("deploy: {restart_policy: {condition: none}}", {"job": Job(most_failures=0)}),
        ("restart: unless-stopped", {"job": None}),
        ("restart: 'on-failure:3'", {"job": None}),
        ("deploy: {update_config: {parallelism: 2, order: start-first, delay: 10s}}",
         {"strategy": Strategy(max_surge=Amount(2), max_unavailable=Amount(0)), "min_ready_s": 10}),
        ("deploy: {update_config: {order: stop-first}}", {"strategy": Strategy(max_surge=Amount(0), max_unavailable=Amount(1))}),
        ("deploy: {update_config: {parallelism: 1}}", {"strategy": Strategy()}),
        ("hostname: box", {"hostname": "box"}),
        ("hostname: Box_1.example.com", {"hostname": "Box_1.example.com"}),
        ("hostname: box, domainname: example.com", {"hostname": "box.example.com"}),
        ("domainname: example.com", {"hostname": "web.example.com"}),
        ("hostname: web", {"hostname": None}),
        ("stop_grace_period: 1m", {"grace_s": 60}),
        ("sysctls: {net.core.somaxconn: 1024}", {"sysctls": (("net/core/somaxconn", "1024"),)}),
        ("sysctls: [net.core.somaxconn=1024]", {"sysctls": (("net/core/somaxconn", "1024"),)}),
        ("extra_hosts: ['a:192.0.2.1', 'b=::1']", {"hosts": (("192.0.2.1", "a"), ("::1", "b"))}),
        ("extra_hosts: {a: 192.0.2.1}", {"hosts": (("192.0.2.1", "a"),)}),
        ("dns: 192.0.2.53, dns_search: [a.example]", {"dns": Dns(("192.0.2.53",), ("a.example",))}),
        ("tmpfs: /run", {"volumes": (Volume("memory-0", Scratch(memory=True)),)}),
        ("tmpfs: ['/run:size=64m,mode=1777']", {"volumes": (Volume("memory-0", Scratch(True, 2**26)),)}),
        ("shm_size: 1g", {"volumes": (Volume("shm", Scratch(True, 2**30)),)}),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m}}]", {"volumes": (Volume("tmpfs-0", Scratch(True, 2**20)),)}),
        ("volumes: [/data]", {"volumes": ()}),
    ],
)  # fmt: skip
def test_pod(text: str, expected: Mapping[str, object]) -> None:
    found = workload(text)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_others_wait_for_to_end_is_a_job() -> None:
    found = compose("""\
        services:
          web: {image: a, depends_on: {migrate: {condition: service_completed_successfully}}}
          migrate: {image: b, restart: on-failure}
        """)
    assert [(one.name, one.job) for one in found.workloads] == [
        ("migrate", Job(most_failures=6, retry=True)),
        ("web", None),
    ]


def test_files_and_folders_are_copied() -> None:
    files = {"nginx.conf": "a", "html/index.html": "b", "html/x/y.css": "c"}
    text = "services: {web: {image: a, volumes: ['./nginx.conf:/etc/nginx.conf:ro', './html:/html', {type: bind, source: ./html, target: /h, read_only: true}]}}"
    found = compose(text, files)
    html = Files((File("index.html", data=b"b"), File("x/y.css", data=b"c")))
    assert found.workloads[0].volumes == (
        Volume("files-0", Files((File("file", data=b"a"),))),
        Volume("files-1", html),
        Volume("files-2", html),
    )
    assert found.workloads[0].containers[0].mounts == (
        Mount("files-0", "/etc/nginx.conf", "file", True),
        Mount("files-1", "/html", "", True),
        Mount("files-2", "/h", "", True),
    )
    assert found.warnings == (
        "compose.yml:1:73: services.web.volumes[1]: is copied into the machine image: containers cannot write to it, and changes need another deploy",
    )


def test_configs_and_secrets() -> None:
    found = compose(
        """\
        services:
          web:
            image: a
            configs: [inline, {source: file, target: /etc/app.conf, mode: 0440}]
            secrets: [pw, {source: token, target: api/token}]
        configs:
          inline: {content: "a ${X}"}
          file: {file: ./app.conf}
        secrets:
          pw: {file: pw.txt}
          token: {environment: TOKEN}
        """,
        {"app.conf": "x", "pw.txt": "hidden"},
        X="y",
        TOKEN="t",
    )
    (web,) = found.workloads
    pw, token = SecretKey("shop-pw", "value"), SecretKey("shop-token", "value")
    assert web.volumes == (
        Volume("config-0", Files((File("file", 0o444, b"a y"),))),
        Volume("config-1", Files((File("file", 0o440, b"x"),))),
        Volume("secret-0", Files((File("file", 0o444, secret=pw),))),
        Volume("secret-1", Files((File("file", 0o444, secret=token),))),
    )
    assert [mount.path for mount in web.containers[0].mounts] == [
        "/inline", "/etc/app.conf", "/run/secrets/pw", "/run/secrets/api/token",
    ]  # fmt: skip
    assert web.secrets == (pw, token)
    assert [(one.secret, one.key, one.value) for one in found.secrets] == [
        ("shop-pw", "value", b"hidden"), ("shop-token", "value", b"t"),
    ]  # fmt: skip
    assert "hidden" not in repr(found)


def test_build() -> None:
    files = {"web/Dockerfile": "", "Dockerfile.dev": ""}
    found = compose(
        """\
        services:
          web: {build: ./web}
          api: {image: my/api, build: {context: ., dockerfile: Dockerfile.dev, target: prod, args: [A=1, B, C]}}
        """,
        files,
        B="2",
    )
    by_name = {one.name: one.containers[0] for one in found.workloads}
    assert (by_name["web"].image, by_name["web"].build) == ("shop-web", Build("web"))
    assert by_name["api"].image == "my/api"
    assert by_name["api"].build == Build(".", "Dockerfile.dev", "prod", (("A", "1"), ("B", "2")))


def test_all_that_can_be_said_of_a_build() -> None:
    found = compose(
        """\
        services:
          web:
            build:
              dockerfile_inline: FROM scratch
              secrets: [file, {source: var, target: token}]
              additional_contexts: [lib=./lib, base=docker-image://alpine:3]
              network: host
              extra_hosts: ["a=192.0.2.1", "b:::1"]
              shm_size: 64m
              no_cache: true
              pull: true
        secrets: {file: {file: secret.txt}, var: {environment: VAR}}
        """,
        {"secret.txt": "x", "lib/a": ""},
        VAR="v",
    )
    assert found.workloads[0].containers[0].build == Build(
        ".",
        inline="FROM scratch",
        secrets=(("file", "src=/home/me/shop/secret.txt"), ("token", "env=VAR")),
        contexts=(("lib", "/home/me/shop/lib"), ("base", "docker-image://alpine:3")),
        options=(
            "--no-cache", "--pull", "--network=host", "--shm-size=67108864", "--add-host=a:192.0.2.1",
            "--add-host=b:::1",
        ),
    )  # fmt: skip


def test_labels_for_kompose() -> None:
    found = compose("""\
        services:
          web:
            image: a
            ports: ["8080:80"]
            labels:
              kompose.service.type: NodePort
              kompose.service.nodeport.port: 30080
              kompose.service.expose: "shop.example/dev,shop.example, other.example"
              kompose.service.expose.ingress-class-name: nginx
              kompose.hpa.replicas.max: 5
              kompose.hpa.memory: 80
              kompose.service.healthcheck.readiness.test: CMD ready now
              kompose.service.healthcheck.readiness.interval: 5s
              kompose.service.healthcheck.readiness.start_period: 2s
              kompose.init.containers.image: busybox
              kompose.init.containers.command: '["sh", "-c", "echo $$X"]'
              kompose.image-pull-policy: Always
            healthcheck: {test: live, interval: 7s, retries: 4}
            deploy: {resources: {reservations: {cpus: "1", memory: 1g}}}
          job:
            image: b
            restart: "no"
            labels: ["kompose.cronjob.schedule=0 3 * * *", kompose.cronjob.concurrency_policy=Forbid]
          db:
            image: c
            volumes: ["d:/d"]
            labels:
              kompose.volume.subpath: part
              kompose.volume.storage-class-name: gp3
              kompose.service.healthcheck.liveness.tcp_port: 5432
              kompose.service.healthcheck.readiness.disable: true
          cache: {image: d, volumes: ["e:/e"], scale: 2, labels: {kompose.volume.type: emptyDir}}
        volumes: {d: , e: }
        """)
    web, job, db, cache = found.workloads
    container = web.containers[0]
    live = Probe(Exec(("/bin/sh", "-c", "live")), period_s=7, timeout_s=30, failure_threshold=4)
    assert container.liveness == live
    assert container.readiness == Probe(Exec(("ready", "now")), initial_delay_s=2, period_s=5)
    (first,) = web.init
    assert (first.name, first.image, first.command) == ("init", "busybox", ("sh", "-c", "echo $$X"))
    assert web.scaling == Scaling(1, 5, (Metric("cpu", percent=50), Metric("memory", percent=80)))
    published = found.services[1]
    assert [(port.number, port.node_port) for port in published.ports] == [(8080, 30080)]
    (ingress,) = found.ingresses
    assert ingress.rules == (
        (
            "shop.example",
            (Route("/dev", False, "web-published", 8080), Route("/", False, "web-published", 8080)),
        ),
        ("other.example", (Route("/", False, "web-published", 8080),)),
    )
    assert job.job == Job(schedule="0 3 * * *", overlap="Forbid", retry=False)
    assert db.volumes[0].source == Claim("shop-d", 2**30, kind="gp3")
    assert db.containers[0].mounts == (Mount("disk-d", "/d", "part", filled=True),)
    assert db.containers[0].liveness == Probe(TcpSocket(5432))
    assert db.containers[0].readiness is None
    assert (cache.volumes[0].source, cache.replicas) == (Scratch(), 2)


def test_names() -> None:
    found = compose("""\
        services:
          web: {image: a, container_name: shop_web, links: ["db:database", cache], networks: {n: {aliases: [front]}}}
          db: {image: b, container_name: the-db, networks: [n]}
          cache: {image: c, networks: [n], labels: {kompose.service.type: loadbalancer}, ports: ["6379"]}
        networks: {n: {driver: bridge}}
        """)
    assert [(one.name, one.selector[0][1], one.public) for one in found.services] == [
        ("db", "db", False), ("the-db", "db", False), ("database", "db", False), ("cache", "cache", False),
        ("cache-published", "cache", True), ("web", "web", False), ("shop_web", "web", False), ("front", "web", False),
    ]  # fmt: skip
    assert found.policies == ()


def test_a_service_that_machines_cannot_be_called_as_keeps_its_name_for_others() -> None:
    found = compose(
        """\
        services:
          my_Web: {image: a, container_name: Shop_Web, networks: {n: {aliases: [Front]}}}
          DB_: {build: ., links: ["my_Web:the_web"], networks: [m]}
        networks: {n: , m: }
        """,
        {"Dockerfile": ""},
    )
    assert [(one.name, dict(one.labels)["app"], one.containers[0].name) for one in found.workloads] == [
        ("my-web", "my-web", "my-web"), ("db", "db", "db"),
    ]  # fmt: skip
    assert found.workloads[1].containers[0].image == "shop-db"
    assert [(one.name, one.selector[0][1]) for one in found.services] == [
        ("my-web", "my-web"), ("my_web", "my-web"), ("shop_web", "my-web"), ("front", "my-web"),
        ("the_web", "my-web"), ("db", "db"), ("db_", "db"),
    ]  # fmt: skip
    assert [one.name for one in found.policies] == ["my-web", "db"]


def test_services_without_a_network_in_common_cannot_talk() -> None:
    found = compose("""\
        services:
          web: {image: a, networks: [front, back], ports: ["8080:80"]}
          db: {image: b, networks: [back]}
          proxy: {image: c, networks: [front]}
        networks: {front: , back: {internal: true}}
        """)
    by_name = {one.name: one for one in found.policies}
    assert set(by_name) == {"web", "db", "proxy"}
    db, web = by_name["db"], by_name["web"]
    assert isinstance(db, NetworkPolicy)
    assert db.selector == Selector((("app", "db"),))
    assert db.egress is not None
    assert web.egress is None
    assert db.ingress is not None
    (rule,) = db.ingress
    assert rule.peers is not None
    labels = {one.name: one.labels for one in found.workloads}
    reached = [name for name, mine in labels.items() for peer in rule.peers if peer.selector.matches(mine)]  # type: ignore[union-attr]
    assert sorted(reached) == ["db", "web"]
    assert web.ingress is not None
    assert [(rule.peers is None, [port.number for port in rule.ports or ()]) for rule in web.ingress] == [
        (False, []), (True, [80]),
    ]  # fmt: skip


def test_profiles() -> None:
    text = "services: {web: {image: a}, debug: {image: b, profiles: [dev, test]}}"
    assert [one.name for one in compose(text).workloads] == ["web"]
    assert compose(text).warnings == (
        "compose.yml:1:29: services.debug: is left out: its profiles are not asked for; COMPOSE_PROFILES=NAME asks for one",
    )
    assert [one.name for one in compose(text, COMPOSE_PROFILES="x,test").workloads] == ["web", "debug"]


def test_anchors_extensions_and_extends() -> None:
    found = compose("""\
        x-base: &base
          image: a
          x-note: nothing
          environment: &env {A: 1}
        services:
          one: {<<: *base, environment: {<<: *env, B: 2}}
          two: {extends: one, environment: [C=3], command: b}
          three: {extends: {service: two}, command: c}
        """)
    assert {one.name: (dict(one.containers[0].env), one.containers[0].args) for one in found.workloads} == {
        "one": ({"A": "1", "B": "2"}, None),
        "two": ({"A": "1", "B": "2", "C": "3"}, ("b",)),
        "three": ({"A": "1", "B": "2", "C": "3"}, ("c",)),
    }


def test_several_files_are_one_project() -> None:
    base = b"services: {web: {image: a, command: a, ports: ['8080:80'], environment: {A: 1, B: 2}, volumes: ['x:/x', 'y:/y'], env_file: a.env}}\nvolumes: {x: , y: , z: }\n"
    over = b"services: {web: {image: b, command: b, ports: ['8081:81'], environment: [B=3], volumes: ['z:/x'], env_file: [b.env]}, db: {image: c}}\n"
    files = {"a.env": "E=1\nF=1", "b.env": "F=2"}
    found = parse([("compose.yml", base), ("prod.yml", over)], around(files))
    web, db = found.workloads
    container = web.containers[0]
    assert (container.image, container.args, dict(container.env)) == (
        "b",
        ("b",),
        {"E": "1", "F": "2", "A": "1", "B": "3"},
    )
    assert [(mount.volume, mount.path) for mount in container.mounts] == [("disk-y", "/y"), ("disk-z", "/x")]
    assert [port.node_port for port in found.services[1].ports] == [8080, 8081]
    assert db.name == "db"


def test_disks_begin_with_what_the_image_has_unless_it_is_said() -> None:
    mounts = {
        "'d:/d'": True,
        "'d:/d:nocopy'": False,
        "{type: volume, source: d, target: /d}": True,
        "{type: volume, source: d, target: /d, volume: {nocopy: true}}": False,
    }
    for text, begun in mounts.items():
        found = compose(f"services: {{web: {{image: a, volumes: [{text}]}}}}\nvolumes: {{d: }}")
        assert [mount.filled for mount in found.workloads[0].containers[0].mounts] == [begun]


def test_what_a_later_file_says_of_a_part() -> None:
    base = b"services: {web: {image: a, build: ./web, ports: ['1:1'], secrets: [s], environment: {A: 1, B: 2}}, db: {image: b}}\nsecrets: {s: {content: x, file: s}}"
    later = {
        "services: {web: {ports: !override ['2:2']}}": ("ports", ["2:2"]),
        "services: {web: {ports: !reset []}}": ("ports", None),
        "services: {web: {ports: , image: c}}": ("ports", ["1:1"]),
        "services: {web: {environment: [A, C=3]}}": ("environment", {"A": None, "B": "2", "C": "3"}),
        "services: {web: {environment: {A: !reset null}}}": ("environment", {"B": "2"}),
        "services: {web: {build: {target: prod}}}": ("build", {"context": "./web", "target": "prod"}),
        "services: {web: {secrets: [{source: s, mode: 0400}]}}": (
            "secrets",
            [{"source": "s", "mode": "0400"}],
        ),
        "services: {db: !reset {}}": ("image", "a"),
    }
    for text, (key, value) in later.items():
        nodes = [documents("x.yml", one, dialect=DIALECT)[0][0] for one in (base, text.encode())]
        assert all(isinstance(node, MappingNode) for node in nodes)
        found = project(nodes, around(), Log())  # type: ignore[arg-type]
        assert plain(found.services["web"][1].get(key)) == value, text
        assert ("db" in found.services) == ("db" not in text)


def plain(node: Node | None) -> object:
    if isinstance(node, MappingNode):
        return {name: plain(value) for name, (_, value) in node.entries.items()}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.text if node and node.value is not None else None


def test_included_files_have_their_own_folder_and_variables() -> None:
    files = {
        "db/compose.yml": """\
            services:
              db:
                image: "postgres:${TAG}"
                build: {args: [A]}
                env_file: db.env
                volumes: ["./conf:/conf:ro", "../common:/common", "data:/data", "/var/run/x"]
                secrets: [password]
                command: echo $$HOME
                extends: {file: ../base.yml, service: base}
            volumes: {data: }
            secrets: {password: {file: password.txt}}
            """,
        "db/.env": "TAG=16\nWHO=inner\n",
        ".env": "WHO=outer\n",
        "db/db.env": "X=${WHO}\n",
        "db/Dockerfile": "",
        "db/conf/a": "a",
        "common/b": "b",
        "db/password.txt": "p",
        "base.yml": "services: {base: {environment: {FROM: '$WHO $$'}, hostname: box, extends: {file: base/more.yml, service: more}}}",
        "base/more.yml": "services: {more: {env_file: more.env, cap_add: [SYS_TIME]}}",
        "base/more.env": "MORE=1\n",
    }
    found = compose("include: [db/compose.yml]\nservices: {web: {image: a, depends_on: [db]}}", files)
    db, web = found.workloads
    container = db.containers[0]
    assert (db.name, web.name, db.hostname) == ("db", "web", "box")
    assert (container.image, container.args) == ("postgres:16", ("echo", "$$HOME"))
    assert container.build == Build("db")
    assert container.security.add == ("CAP_SYS_TIME",)
    assert dict(container.env) == {"MORE": "1", "X": "outer", "FROM": "outer $$"}
    assert [volume.source for volume in db.volumes][:2] == [
        Files((File("a", data=b"a"),)),
        Files((File("b", data=b"b"),)),
    ]
    assert [one.value for one in found.secrets] == [b"p"]


def test_include_in_its_long_form() -> None:
    files = {
        "a.yml": "services: {db: {image: 'a:$TAG', env_file: x.env, ports: ['1:1']}}",
        "b.yml": "services: {db: {image: 'b:$TAG'}}\nnetworks: {n: }",
        "c.yml": "networks: {n: }\nservices: {cache: {image: c, networks: [n]}}",
        "here/x.env": "X=1",
        "tags.env": "TAG=2",
    }
    long = "{path: [a.yml, b.yml], project_directory: ./here, env_file: tags.env}"
    found = compose(f"include: [{long}, c.yml]", files)
    assert [one.name for one in found.workloads] == ["db", "cache"]
    assert (found.workloads[0].containers[0].image, found.workloads[0].containers[0].env) == (
        "b:2",
        (("X", "1"),),
    )
    both = "include: [c.yml]\nservices: {cache: {image: d}}\nnetworks: {n: }"
    assert problems(both, files) == [
        "compose.yml:1:11: include[0]: has a `cache` in `services` that is not as the one at compose.yml:2:12\n"
        "  hint: change it with an override file beside it in path"
    ]
    assert problems("include: ['https://a/b.git', e.yml, f.yml]", {"e.yml": "kind: Pod", "f.yml": "[]"}) == [
        "e.yml:1:1: kind: is not a known field\n"
        "  hint: the fields here are name, networks, volumes, secrets, configs",
        "compose.yml:1:11: include[0]: `https://a/b.git` is not on this machine\n  hint: get it first",
        "compose.yml:1:37: include[2]: `f.yml` is no compose file",
    ]
    assert problems("include: [d.yml]", {"d.yml": "include: [d.yml]"}) == [
        "d.yml:1:11: include[0]: includes itself"
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("network_mode: host", ["network_mode: `host` is not possible: there is no host that containers share\n  hint: leave it out, and publish ports with `ports`"]),
        ("network_mode: 'service:db'", ["network_mode: `service:db` is not possible: each service has machines of its own\n  hint: use its name"]),
        ("pid: host", ["pid: is not possible: there is no host that containers share\n  hint: leave it out"]),
        ("devices: [/dev/kvm]", ["devices: is not possible: the machine has none of them\n  hint: leave it out"]),
        ("contaner_name: a", ["contaner_name: is not a known field\n  hint: did you mean `container_name`?"]),
        ("ports: [99999]", ["ports[0]: `99999` is not a port\n  hint: such as \"8080:80\", with numbers from 1 to 65535"]),
        ("ports: ['1:2:3:4']", ["ports[0]: `1:2:3:4` is not a port\n  hint: such as 8080:80"]),
        ("ports: ['8000-8001:80-82']", ["ports[0]: the two ranges are not of one length\n  hint: such as 8000-8009:80-89"]),
        ("ports: 80", ["ports: must be a list and is the number 80"]),
        ("expose: [a]", ["expose[0]: `a` is not a port\n  hint: such as 8080"]),
        ("user: 'a b'", ["user: `a b` is not a user\n  hint: such as node, 1000 or 1000:1000"]),
        ("user: ':0'", ["user: `:0` is not a user\n  hint: such as node, 1000 or 1000:1000"]),
        ("group_add: ['a:b']", ["group_add[0]: `a:b` is not a group\n  hint: such as 1000 or staff"]),
        ("stop_signal: SIGNONE", ["stop_signal: `SIGNONE` is not a signal\n  hint: such as SIGINT"]),
        ("restart: sometimes", ["restart: `sometimes` is not known\n  hint: use always, unless-stopped, on-failure or no"]),
        ("depends_on: [wb]", ["depends_on[0]: there is no service `wb`\n  hint: did you mean `web`?"]),
        ("depends_on: [web]", ["depends on itself: web → web"]),
        ("volumes: ['data:/a']", ["volumes[0]: there is no volume `data`\n  hint: write it at the top level: volumes: {data: }"]),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock']", ["volumes[0]: is not possible: there is no docker in a machine\n  hint: leave out what starts or watches other containers"]),
        ("volumes: ['/etc:/x']", ["volumes[0]: `/etc` is a path of the host, and machines do not share its folders\n  hint: put the files beside the compose file, and write ./NAME; for data use a named volume: NAME:/PATH, and NAME at the top level under volumes"]),
        ("volumes: ['./none:/x']", ["volumes[0]: `./none` does not exist\n  hint: name it relative to the compose file; for data use a named volume: NAME:/PATH, and NAME at the top level under volumes"]),
        ("volumes: ['./big:/x']", ["volumes[0]: `./big` is larger than 1 MiB, and is not copied\n  hint: copy it into the image with COPY in its Dockerfile; for data use a named volume: NAME:/PATH, and NAME at the top level under volumes"]),
        ("volumes: ['./d:/x']", ["volumes[0]: `./d` holds more than 1 MiB, and is not copied\n  hint: copy it into the image with COPY in its Dockerfile; for data use a named volume: NAME:/PATH, and NAME at the top level under volumes"]),
        ("volumes: ['C:\\a:/x']", ["volumes[0]: `C:\\a:/x` is a path of Windows\n  hint: write it relative to the file: ./FOLDER:/PATH"]),
        ("volumes: [/a, ./s:/a, ./s:/a]", ["volumes[2]: `/a` is mounted already, at compose.yml:1:46\n  hint: leave one of them out"]),
        ("volumes: [./few:/app, /app/node_modules, /other]", ["volumes[1]: what the image has at `/app/node_modules` is hidden by what is copied to `/app`\n  hint: leave out both: the image has its files at /app"]),
        ("volumes: [./s:/]", ["volumes[0]: `/` cannot be mounted over\n  hint: such as /data"]),
        ("env_file: no.env", ["env_file: the file `no.env` does not exist\n  hint: name it relative to the compose file, or write required: false"]),
        ("env_file: bad.env", ["`=a` is no variable\n  hint: write NAME=VALUE"]),
        ("hostname: '${V:?which}'", ["hostname: the variable `V` is required: which\n  hint: set it: V=VALUE i2kit …, or write it into the file .env"]),
        ("command: \"a 'b\"", ["command: `a 'b` cannot be parted into words: no closing quotation\n  hint: write a list: [sh, -c, …]"]),
        ("entrypoint: []", ["entrypoint: is empty, so there is nothing to run\n  hint: write the whole command into `command`"]),
        ("healthcheck: {interval: 5}", ["healthcheck: has no `test`, and the image's is not known\n  hint: such as test: [\"CMD\", \"healthy\"]", "healthcheck.interval: must be a duration and is the number 5\n  hint: write 5s"]),
        ("healthcheck: {test: [curl, a]}", ["healthcheck.test: begins with neither CMD nor CMD-SHELL\n  hint: write [\"CMD\", PROGRAM, …] or [\"CMD-SHELL\", LINE]"]),
        ("mem_limit: 1m", ["mem_limit: 1,048,576 bytes are below what a container needs to start (6m)\n  hint: such as 128m"]),
        ("mem_limit: lots", ["mem_limit: must be a size and is the text `lots`\n  hint: such as 512m or 1gb"]),
        ("labels: {kompose.service.typo: a}", ["labels.\"kompose.service.typo\": the label `kompose.service.typo` is not known\n  hint: did you mean `kompose.service.type`?"]),
        ("labels: {kompose.service.type: external}", ["labels.\"kompose.service.type\": `external` is not supported\n  hint: use clusterip or nodeport or loadbalancer or headless"]),
        ("labels: {kompose.controller.type: daemonset}", ["labels.\"kompose.controller.type\": `daemonset` is not supported\n  hint: use deployment"]),
        ("labels: {kompose.service.group: a}", ["labels.\"kompose.service.group\": `kompose.service.group` is not supported yet\n  hint: write a manifest with both containers"]),
        ("labels: {kompose.hpa.cpu: 500}, deploy: {resources: {reservations: {cpus: '1'}}}", ["labels.\"kompose.hpa.cpu\": `500` is not a number from 1 to 100"]),
        ("labels: {kompose.cronjob.backoff_limit: 1}", ["labels.\"kompose.cronjob.backoff_limit\": is without `kompose.cronjob.schedule`\n  hint: such as \"0 3 * * *\""]),
        ("labels: {kompose.init.containers.name: a}", ["labels.\"kompose.init.containers.name\": has no image\n  hint: write kompose.init.containers.image"]),
        ("labels: {kompose.init.containers.image: a, kompose.init.containers.command: '[1]'}", ["labels.\"kompose.init.containers.command\": `[1]` is not a command\n  hint: such as [\"sh\", \"-c\", \"…\"]"]),
        ("labels: {kompose.service.expose: shop.example}", ["labels.\"kompose.service.expose\": has no port that it could lead to\n  hint: publish one with ports"]),
        ("labels: {kompose.service.healthcheck.liveness.http_get_port: 80}", ["labels.\"kompose.service.healthcheck.liveness.http_get_port\": is one half of a probe\n  hint: give it a path and a port"]),
        ("labels: {kompose.service.nodeport.port: 8080}, ports: ['80']", ["labels.\"kompose.service.nodeport.port\": is for services of type nodeport with one port\n  hint: name it in ports"]),
        ("extra_hosts: ['host.docker.internal:host-gateway']", ["extra_hosts[0]: `host-gateway` is not possible: there is no host that containers share\n  hint: deploy what runs there too, and use its name"]),
        ("deploy: {mode: global}", ["deploy.mode: `global` is not possible: there are no nodes\n  hint: use replicas"]),
        ("networks: [x]", ["networks[0]: there is no network `x`\n  hint: write it at the top level: networks: {x: }"]),
        ("secrets: [x]", ["secrets[0]: `x` is not in the top-level `secrets`\n  hint: write it at the top level, under secrets"]),
        ("build: ./none", ["build.context: `./none` does not exist\n  hint: name it relative to the compose file"]),
        ("build: {context: ., dockerfile: D}", ["build.dockerfile: there is no D in `.`\n  hint: name it relative to the context"]),
        ("build: {context: ., dockerfile: s, dockerfile_inline: FROM a}", ["build.dockerfile: is beside dockerfile_inline\n  hint: leave one of them out"]),
        ("build: {context: ., dockerfile: s, secrets: [x]}", ["build.secrets[0]: there is no file and no variable of your environment for the secret `x`\n  hint: write it at the top level: secrets: {NAME: {file: PATH}}"]),
        ("build: {context: ., dockerfile: s, additional_contexts: {x: 'service:b'}}", ["build.additional_contexts.x: `service:b` is no folder beside the file, and no image\n  hint: such as ./lib or docker-image://alpine"]),
        ("build: 'https://github.com/a/b.git'", ["build.context: `https://github.com/a/b.git` is not a folder beside the file\n  hint: get the sources first, and name their folder"]),
        ("extends: web", ["extends: extends itself"]),
        ("extends: {service: b, file: other.yml}", ["extends: the file `other.yml` does not exist"]),
        ("extends: {service: b, file: s.yml}", ["extends: there is no service `b` in s.yml"]),
        ("extends: {service: c, file: s.yml}", ["services.c.extends: extends itself"]),
        ("extends: {service: c, file: s}", ["extends: `s` is no compose file"]),
        ("sysctls: {vm.max_map_count: 262144}", ["sysctls.\"vm.max_map_count\": `vm.max_map_count` is not a pod's to set: to Kubernetes it is the whole node's\n  hint: a container with privileged: true can set it, since its machine is its own"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_service(text: str, messages: list[str]) -> None:
    files = {
        "big": "x" * (2**20 + 1),
        "d/a": "x" * 2**19,
        "d/b": "x" * (2**19 + 1),
        "s": "",
        "few/a": "",
        "s.yml": "services: {c: {extends: {file: s.yml, service: c}}}",
        "bad.env": "A=1\n=a",
    }
    found = wrong(text, files)
    if "depends on itself" in messages[0]:
        found = [one.removeprefix("services.web: ") for one in found]
    assert found == messages


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("services: {web: {image: a, profiles: [p]}}", ["compose.yml:1:1: no service of it is asked for\n  hint: COMPOSE_PROFILES=NAME asks for those of a profile"]),
        ("web: {image: a}", ["compose.yml:1:1: looks like a compose file, but has no mapping `services`\n  hint: write them below services:"]),
        ("services: [web]", ["compose.yml:1:1: looks like a compose file, but has no mapping `services`\n  hint: write them below services:"]),
        ("services: {web: }", ["compose.yml:1:17: services.web: must be a mapping and is empty\n  hint: give it an image"]),
        ("services: {web: {ports: [80]}}", ["compose.yml:1:12: services.web: has neither `image` nor `build`\n  hint: such as image: nginx:1.27, or build: ."]),
        ("services: {'my web': {image: a}}", ["compose.yml:1:12: services.\"my web\": `my web` is not a DNS label: ` ` is not allowed\n  hint: use `my-web`"]),
        ("services: {my_web: {image: a}, My-Web: {image: b}}",
         [f"compose.yml:1:32: the {what} `default/my-web` is given twice; the first is at compose.yml:1:12\n  hint: remove one of them, or give one file only" for what in ("deployment", "service")]),
        ("include: [a.yml]\nservices: {web: {image: a}}", ["compose.yml:1:11: include[0]: the file `a.yml` does not exist"]),
        ("include: {path: a.yml}\nservices: {web: {image: a}}", ["compose.yml:1:10: include: must be a list and is a mapping"]),
        ("services: {a: {image: a, ports: ['8080:80']}, b: {image: b, ports: ['8080:80']}}",
         ["compose.yml:1:69: services.b.ports[0]: port 8080 is published by `a` already, at compose.yml:1:34\n  hint: use another port"]),
        ("services: {a: {image: a, volumes: ['d:/d']}, b: {image: b, volumes: ['d:/d']}}\nvolumes: {d: }",
         ["compose.yml:1:36: services.a.volumes[0]: a disk is in one machine only, and `d` is used by a, b\n  hint: have one service keep the files, and the others ask it",
          "compose.yml:1:70: services.b.volumes[0]: a disk is in one machine only, and `d` is used by a, b\n  hint: have one service keep the files, and the others ask it"]),
        ("services: {a: {image: a, volumes: ['d:/d'], scale: 2}}\nvolumes: {d: {driver_opts: {type: nfs}}}",
         ["compose.yml:1:35: services.a.volumes: a disk is in one machine only, and there are 2 of this service\n  hint: leave the volume out, or use one replica",
          "compose.yml:2:15: volumes.d.driver_opts: is not possible: a volume is a disk of the provider\n  hint: leave it out"]),
        ("services: {a: {image: a, secrets: [s, t]}}\nsecrets: {s: {external: true}, t: {environment: T}}",
         ["compose.yml:1:36: services.a.secrets[0]: Secret `s` is in none of these files; needed of it: `value`\n  hint: give it with --secret s=FILE",
          "compose.yml:2:49: secrets.t.environment: the variable `T` is not set\n  hint: set it before the deploy"]),
        ("services: {a: {image: a, depends_on: [b]}, b: {image: b, depends_on: {c: {condition: service_started}}}, c: {image: c, links: [a]}}",
         ["compose.yml:1:106: services.c: depends on itself: a → b → c → a"]),
        ("services: {a: {image: a, depends_on: [b]}, b: {image: b, profiles: [p]}}",
         ["compose.yml:1:39: services.a.depends_on[0]: `b` is left out by its profiles\n  hint: ask for its profile with COMPOSE_PROFILES, or write required: false"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(text: str, messages: list[str]) -> None:
    assert problems(text) == messages


def test_what_is_not_set_is_warned_about_and_empty() -> None:
    found = compose("services: {web: {image: 'a${X}', command: '$X$Y', environment: [Z]}}")
    assert found.workloads[0].containers[0].image == "a"
    assert found.warnings == (
        "compose.yml:1:25: services.web.image: the variable `X` is not set, and empty is used (and in 1 more places)",
        "compose.yml:1:43: services.web.command: the variable `Y` is not set, and empty is used",
        "compose.yml:1:65: services.web.environment[0]: has no value, and your environment has none for it: it is left out",
    )


def test_folders_as_docker_finds_them(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text("services: {web: {image: a, env_file: web.env}}")
    (tmp_path / "compose.override.yml").write_text("services: {web: {image: 'b:${TAG}'}}")
    (tmp_path / "docker-compose.test.yml").write_text("services: {web: {}, test: {image: c}}")
    (tmp_path / ".env").write_text("TAG=1\n")
    (tmp_path / "web.env").write_text("A=1\n")
    (found,) = read([str(tmp_path)]).workloads
    assert found.containers[0].image == "b:1"
    assert found.containers[0].env == (("A", "1"),)
    alone = read([str(tmp_path / "compose.yml")]).workloads[0]
    assert alone.containers[0].image == "a"
    verdicts = [(Path(one.file).name, one.kind, one.name, one.verdict) for one in check([str(tmp_path)])]
    assert verdicts == [
        ("compose.yml", "compose", "web", "deploys"),
        ("docker-compose.test.yml", "compose", "web", "refused"),
        ("docker-compose.test.yml", "compose", "test", "deploys"),
    ]


def test_verdicts_are_by_service(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        "services: {good: {image: a}, bad: {image: b, pid: host}, warned: {image: c, ulimits: {nofile: 1}}}"
    )
    assert {one.name: one.verdict for one in check([str(tmp_path)])} == {
        "good": "deploys",
        "bad": "refused",
        "warned": "warns",
    }


def test_files_that_are_named_are_judged_as_the_project_that_they_are(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(
        "services: {web: {image: a, ports: ['8080:80'], labels: {kompose.service.expose: 'true'}}}"
    )
    (tmp_path / "prod.yml").write_text("services: {web: {pid: host}, db: {image: c}}")
    (tmp_path / "other.yml").write_text("name: app\ncontainers: {a: {image: a}}\n")
    names = [str(tmp_path / f"{name}.yml") for name in ("base", "other", "prod")]
    assert {one.name: one.verdict for one in check(names)} == {
        "app": "deploys",
        "web": "refused",
        "db": "deploys",
    }
    assert {one.name: one.verdict for one in check(names[:2])} == {"app": "deploys", "web": "deploys"}


def test_a_large_service_that_many_extend_is_refused_in_time() -> None:
    entries = ", ".join(f"A{number}: 1" for number in range(10_000))
    many = "\n".join(f"  s{number}: {{extends: base}}" for number in range(900))
    text = f"services:\n  base: {{image: a, environment: {{{entries}}}}}\n{many}\n"
    assert any("more than 200,000 keys and values" in one for one in problems(text))
