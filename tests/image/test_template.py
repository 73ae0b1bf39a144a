"""The LinuxKit template of a pod: golden files, and Kubernetes' rules for command, args and env."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from i2kit.errors import InputError, Position
from i2kit.expansion import expand
from i2kit.image.linuxkit import parse
from i2kit.image.template import (
    CAPABILITIES,
    Base,
    ContainerImage,
    arguments,
    capabilities,
    environment,
    limits,
    render,
    working_dir,
)
from i2kit.model import CAPABILITIES as EVERY_CAPABILITY
from i2kit.model import (
    Container,
    Identity,
    ImageConfig,
    Pairs,
    ResolvedImage,
    Resources,
    Security,
    Workload,
)
from tests import golden

MIB = 1 << 20
BASE = Base(
    kernel="i2kit/kernel@sha256:" + "1" * 64,
    init=("i2kit/init@sha256:" + "2" * 64, "i2kit/supervisor@sha256:" + "3" * 64),
    cmdline="console=ttyS0 quiet",
    memory_floor_bytes=96 * MIB,
    boot="i2kit/boot@sha256:" + "4" * 64,
    ext4="i2kit/ext4@sha256:" + "5" * 64,
)


APP = ImageConfig(cmd=("/bin/app",))
ROOT = Identity()


def image(name: str, config: ImageConfig = APP, identity: Identity = ROOT) -> ContainerImage:
    digest = f"sha256:{'a' * 64}"
    pinned = f"docker.io/library/{name.partition(':')[0]}@{digest}"
    return ContainerImage(ResolvedImage(name, pinned, digest, config, (), 0), identity)


NGINX = ImageConfig(
    entrypoint=("/docker-entrypoint.sh",),
    cmd=("nginx", "-g", "daemon off;"),
    env=(
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("NGINX_VERSION", "1.27.0"),
    ),
    working_dir="",
)


def test_the_papers_nginx() -> None:
    workload = Workload("nginx-deployment", (Container("nginx", "nginx:1.27"),), replicas=3)
    golden.check("template/nginx.yml", render(workload, {"nginx": image("nginx:1.27", NGINX)}, BASE))


def test_two_containers_with_everything_set() -> None:
    web = Container(
        "web",
        "nginx:1.27",
        args=("nginx-debug", "-g", "daemon off; error_log $(LOG_LEVEL);"),
        env=(("LOG_LEVEL", "info"), ("GREETING", 'say "$(LOG_LEVEL)": yes'), ("NGINX_VERSION", "1e3")),
        working_dir="/srv",
        resources=Resources(250, 1500, 64 * MIB, 128 * MIB),
    )
    app = Container(
        "app",
        "app",
        command=("/bin/sh", "-c"),
        args=("while true; do\n  date\ndone",),
        resources=Resources(cpu_request_millis=100, memory_request_bytes=32 * MIB),
    )
    images = {
        "web": image("nginx:1.27", NGINX, Identity(101, 101, (4, 27))),
        "app": image("app", ImageConfig(working_dir="/app", entrypoint=("/app/run",))),
    }
    golden.check("template/everything.yml", render(Workload("pod", (web, app)), images, BASE))


def test_what_containers_may_do() -> None:
    """Each of these differs from the other templates by what is asked for, and by nothing else."""
    whole = Container("whole", "app", security=Security(privileged=True, drop=("ALL",)))
    bound = Container(
        "bound",
        "app",
        security=Security(
            readonly_root=True,
            no_new_privileges=True,
            add=("CAP_NET_BIND_SERVICE",),
            drop=("ALL",),
            unconfined=True,
            unmasked=True,
        ),
    )
    images = {
        "whole": image("app"),
        "bound": image("app", APP, Identity(1000, 3000, (2000, 3000))),
    }
    golden.check("template/security.yml", render(Workload("pod", (whole, bound)), images, BASE))


def without(*names: str, of: tuple[str, ...] = CAPABILITIES) -> tuple[str, ...]:
    """The default ones first, as templates list them."""
    return tuple(name for name in dict.fromkeys((*CAPABILITIES, *of)) if name not in names)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), CAPABILITIES),
        (("CAP_CHOWN",), ("CAP_SYS_TIME",), CAPABILITIES),
        (("CAP_SYS_TIME", "CAP_NET_ADMIN"), (), (*CAPABILITIES, "CAP_NET_ADMIN", "CAP_SYS_TIME")),
        ((), ("CAP_NET_RAW", "CAP_MKNOD"), without("CAP_NET_RAW", "CAP_MKNOD")),
        ((), ("ALL",), ()),
        (("CAP_KILL", "CAP_BPF"), ("ALL",), ("CAP_KILL", "CAP_BPF")),
        (("ALL",), (), ("all",)),
        (("ALL",), ("CAP_BPF",), without("CAP_BPF", of=EVERY_CAPABILITY)),
        (("ALL", "CAP_KILL"), ("ALL",), ("CAP_KILL",)),
        (("CAP_KILL",), ("ALL", "CAP_KILL"), ()),
    ],
)  # fmt: skip
def test_capabilities_in_the_order_of_containerd(
    add: tuple[str, ...], drop: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert capabilities(Security(add=add, drop=drop)) == expected


def test_the_workloads_name_labels_and_replicas_do_not_change_the_image() -> None:
    containers = (Container("web", "app"),)
    one = Workload("one", containers, replicas=1, labels=(("app", "one"),))
    two = Workload("two", containers, replicas=5, namespace="other")
    assert render(one, {"web": image("app")}, BASE) == render(two, {"web": image("app")}, BASE)


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    # The table of Kubernetes' documentation, "Define a Command and Arguments for a Container".
    [
        (None, None, ["/ep-1", "foo", "bar"]),
        (("/ep-2",), None, ["/ep-2"]),
        (None, ("zoo", "boo"), ["/ep-1", "zoo", "boo"]),
        (("/ep-2",), ("zoo", "boo"), ["/ep-2", "zoo", "boo"]),
        ((), (), ["/ep-1", "foo", "bar"]),
    ],
)
def test_command_and_args(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, expected: list[str]
) -> None:
    config = ImageConfig(entrypoint=("/ep-1",), cmd=("foo", "bar"))
    assert arguments(Container("c", "i", command=command, args=args), config) == expected


def test_only_the_containers_own_words_are_expanded() -> None:
    config = ImageConfig(entrypoint=("sh", "-c", "echo $(A)"), cmd=("$(A)",), env=(("A", "image"),))
    own: Pairs = (("A", "own"),)
    assert arguments(Container("c", "i", env=own), config) == ["sh", "-c", "echo $(A)", "$(A)"]
    with_args = Container("c", "i", args=("$(A)", "$(B)"), env=own)
    assert arguments(with_args, config) == ["sh", "-c", "echo $(A)", "own", "$(B)"]
    # As in Kubernetes, the image's variables are unknown to $(…).
    assert arguments(Container("c", "i", args=("$(A)",)), config)[3:] == ["$(A)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    # From the test table of Kubernetes' third_party/forked/golang/expansion/expand_test.go.
    [
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)-1", "A-1"),
        ("$(VAR_A)_$(VAR_B)_$(VAR_C)", "A_B_C"),
        ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
        ("$$$(VAR_B)_$(VAR_A)", "$B_A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("f000-$$VAR_A", "f000-$VAR_A"),
        ("foo\\$(VAR_C)bar", "foo\\Cbar"),
        ("foo\\\\$(VAR_C)bar", "foo\\\\Cbar"),
        ("$(VAR_REF)", "$(VAR_A)"),
        ("$(VAR_UNKNOWN)", "$(VAR_UNKNOWN)"),
        ("$?_boo_$!", "$?_boo_$!"),
        ("$(VAR_A", "$(VAR_A"),
        ("$(VAR_C_$(VAR_A", "$(VAR_C_$(VAR_A"),
        ("$", "$"),
        ("$$", "$"),
        ("$VAR_A", "$VAR_A"),
        ("$()", "$()"),
        ("", ""),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    known = {"VAR_A": "A", "VAR_B": "B", "VAR_C": "C", "VAR_REF": "$(VAR_A)"}
    assert expand(text, known) == expected


def test_what_is_said_of_services_is_known_to_the_machine_alone() -> None:
    own: Pairs = (
        ("URL", "http://$(DB_SERVICE_HOST):$(DB_SERVICE_PORT_HTTP)/$(DB_SERVICE)"),
        ("WEB_SERVICE_HOST", "mine"),
        ("HOST", "$(WEB_SERVICE_HOST) $$(DB_SERVICE_PORT)"),
    )
    container = Container("c", "i", command=("run", "$(DB_SERVICE_PORT)"), env=own)
    found = dict(environment(container, image("i", ImageConfig())))
    told = "http://$(i2kit:env/DB_SERVICE_HOST):$(i2kit:env/DB_SERVICE_PORT_HTTP)/$(DB_SERVICE)"
    assert (found["URL"], found["HOST"]) == (told, "mine $(DB_SERVICE_PORT)")
    assert arguments(container, ImageConfig()) == ["run", "$(i2kit:env/DB_SERVICE_PORT)"]


def test_environment_merges() -> None:
    config = ImageConfig(env=(("PATH", "/image/bin"), ("LANG", "C"), ("MODE", "image")))
    own: Pairs = (("MODE", "own"), ("NEXT", "$(MODE)-$(LANG)-$(LATER)"), ("LATER", "x"))
    assert environment(Container("c", "i", env=own), image("i", config)) == (
        ("PATH", "/image/bin"),
        ("HOME", "/"),
        ("LANG", "C"),
        ("MODE", "own"),
        ("NEXT", "own-$(LANG)-$(LATER)"),
        ("LATER", "x"),
    )


def test_a_path_where_the_image_has_none() -> None:
    assert dict(environment(Container("c", "i"), image("i", APP)))["PATH"].endswith("/usr/bin:/sbin:/bin")


def test_home_is_the_users_unless_image_or_container_say_another() -> None:
    user = Identity(101, 101, home="/home/web")
    other = ImageConfig(env=(("HOME", "/image"),))
    own = Container("c", "i", env=(("HOME", "/own"),))
    assert dict(environment(Container("c", "i"), image("i", APP, user)))["HOME"] == "/home/web"
    assert dict(environment(Container("c", "i"), image("i", other, user)))["HOME"] == "/image"
    assert dict(environment(own, image("i", other, user)))["HOME"] == "/own"


@pytest.mark.parametrize(
    ("own", "of_image", "expected"),
    [(None, "/app", "/app"), ("/own", "/app", "/own"), (None, "", "/"), (None, "relative", "/relative")],
)
def test_working_dir(own: str | None, of_image: str, expected: str) -> None:
    container = Container("c", "i", working_dir=own)
    assert working_dir(container, ImageConfig(working_dir=of_image)) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), {}),
        (Resources(memory_request_bytes=MIB), {}),
        (Resources(memory_limit_bytes=64 * MIB), {"memory": {"limit": 64 * MIB}}),
        (Resources(cpu_request_millis=250), {"cpu": {"shares": 256}}),
        (Resources(cpu_request_millis=1), {"cpu": {"shares": 2}}),
        (Resources(cpu_limit_millis=500), {"cpu": {"shares": 512, "quota": 50_000, "period": 100_000}}),
        (
            Resources(cpu_request_millis=100, cpu_limit_millis=5),
            {"cpu": {"shares": 102, "quota": 1_000, "period": 100_000}},
        ),
    ],
)
def test_limits(resources: Resources, expected: object) -> None:
    assert limits(resources) == expected


def test_nothing_to_run_is_told_for_every_container() -> None:
    empty = image("scratch", ImageConfig())
    containers = tuple(
        Container(name, "scratch", position=Position("pod.yml", line, 12))
        for line, name in enumerate("ab", start=4)
    )
    with pytest.raises(InputError) as raised:
        render(Workload("pod", containers), dict.fromkeys("ab", empty), BASE)
    assert [str(problem).splitlines()[0] for problem in raised.value.problems] == [
        "pod.yml:4:12: container `a` has nothing to run: neither it nor its image says a command",
        "pod.yml:5:12: container `b` has nothing to run: neither it nor its image says a command",
    ]


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True),
        # No `$`, which expands; no NUL, which the manifest's reader refuses.
        st.text().filter(lambda text: not {"$", "\0"} & set(text)),
    )
)
def test_any_text_comes_back_from_the_yaml(variables: dict[str, str]) -> None:
    variables = {name: value.encode("utf-8", "ignore").decode() for name, value in variables.items()}
    container = Container("c", "app", command=("run", *variables.values()), env=tuple(variables.items()))
    text = render(Workload("pod", (container,)), {"c": image("app")}, BASE)
    (service,) = yaml.safe_load(text)["services"]
    (entry,) = parse("pod.yml", text).services
    assert service["command"] == list(entry.settings.command or ()) == ["run", *variables.values()]
    assert service["env"] == list(entry.settings.env or ())
    assert dict(pair.split("=", 1) for pair in service["env"]).items() >= variables.items()


def test_what_is_rendered_is_what_is_read() -> None:
    """Every key that the template has arrives in the assembly's values."""
    container = Container("c", "app", resources=Resources(250, 500, None, 64 * MIB))
    images = {"c": image("app", APP, Identity(5, 6, (7,)))}
    text = render(Workload("pod", (container,)), images, BASE)
    (entry,) = parse("pod.yml", text).services
    said = entry.settings
    (written,) = yaml.safe_load(text)["services"]
    assert (said.uid, said.gid, said.additional_gids) == (5, 6, (7,))
    assert said.resources == written["resources"]
    assert [mount.destination for mount in said.mounts or ()] == ["/sys", "/dev/mqueue"]
    assert len(said.capabilities or ()) == 14
    assert dict(said.annotations or ()) == {"io.i2kit.seccomp": "runtime-default"}
    assert (list(said.masked_paths or ()), list(said.readonly_paths or ())) == (
        written["maskedPaths"],
        written["readonlyPaths"],
    )


@pytest.mark.parametrize(
    "word", ["yes", "No", "on", "null", "~", "1e3", "0o17", "0x1f", "12:30:45", "1_0", ".5", "-"]
)
def test_words_that_some_yaml_takes_for_more_than_text_are_quoted(word: str) -> None:
    container = Container("c", "app", command=("run", word))
    text = render(Workload("pod", (container,)), {"c": image("app")}, BASE)
    assert f'command: [run, "{word}"]\n' in text
