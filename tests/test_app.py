"""The use cases against a provider in memory: what is joined, in which order, and when nothing is touched."""

import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2kit import app, image, settings
from i2kit.errors import InputError, NotReadyError, OperationError
from i2kit.events import Event, Warned, Watcher, ignore
from i2kit.image import upkeep
from i2kit.model import (
    Container,
    Deployment,
    Ingress,
    Instance,
    MachineImage,
    Manifest,
    NetworkPolicy,
    Output,
    OutputFile,
    PlacedImage,
    Port,
    Release,
    SecretKey,
    SecretValue,
    Selector,
    Service,
    ServicePort,
    Workload,
)
from i2kit.providers import Plan
from i2kit.settings import Settings
from tests import in_memory
from tests.in_memory import InMemoryProvider

Deploy = Callable[..., tuple[app.Outcome, ...]]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InMemoryProvider:
    monkeypatch.setenv("I2KIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("I2KIT_STORE_DIR", str(tmp_path / "store"))
    return in_memory.install(monkeypatch, tmp_path)


@pytest.fixture
def deploy(provider: InMemoryProvider, tmp_path: Path) -> Deploy:
    """Write the text to a file and deploy it."""

    def deploy(text: str, watch: Watcher = ignore, dry_run: bool = False) -> tuple[app.Outcome, ...]:
        file = tmp_path / "manifest.yml"
        file.write_text(text)
        return app.deploy(
            [str(file)], settings=settings.load(), provider_name="local", watch=watch, dry_run=dry_run
        )

    return deploy


def destroy(*names: str) -> tuple[app.Outcome, ...]:
    return app.destroy(names, settings=settings.load(), provider_name="local", watch=ignore)


WEB = "name: web\ncontainers: { web: { image: nginx, ports: [80] } }\n"
WORKER = "name: worker\ncontainers: { worker: { image: worker } }\n"
BROKEN = "name: broken\ncontainers: { broken: { image: worker, command: ['false'] } }\n"
ABSENT = "name: lost\ncontainers: { lost: { image: absent } }\n"


def test_a_second_deploy_changes_nothing(provider: InMemoryProvider, deploy: Deploy) -> None:
    (first,) = deploy(WEB)
    (second,) = deploy(WEB)
    assert first.plan.actions
    assert second.plan.actions == ()
    assert second.deployment == first.deployment
    assert len(provider.applied) == 1


def booting(one: Instance) -> tuple[Instance, ...]:
    return (replace(one, ready=False, state="starting"),)


def booting_beside_the_old_one(one: Instance) -> tuple[Instance, ...]:
    return (replace(one, image="the one before"), replace(one, id="new", ready=False, state="starting"))


def not_yet_replaced(one: Instance) -> tuple[Instance, ...]:
    return (replace(one, image="the one before"),)


@pytest.mark.parametrize("begun", [booting, booting_beside_the_old_one, not_yet_replaced])
def test_what_an_interrupted_deploy_began_is_waited_for(
    provider: InMemoryProvider, deploy: Deploy, begun: Callable[[Instance], tuple[Instance, ...]]
) -> None:
    (first,) = deploy(WEB)
    assert first.deployment
    there = begun(first.deployment.instances[0])
    ready = sum(one.ready for one in there)
    provider.deployments["default/web"] = replace(first.deployment, instances=there, replicas_ready=ready)
    (again,) = deploy(WEB)
    assert again.plan.actions == ()
    assert again.deployment
    assert again.deployment.instances == first.deployment.instances


def test_a_changed_manifest_is_a_new_revision(deploy: Deploy) -> None:
    deploy(WEB)
    (outcome,) = deploy(WEB + "replicas: 2\n")
    assert outcome.deployment is not None
    assert (outcome.deployment.revision, outcome.deployment.replicas_ready) == (2, 2)


def test_images_are_kept_from_their_build_until_the_provider_has_noted_them(
    provider: InMemoryProvider, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[str, ...]] = []
    apply = provider.apply

    def looking(plan: Plan, watch: Watcher) -> Deployment | None:
        kept.append(tuple(use.key for use in upkeep.leases(settings.load())))
        # Nobody waits meanwhile: a rollout can take minutes.
        app.prune((), settings=settings.load(), watch=ignore)
        return apply(plan, watch)

    monkeypatch.setattr(provider, "apply", looking)
    deploy(WEB + "---\n" + WORKER)
    assert kept == [("default/web", "default/worker")] * 2
    assert upkeep.leases(settings.load()) == ()


def test_a_dry_run_plans_and_applies_nothing(provider: InMemoryProvider, deploy: Deploy) -> None:
    (outcome,) = deploy(WEB, dry_run=True)
    assert [action.verb for action in outcome.plan.actions] == ["create"]
    assert outcome.deployment is None
    assert provider.applied == []


def test_one_wrong_image_of_several_workloads_touches_nothing(
    provider: InMemoryProvider, deploy: Deploy
) -> None:
    with pytest.raises(InputError) as raised:
        deploy(f"{WEB}---\n{ABSENT}---\n{ABSENT.replace('lost', 'gone')}")
    assert len(raised.value.problems) == 2  # of all workloads at once
    assert provider.applied == []


def test_what_is_wrong_for_every_workload_is_said_once(deploy: Deploy) -> None:
    absent = "{image: absent}"
    with pytest.raises(InputError) as raised:
        deploy(f"name: a\ncontainers: {{a: {absent}}}\n---\nname: b\ncontainers: {{a: {absent}}}\n")
    assert len(raised.value.problems) == 2, "two places are two problems"
    problem = raised.value.problems[0]

    def fail(workload: Workload, *, settings: Settings, watch: Watcher) -> None:
        raise InputError([problem])

    pods = Manifest((workload(80), workload(81)))
    with pytest.raises(InputError) as raised:
        app.of_each(pods, fail, settings=settings.load(), watch=ignore)
    assert raised.value.problems == (problem,)


def test_images_are_pulled_with_the_logins_that_their_pod_names() -> None:
    seen = {}

    def step(one: Workload, *, settings: Settings, watch: Watcher) -> None:
        seen[one.key] = settings.logins

    pod = workload(80)
    pods = (
        replace(pod, logins=("second", "first", "lost")),
        replace(pod, name="other", namespace="elsewhere", logins=("first",)),
        replace(pod, name="bare"),
    )
    secrets = tuple(
        SecretValue("default", name, key, name.encode())
        for name, key in (("first", ".dockerconfigjson"), ("second", ".dockercfg"), ("third", ".dockercfg"))
    )
    app.of_each(Manifest(pods, secrets=secrets), step, settings=settings.load(), watch=ignore)
    assert seen == {
        pods[0].key: (("second", b"second"), ("first", b"first")),
        pods[1].key: (),
        pods[2].key: (),
    }


def test_a_release_has_the_secrets_that_it_needs_and_no_others() -> None:
    pod = replace(workload(80), secrets=(SecretKey("db", "password"),))
    values = tuple(
        SecretValue(namespace, secret, key, b"x")
        for namespace, secret, key in (
            ("default", "db", "password"),
            ("default", "db", "user"),
            ("other", "db", "password"),
            ("default", "cert", "tls.key"),
            ("default", "cert", "ca.crt"),
        )
    )
    assert app.secrets_of(pod, (), values) == values[:1]
    ingress = Ingress("web", (), tls=((("a.example",), "cert"),))
    assert app.secrets_of(pod, (ingress,), values) == (values[0], values[3])
    assert b"x" not in repr(values).encode()


def test_a_policy_that_also_holds_for_what_runs_from_other_files_is_told(
    provider: InMemoryProvider, deploy: Deploy
) -> None:
    deploy(WEB)
    policy = NetworkPolicy("deny", Selector())
    assert app.for_others_too(Manifest((), policies=(policy,)), provider) == [
        "network policy default/deny also holds for what runs already: default/web"
    ]
    assert app.for_others_too(Manifest((), policies=(replace(policy, namespace="other"),)), provider) == []
    ours = provider.releases["default/web"][0].workload
    assert app.for_others_too(Manifest((ours,), policies=(policy,)), provider) == []


def test_a_failure_says_what_was_done_and_what_was_not(provider: InMemoryProvider, deploy: Deploy) -> None:
    events: list[Event] = []
    with pytest.raises(NotReadyError, match="default/last"):
        deploy(f"{WEB}---\n{BROKEN}---\n{BROKEN.replace('broken', 'last')}", events.append)
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert "done before the failure: default/web" in warnings
    assert "not done because of the failure: default/broken" in warnings


def test_what_needs_a_later_workload_is_tried_again(provider: InMemoryProvider, deploy: Deploy) -> None:
    needy = WORKER.replace("image: worker", "image: worker, command: [needs, default/web]")
    events: list[Event] = []
    outcomes = deploy(f"{needy}---\n{WEB}", events.append)
    assert [outcome.deployment is not None for outcome in outcomes] == [True, True]
    assert sorted(provider.deployments) == ["default/web", "default/worker"]
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert warnings == ["default/worker did not become ready\ndefault/worker is tried again after the others"]
    with pytest.raises(NotReadyError, match="default/broken"):
        deploy(f"{BROKEN}---\n{WEB.replace('nginx', 'other')}")


def test_each_workload_is_told_the_services_of_the_others(provider: InMemoryProvider, deploy: Deploy) -> None:
    front = (
        "{kind: Service, apiVersion: v1, metadata: {name: front},"
        " spec: {selector: {app: web}, ports: [{port: 80}]}}\n"
    )
    deploy(f"{WEB}---\n{WEB.replace('web', 'db')}---\n{WORKER}---\n{front}")
    told = {}
    for plan in provider.applied:
        assert isinstance(plan.wanted, Release)
        told[plan.wanted.workload.name] = (
            [service.name for service in plan.wanted.services],
            [service.name for service in plan.wanted.neighbours],
        )
    assert told == {
        "web": (["web", "front"], ["db"]),
        "db": (["db"], ["web", "front"]),
        "worker": ([], ["web", "front", "db"]),
    }


FRONT = (
    "{kind: Service, apiVersion: v1, metadata: {name: front},"
    " spec: {selector: {app: web}, ports: [{port: 80}]}}\n"
)


def test_a_service_of_another_file_comes_in_front_of_what_runs_and_goes_again(
    provider: InMemoryProvider, deploy: Deploy, tmp_path: Path
) -> None:
    deploy(WEB)
    (outcome,) = deploy(FRONT)
    assert outcome.deployment
    assert {endpoint.service for endpoint in outcome.deployment.endpoints} == {"web", "front"}
    app.destroy(
        (),
        [str(tmp_path / "manifest.yml")],
        settings=settings.load(),
        provider_name="local",
        watch=ignore,
    )
    (found,) = provider.list()
    assert {endpoint.service for endpoint in found.endpoints} == {"web"}


def test_a_service_that_leads_nowhere_here_nor_there_is_refused(
    provider: InMemoryProvider, deploy: Deploy
) -> None:
    deploy(WORKER)
    with pytest.raises(InputError, match="no deployment here has pods with app: web"):
        deploy(FRONT)
    assert len(provider.applied) == 1


def test_a_workload_is_built_for_the_machines_that_it_gets(
    provider: InMemoryProvider, deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = image.build

    def looking(workload: Workload, *, settings: Settings, watch: Watcher) -> MachineImage:
        built.append((workload.name, settings.architecture))
        return build(workload, settings=settings, watch=watch)

    monkeypatch.setattr(image, "build", looking)
    deploy(f"{WEB}instanceType: t4g.micro\n---\n{WORKER}")
    assert built == [("web", "arm64"), ("worker", "amd64")]


def test_the_hash_of_what_was_asked_for_forgets_where_it_was_written(
    provider: InMemoryProvider, deploy: Deploy
) -> None:
    deploy(WEB)
    deploy("# moved down\n" + WEB)
    deploy(WEB + "replicas: 2\n")
    found = [plan.wanted.manifest for plan in provider.applied if isinstance(plan.wanted, Release)]
    assert found[0] == found[1] != found[2]


def test_images_kept_elsewhere_are_pruned_by_what_uses_them(provider: InMemoryProvider) -> None:
    unused = PlacedImage("ami-1", "a" * 64, in_memory.STARTED_AT, 1, "amd64", ("default/web",))
    used = replace(unused, id="ami-2", image="b" * 64, used_by=("default/web",))

    def prune(*words: str, dry_run: bool = False) -> tuple[list[str], list[str], list[str]]:
        gone, unknown, kept = app.prune_placed(
            words, settings=settings.load(), provider_name="local", watch=ignore, dry_run=dry_run
        )
        return [one.id for one in gone], list(unknown), [one.id for one in kept]

    provider.placed = [unused, used]
    assert prune(dry_run=True) == (["ami-1"], [], ["ami-2"])
    assert provider.placed == [unused, used]
    assert prune("c" * 12, "ami-1") == (["ami-1"], ["c" * 12], [])
    with pytest.raises(OperationError, match="ami-2 is in use by default/web"):
        prune("b" * 12)
    assert prune() == ([], [], ["ami-2"])
    assert provider.placed == [used]


def test_destroy_removes_and_can_be_repeated(provider: InMemoryProvider, deploy: Deploy) -> None:
    deploy(WEB)
    (first,) = destroy("web")
    assert (bool(first.plan.actions), first.deployment) == (True, None)
    (second,) = destroy("default/web")
    assert second.plan.actions == ()
    assert provider.deployments == {}


def test_status_of_what_does_not_run_names_what_does(deploy: Deploy) -> None:
    deploy(WEB)
    with pytest.raises(OperationError) as raised:
        app.status("wbe", settings=settings.load(), provider_name="local")
    assert raised.value.message == "nothing named default/wbe runs on provider local"
    assert raised.value.hint == "these run: default/web"


@pytest.mark.parametrize("name", [None, "web"])
def test_status_is_followed_from_change_to_change(
    provider: InMemoryProvider, deploy: Deploy, name: str | None
) -> None:
    deploy(WEB)
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: destroy("web"),
        lambda: None,
        lambda: deploy(WEB.replace("name: web", "name: web\nreplicas: 2")),
    ]
    found = app.follow_status(
        name, settings=settings.load(), provider_name="local", sleep=lambda _: changes.pop(0)()
    )
    assert [[one.replicas_wanted for one in next(found)] for _ in range(3)] == [[1], [], [2]]
    assert changes == []


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a/b/c"])
def test_a_name_that_names_nothing_is_wrong_input(name: str) -> None:
    with pytest.raises(InputError):
        app.key_of(name)


def test_build_copies_whole_files(provider: InMemoryProvider, tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(WEB)
    target = tmp_path / "out"
    (built,) = app.build(
        [str(file)], format_="kernel+root", settings=settings.load(), watch=ignore, output=target
    )
    assert {file.name: file.path.read_text() for file in built.output.files} == {
        "kernel": "kernel",
        "initrd": "initrd",
        "root": "root",
    }
    assert sorted(path.name for path in target.iterdir()) == ["initrd", "kernel", "root"]


def an_output(folder: Path, content: str, *names: str) -> Output:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(content * 100_000)
    return Output("id", "kernel+root", tuple(OutputFile(name, folder / name, 0, "") for name in names))


def test_a_failed_copy_leaves_what_was_there(tmp_path: Path) -> None:
    """As on a full disk: neither a part of a file nor some of the files."""
    output, target = an_output(tmp_path / "new", "new", "kernel", "root"), tmp_path / "out"
    target.mkdir()
    (target / "kernel").write_text("old")
    (target / ".kernel.part").write_text("of one that was killed")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OperationError, match=f"cannot write to {target}: File too large") as failed:
            app.copied(output, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert failed.value.hint == "give another folder with -o, or make room there"
    assert {path.name: path.read_text() for path in target.iterdir()} == {"kernel": "old"}

    (target / "root").mkdir()
    with pytest.raises(OperationError, match="root is a folder"):
        app.copied(output, target)
    assert (target / "kernel").read_text() == "old"


def test_a_kernel_does_not_lie_beside_the_initramfs_of_another(tmp_path: Path) -> None:
    target = tmp_path / "out"
    app.copied(an_output(tmp_path / "one", "one", "kernel", "initrd", "root"), target)
    (target / "other").write_text("mine")
    app.copied(an_output(tmp_path / "two", "two", "kernel", "root"), target)
    assert {path.name for path in target.iterdir()} == {"kernel", "root", "other"}
    (target / "initrd").mkdir()
    app.copied(an_output(tmp_path / "three", "three", "kernel", "root"), target)
    assert (target / "initrd").is_dir(), "it is none of ours"


def test_copies_to_one_folder_at_once_do_not_mix(tmp_path: Path) -> None:
    outputs = [an_output(tmp_path / name, name, "kernel", "root") for name in ("a", "b", "c")]
    target = tmp_path / "out"
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda output: app.copied(output, target), outputs * 10))
    files = {path.name: path.read_text() for path in target.iterdir()}
    assert files.keys() == {"kernel", "root"}
    assert files["kernel"] == files["root"]
    assert len(files["root"]) == 100_000


def test_copies_of_sparse_files_are_sparse(tmp_path: Path) -> None:
    source, target = tmp_path / "disk", tmp_path / "copy"
    with source.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"data")
        file.truncate(64 << 20)
    app.copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks


def test_build_of_several_workloads_keeps_them_apart(provider: InMemoryProvider, tmp_path: Path) -> None:
    file = tmp_path / "both.yml"
    file.write_text(f"{WEB}---\n{WORKER}")
    built = app.build(
        [str(file)],
        format_="kernel+root",
        settings=settings.load(),
        watch=ignore,
        output=tmp_path / "out",
    )
    kernels = [each.output.files[0].path.relative_to(tmp_path / "out") for each in built]
    assert kernels == [Path("default/web/kernel"), Path("default/worker/kernel")]


# --- services_of ------------------------------------------------------------------------------


def workload(*ports: int, labels: tuple[tuple[str, str], ...] = (("app", "web"),)) -> Workload:
    container = Container("web", "nginx", ports=tuple(Port(number) for number in ports))
    return Workload("web", (container,), labels=labels)


def service(name: str, *, selector: tuple[tuple[str, str], ...] = (("app", "web"),)) -> Service:
    return Service(name, selector, (ServicePort(80, 8080),), public=True)


def test_a_deployment_with_ports_is_found_by_its_name() -> None:
    (implicit,) = app.services_of(workload(80, 81), ())
    assert (implicit.name, implicit.public) == ("web", False)
    assert [(port.number, port.target) for port in implicit.ports] == [(80, 80), (81, 81)]
    assert implicit.selects(workload(80, 81))


def test_a_deployment_without_ports_gets_no_service() -> None:
    assert app.services_of(workload(), ()) == ()


def test_a_written_service_of_the_same_name_replaces_the_implicit_one() -> None:
    written = service("web")
    assert app.services_of(workload(80), (written,)) == (written,)


def test_other_services_stand_beside_the_implicit_one() -> None:
    other = service("front")
    implicit, beside = app.services_of(workload(80), (other, service("stranger", selector=(("app", "x"),))))
    assert (implicit.name, beside) == ("web", other)


def test_a_service_of_the_same_name_elsewhere_is_another_one() -> None:
    elsewhere = Service("web", (("app", "web"),), (ServicePort(80, 80),), namespace="shop")
    assert [found.namespace for found in app.services_of(workload(80), (elsewhere,))] == ["default"]


@given(st.lists(st.sampled_from(["web", "front", "back"]), unique=True), st.booleans())
def test_every_service_in_front_selects_the_workload_and_has_a_name_of_its_own(
    names: list[str], ports: bool
) -> None:
    pod = workload(80) if ports else workload()
    found = app.services_of(pod, [service(name) for name in names])
    assert all(each.selects(pod) for each in found)
    assert len({each.key for each in found}) == len(found)
