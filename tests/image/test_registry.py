"""Pulling from a real registry, and from one that makes trouble."""

import base64
import json
import random
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from i2kit.errors import OperationError
from i2kit.events import Event, Finished, Note, Progress
from i2kit.image.sources import pull, resolve
from i2kit.image.sources.credentials import Logins
from i2kit.image.sources.oci import BadImage
from i2kit.image.sources.registry import ImageNotFound, Registry, Unauthorized
from i2kit.image.store import Store
from i2kit.model.reference import parse
from tests.image.registries import (
    PASSWORD,
    USER,
    Image,
    Request,
    RunningRegistry,
    Troublemaker,
    compressed,
    digest_of,
    docker_config,
    free_port,
    make_image,
    make_index,
    running_registry,
    write_layout,
)
from tests.image.tars import entry, tar_bytes

NOISE = random.Random(1).randbytes(2 << 20)
TARS = [tar_bytes([entry("a", b"1")]), tar_bytes([entry("big", NOISE)]), tar_bytes([entry("a", b"2")])]
IMAGE = make_image(TARS, {"Entrypoint": ["/nginx"], "Env": ["PATH=/bin", "A=b=c"], "User": "nginx"})
BIG = digest_of(compressed(TARS[1]))
NO_LOGIN = base64.b64encode(b"{}").decode()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("i2kit.image.sources.registry.FIRST_DELAY_S", 0.001)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    proxies = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
    for name in ("DOCKER_CONFIG", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", *proxies):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        running.push("org/app", "1", IMAGE)
        arm = make_image([TARS[0]], architecture="arm64")
        running.push("org/many", "1", make_index({"linux/arm64/v8": arm, "linux/amd64": IMAGE}))
        running.push("org/arm", "1", arm)
        running.push("org/arms", "1", make_index({"linux/arm64/v8": arm}))
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def get(
    store: Store, reference: str, config: str = NO_LOGIN, watch: Callable[[Event], None] | None = None
) -> list[bytes]:
    """Resolve and pull; the layers' uncompressed tars."""
    watcher = watch or (lambda event: None)
    image = resolve(reference, store=store, logins=Logins(config), watch=watcher)
    return [path.read_bytes() for path in pull(image, store=store, logins=Logins(config), watch=watcher)]


def partials(store: Store) -> list[str]:
    return [path.name for path in (store.root / "partial").iterdir()]


# A registry that behaves


def test_an_image_by_tag(registry: RunningRegistry, store: Store) -> None:
    image = resolve(f"{registry.host}/org/app:1", store=store, logins=Logins(NO_LOGIN))
    assert image.digest == IMAGE.digest
    assert image.pinned == f"{registry.host}/org/app@{IMAGE.digest}"
    assert image.config.entrypoint == ("/nginx",)
    assert image.config.env == (("PATH", "/bin"), ("A", "b=c"))
    assert (image.config.user, image.config.working_dir) == ("nginx", "/")
    assert [layer.diff_id for layer in image.layers] == [digest_of(tar) for tar in TARS]
    events: list[Event] = []
    paths = pull(image, store=store, logins=Logins(NO_LOGIN), watch=events.append)
    assert [path.read_bytes() for path in paths] == TARS
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (image.size_bytes, image.size_bytes)
    assert isinstance(events[-1], Finished)


def test_a_registry_named_localhost(
    registry: RunningRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2kit.image.sources.transport.base_url", lambda host: f"http://{registry.host}")
    assert get(store, "localhost/org/app:1") == TARS


def test_the_image_of_an_index_that_fits(registry: RunningRegistry, store: Store) -> None:
    image = resolve(f"{registry.host}/org/many:1", store=store, logins=Logins(NO_LOGIN))
    assert image.digest == IMAGE.digest
    arm = resolve(f"{registry.host}/org/many:1", store=store, logins=Logins(NO_LOGIN), platform="linux/arm64")
    assert arm.digest != image.digest


@pytest.mark.parametrize("repository", ["org/arm", "org/arms"])
def test_an_image_for_another_architecture(registry: RunningRegistry, store: Store, repository: str) -> None:
    with pytest.raises(BadImage, match=r"org/arms?:1 is not built for linux/amd64; there is: linux/arm64"):
        get(store, f"{registry.host}/{repository}:1")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/app:2", "has no tag `2` of org/app"),
        ("org/ap:1", "has no tag `1` of org/ap"),
        (f"org/app@sha256:{'0' * 64}", "has no digest sha256:000"),
    ],
)
def test_an_image_that_is_not_there(registry: RunningRegistry, store: Store, name: str, said: str) -> None:
    with pytest.raises(ImageNotFound) as caught:
        get(store, f"{registry.host}/{name}")
    assert said in caught.value.message
    assert caught.value.hint


def test_a_repository_that_is_not_there(registry: RunningRegistry, store: Store) -> None:
    body = b'{"errors": [{"code": "NAME_UNKNOWN"}]}'
    proxy = Troublemaker(registry.host, lambda request: request.answer(404, body))
    with proxy, pytest.raises(ImageNotFound, match="has no repository org/app"):
        get(store, f"{proxy.host}/org/app:1")


def test_a_tag_is_asked_for_again_but_content_never(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host) as proxy:
        assert get(store, f"{proxy.host}/org/many:1") == TARS
        proxy.requests.clear()
        assert get(store, f"{proxy.host}/org/many:1") == TARS
        assert proxy.paths("/blobs/") == []
        assert proxy.paths("/manifests/1") == ["/v2/org/many/manifests/1"]
        proxy.requests.clear()
        assert get(store, f"{proxy.host}/org/many@{IMAGE.digest}") == TARS
        assert proxy.requests == []


def test_an_index_by_digest_needs_no_network_the_second_time(registry: RunningRegistry, store: Store) -> None:
    digest = make_index(
        {"linux/arm64/v8": make_image([TARS[0]], architecture="arm64"), "linux/amd64": IMAGE}
    ).digest
    with Troublemaker(registry.host) as proxy:
        first = resolve(f"{proxy.host}/org/many:1@{digest}", store=store, logins=Logins(NO_LOGIN))
        proxy.requests.clear()
        assert resolve(f"{proxy.host}/org/many:1@{digest}", store=store, logins=Logins(NO_LOGIN)) == first
        assert proxy.requests == []


def test_compressed_layers_are_not_kept_twice(registry: RunningRegistry, store: Store) -> None:
    get(store, f"{registry.host}/org/app:1")
    assert store.blob(BIG) is None


@pytest.mark.parametrize(
    ("compress", "media_type"),
    [
        (lambda tar: tar, "application/vnd.oci.image.layer.v1.tar"),
        (lambda tar: subprocess.run(["zstd", "-qc"], input=tar, capture_output=True, check=True).stdout,
         "application/vnd.oci.image.layer.v1.tar+zstd"),
        (lambda tar: compressed(tar[:1000]) + compressed(tar[1000:]) + bytes(100),
         "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ],
    ids=["none", "zstd", "several gzip members"],
)  # fmt: skip
def test_compressions(
    registry: RunningRegistry, store: Store, compress: Callable[[bytes], bytes], media_type: str
) -> None:
    registry.push("org/compressed", "1", make_image(TARS, compress=compress, media_type=media_type))
    assert get(store, f"{registry.host}/org/compressed:1") == TARS


def test_an_image_in_dockers_own_format(registry: RunningRegistry, store: Store) -> None:
    docker = "application/vnd.docker"
    config = json.loads(IMAGE.manifest)["config"] | {"mediaType": f"{docker}.container.image.v1+json"}
    image = make_image(
        TARS,
        {"Entrypoint": ["/nginx"], "Env": ["PATH=/bin", "A=b=c"], "User": "nginx"},
        media_type=f"{docker}.image.rootfs.diff.tar.gzip",
        changes={"mediaType": f"{docker}.distribution.manifest.v2+json", "config": config},
    )
    image.media_type = f"{docker}.distribution.manifest.v2+json"
    registry.push("org/docker", "1", image)
    assert get(store, f"{registry.host}/org/docker:1") == TARS


@pytest.mark.parametrize("by", ["tag", "digest of the index"])
def test_any_blob_that_the_disk_damaged_is_fetched_again(
    registry: RunningRegistry, store: Store, by: str
) -> None:
    index = make_index({"linux/amd64": IMAGE})
    registry.push("damaged", "1", index)
    reference = f"{registry.host}/damaged" + (":1" if by == "tag" else f"@{index.digest}")
    image = resolve(reference, store=store, logins=Logins(NO_LOGIN))
    pull(image, store=store, logins=Logins(NO_LOGIN))
    blobs = sorted((store.root / "blobs/sha256").iterdir())
    assert len(blobs) == 6
    for blob in blobs:
        content = blob.read_bytes()
        blob.chmod(0o600)
        blob.write_bytes(content[:-1] + b"?")
        assert resolve(reference, store=store, logins=Logins(NO_LOGIN)) == image
        assert [path.read_bytes() for path in pull(image, store=store, logins=Logins(NO_LOGIN))] == TARS
        # By its tag an image is asked of the registry, and the index of old is read by nobody.
        assert blob.read_bytes() == content or (by == "tag" and b"manifests" in content)


def test_a_layer_that_the_disk_damaged_is_fetched_again(registry: RunningRegistry, store: Store) -> None:
    image = resolve(f"{registry.host}/org/app:1", store=store, logins=Logins(NO_LOGIN))
    damaged = pull(image, store=store, logins=Logins(NO_LOGIN))[1]
    damaged.chmod(0o600)
    with damaged.open("r+b") as file:
        file.write(b"damage")
    assert [path.read_bytes() for path in pull(image, store=store, logins=Logins(NO_LOGIN))] == TARS


# Login


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("private"), login=True) as running:
        running.push("org/app", "1", IMAGE)
        yield running


def test_credentials_from_the_environment_variable(private: RunningRegistry, store: Store) -> None:
    assert get(store, f"{private.host}/org/app:1", docker_config(private.host)) == TARS


def test_credentials_from_the_docker_config_file(
    private: RunningRegistry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_bytes(base64.b64decode(docker_config(private.host)))
    image = resolve(f"{private.host}/org/app:1", store=store)
    assert len(pull(image, store=store)) == 3


def test_wrong_credentials_say_where_they_came_from(private: RunningRegistry, store: Store) -> None:
    with pytest.raises(Unauthorized) as caught:
        get(store, f"{private.host}/org/app:1", docker_config(private.host, password="wr0ng"))
    assert "does not accept the credentials from I2KIT_DOCKER_CONFIG" in caught.value.message
    assert "wr0ng" not in str(caught.value) and USER not in str(caught.value)
    assert f"docker login {private.host}" in str(caught.value.hint)


def test_missing_credentials(private: RunningRegistry, store: Store) -> None:
    with pytest.raises(Unauthorized, match=r"does not exist or needs a login.*I2KIT_DOCKER_CONFIG"):
        get(store, f"{private.host}/org/app:1", docker_config("elsewhere.example"))


class TokenLogin:
    """The token dance in front of a registry: only the right account gets a token, for one repository."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.valid = "token-1"

    def __call__(self, request: Request) -> bool:
        if request.path.startswith("/token"):
            self.asked.append(request.path + getattr(request, "body", b"").decode())
            basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if request.headers["Authorization"] != basic and "refresh_token=identity" not in self.asked[-1]:
                return request.answer(401, b"{}")
            return request.answer(200, json.dumps({"token": self.valid}).encode())
        if request.headers["Authorization"] == f"Bearer {self.valid}":
            return False
        realm = f'Bearer realm="http://{request.server.host}/token?x=1",service="svc",scope="repository:other:push"'
        return request.answer(401, b"{}", WWW_Authenticate=realm)


def test_the_token_dance(registry: RunningRegistry, store: Store) -> None:
    login = TokenLogin()
    with Troublemaker(registry.host, login) as proxy:
        assert get(store, f"{proxy.host}/org/app:1", docker_config(proxy.host)) == TARS
    assert set(login.asked) == {"/token?x=1&scope=repository%3Aorg%2Fapp%3Apull&service=svc"}
    # Not once per blob: resolve and pull each log in, though several downloads may begin at once.
    assert 2 <= len(login.asked) <= 4


def test_an_identity_token_is_exchanged(registry: RunningRegistry, store: Store) -> None:
    login = TokenLogin()
    with Troublemaker(registry.host, login) as proxy:
        config = docker_config(proxy.host, "", "", identitytoken="identity")
        assert get(store, f"{proxy.host}/org/app:1", config) == TARS
    assert "grant_type=refresh_token" in login.asked[0]


def test_a_token_that_expires_is_renewed(registry: RunningRegistry, store: Store) -> None:
    login = TokenLogin()
    with Troublemaker(registry.host, login) as proxy:
        config = docker_config(proxy.host)
        client = Registry(proxy.host, logins=Logins(config))
        reference = parse(f"{proxy.host}/org/app:1")
        client.manifest(reference)
        login.valid = "token-2"
        assert client.manifest(reference).digest == IMAGE.digest


def test_a_refused_token(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host, TokenLogin()) as proxy:
        with pytest.raises(Unauthorized, match="does not accept the credentials"):
            get(store, f"{proxy.host}/org/app:1", docker_config(proxy.host, password="wr0ng"))
        with pytest.raises(Unauthorized, match="does not exist or needs a login"):
            get(store, f"{proxy.host}/org/app:1")


def test_a_redirect_takes_no_authorization_to_another_host(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host) as storage:

        def trouble(request: Request) -> bool:
            if "Authorization" not in request.headers:
                return request.answer(401, b"{}", WWW_Authenticate='Basic realm="x"')
            if "/blobs/" in request.path:
                return request.answer(307, Location=f"http://localhost:{storage.server_port}{request.path}")
            return False

        with Troublemaker(registry.host, trouble) as proxy:
            assert get(store, f"{proxy.host}/org/app:1", docker_config(proxy.host)) == TARS
        assert len(storage.requests) == 4
        assert not any("Authorization" in request.headers for request in storage.requests)


def test_a_storage_host_never_gets_a_login(registry: RunningRegistry, store: Store) -> None:
    def curious(request: Request) -> bool:
        realm = f'Bearer realm="http://{request.server.host}/token"'
        return request.answer(401, b"{}", WWW_Authenticate=realm)

    with Troublemaker(registry.host, curious) as storage:

        def trouble(request: Request) -> bool:
            there = f"http://localhost:{storage.server_port}/"
            return "/blobs/" in request.path and request.answer(307, Location=there)

        proxy = Troublemaker(registry.host, trouble)
        with proxy, pytest.raises(OperationError, match="localhost answers 401"):
            get(store, f"{proxy.host}/org/app:1", docker_config(proxy.host))
        assert not any("Authorization" in request.headers for request in storage.requests)


# Trouble on the way


def on_the_big_blob(trouble: Callable[[Request], bool]) -> Callable[[Request], bool]:
    return lambda request: request.path.endswith(f"/blobs/{BIG}") and trouble(request)


def test_a_download_that_breaks_off_is_continued(registry: RunningRegistry, store: Store) -> None:
    def cut(request: Request) -> bool:
        return request.forward(at_most=700_000)

    with Troublemaker(registry.host, on_the_big_blob(cut)) as proxy:
        assert get(store, f"{proxy.host}/org/app:1") == TARS
        ranges = [request.headers["Range"] for request in proxy.requests if request.path.endswith(BIG)]
    assert ranges == [None, "bytes=700000-", "bytes=1400000-"]
    assert partials(store) == []


def test_a_registry_that_goes_down_can_be_continued_later(registry: RunningRegistry, store: Store) -> None:
    down = False

    def dying(request: Request) -> bool:
        nonlocal down
        if down:
            return request.answer(503, b"")
        down = True
        return request.forward(at_most=500_000)

    with Troublemaker(registry.host, on_the_big_blob(dying)) as proxy:
        with pytest.raises(OperationError) as caught:
            get(store, f"{proxy.host}/org/app:1")
        assert "answers 503" in caught.value.message
        assert "continues where it stopped" in str(caught.value.hint)
        assert store.blob(BIG) is None
        assert partials(store) == [BIG.replace(":", "-")]
        proxy.requests.clear()
        proxy.trouble = lambda request: False
        assert get(store, f"{proxy.host}/org/app:1") == TARS
        ranges = {request.headers["Range"] for request in proxy.requests if request.path.endswith(BIG)}
    assert ranges == {"bytes=500000-"}
    assert partials(store) == []


def test_a_registry_that_cannot_continue_starts_over(registry: RunningRegistry, store: Store) -> None:
    store.partial(BIG).write_bytes(compressed(TARS[1])[:1000])
    whole = on_the_big_blob(lambda request: request.forward(without="Range"))
    events: list[Event] = []
    with Troublemaker(registry.host, whole) as proxy:
        assert get(store, f"{proxy.host}/org/app:1", watch=events.append) == TARS
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total


def test_a_damaged_partial_download_is_thrown_away(registry: RunningRegistry, store: Store) -> None:
    store.partial(BIG).write_bytes(b"x" * 1000)
    assert get(store, f"{registry.host}/org/app:1") == TARS
    store.remove_blob(digest_of(TARS[1]))
    store.partial(BIG).write_bytes(b"x" * len(compressed(TARS[1])))
    assert get(store, f"{registry.host}/org/app:1") == TARS


def times(count: int, status: int, body: bytes = b"", retry_after: str = "") -> Callable[[Request], bool]:
    """The same trouble so many times, then none."""
    left = [None] * count

    def trouble(request: Request) -> bool:
        if not left:
            return False
        left.pop()
        return request.answer(status, body, **({"Retry-After": retry_after} if retry_after else {}))

    return trouble


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_troubles_that_pass(registry: RunningRegistry, store: Store, status: int) -> None:
    events: list[Event] = []
    with Troublemaker(registry.host, times(3, status, b"busy")) as proxy:
        assert get(store, f"{proxy.host}/org/app:1", watch=events.append) == TARS
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len(notes) == 3 and f"answers {status}; trying again in 0.001 s" in notes[0]


def test_a_registry_says_how_long_to_wait(registry: RunningRegistry) -> None:
    waited: list[float] = []
    with Troublemaker(registry.host, times(2, 429, retry_after="7")) as proxy:
        Registry(proxy.host, pause=waited.append).manifest(parse(f"{proxy.host}/org/app:1"))
    assert waited == [7, 7]


def test_a_registry_that_asks_for_too_much_patience(registry: RunningRegistry, store: Store) -> None:
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "limit\x1b reached"}]}).encode()
    with Troublemaker(registry.host, times(1, 429, body, "3600")) as proxy:
        with pytest.raises(
            OperationError, match=r"429 \(TOOMANYREQUESTS: limit reached\) and asks to wait 3600 s"
        ):
            get(store, f"{proxy.host}/org/app:1")
        assert len(proxy.requests) == 1


def test_trouble_that_stays(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host, lambda request: request.answer(500, b"")) as proxy:
        with pytest.raises(OperationError, match=r"could not get .*org/app:1: 127.0.0.1 answers 500"):
            get(store, f"{proxy.host}/org/app:1")
        assert len(proxy.requests) == 5


def test_nobody_there(store: Store) -> None:
    with pytest.raises(OperationError, match="cannot be reached: Connection refused") as caught:
        get(store, f"127.0.0.1:{free_port()}/org/app:1")
    assert "check that it runs" in str(caught.value.hint)


def test_wrong_content_is_never_stored(registry: RunningRegistry, store: Store) -> None:
    size = len(compressed(TARS[1]))
    with Troublemaker(
        registry.host, on_the_big_blob(lambda request: request.answer(200, b"x" * size))
    ) as proxy:
        with pytest.raises(BadImage, match="sent wrong content"):
            get(store, f"{proxy.host}/org/app:1")
        proxy.trouble = on_the_big_blob(lambda request: request.answer(200, b"x" * (size + 1)))
        with pytest.raises(BadImage, match="larger than the announced"):
            get(store, f"{proxy.host}/org/app:1")
    assert store.blob(BIG) is None
    assert partials(store) == []


def test_another_manifest_than_asked_for(registry: RunningRegistry, store: Store) -> None:
    def other(request: Request) -> bool:
        return "/manifests/sha256:" in request.path and request.answer(200, b"{}")

    with Troublemaker(registry.host, other) as proxy, pytest.raises(BadImage, match="sent another manifest"):
        get(store, f"{proxy.host}/org/many:1")


def manifest(**changes: object) -> bytes:
    return make_image([], changes=changes).manifest


def layer(**changes: object) -> dict[str, object]:
    return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{'0' * 64}"} | changes


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"x" * ((4 << 20) + 1), "larger than 4 MiB"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"not json", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "schema 1"),
        (b'{"schemaVersion": 2, "layers": [], "manifests": []}', "both an image and an index"),
        (manifest(layers=[{"digest": "sha256:x"}]), "not a sha256 digest"),
        (manifest(layers=[layer(size="1")]), "the size is 1"),
        (manifest(layers=[layer(size=-1)]), "the size is -1"),
        (manifest(layers=[layer(size=1)] * 501), "501 layers"),
        (manifest(layers=[layer(size=1 << 40)]), "20 GiB"),
        (manifest(layers=[layer(size=1, mediaType="x+encrypted")]), "unsupported type x+encrypted"),
        (
            manifest(config=layer(size=1, mediaType="application/vnd.cncf.helm.config.v1+json")),
            "but application/vnd.cncf",
        ),
        (
            manifest(config=layer(size=1 << 30, mediaType="application/vnd.oci.image.config.v1+json")),
            "its config has",
        ),
        (b'{"schemaVersion": 2, "layers": 3, "config": null}', "not a sha256 digest"),
    ],
)
def test_what_is_not_an_image(registry: RunningRegistry, store: Store, body: bytes, said: str) -> None:
    answer = Troublemaker(registry.host, lambda request: request.answer(200, body))
    with answer as proxy, pytest.raises(BadImage) as caught:
        get(store, f"{proxy.host}/org/app:1")
    assert said in caught.value.message


def test_an_interrupted_pull_stops_and_can_be_continued(registry: RunningRegistry, store: Store) -> None:
    image = resolve(f"{registry.host}/org/app:1", store=store, logins=Logins(NO_LOGIN))

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(image, store=store, logins=Logins(NO_LOGIN), watch=interrupt)
    assert [path.read_bytes() for path in pull(image, store=store, logins=Logins(NO_LOGIN))] == TARS
    assert list((store.root / "locks").iterdir()) == []


def test_a_pull_that_is_killed_is_continued(registry: RunningRegistry, store: Store) -> None:
    arrived, end = threading.Event(), threading.Event()

    def stall(request: Request) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", str(len(compressed(TARS[1]))))
        request.end_headers()
        request.wfile.write(compressed(TARS[1])[:600_000])
        arrived.set()
        return end.wait(60)

    script = """
        import sys; from pathlib import Path
        from i2kit.image.sources import pull, resolve; from i2kit.image.store import Store
        store = Store(Path(sys.argv[1]))
        pull(resolve(sys.argv[2], store=store), store=store)
    """
    with Troublemaker(registry.host, on_the_big_blob(stall)) as proxy:
        reference = f"{proxy.host}/org/app:1"
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), str(store.root), reference]
        )
        try:
            assert arrived.wait(60)
            while not store.partial(BIG).exists() or store.partial(BIG).stat().st_size < 500_000:
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
            end.set()
        proxy.trouble = lambda request: False
        proxy.requests.clear()
        assert get(store, reference) == TARS
        (continued,) = (request.headers["Range"] for request in proxy.requests if request.path.endswith(BIG))
    assert int(continued.removeprefix("bytes=").removesuffix("-")) >= 500_000


def test_two_pulls_at_once_download_once(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host) as proxy:
        results: list[list[bytes]] = []
        threads = [
            threading.Thread(target=lambda: results.append(get(store, f"{proxy.host}/org/app:1")))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [TARS] * 3
        assert len(proxy.paths(BIG)) == 1


# https


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=registry.test", "-addext", "subjectAltName=DNS:registry.test",
         "-keyout", str(path), "-out", str(path.with_suffix(".crt"))],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.fixture
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    """registry.test is this machine, and no other name exists."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "registry.test":
            host = "127.0.0.1"
        elif not host.startswith("127."):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.usefixtures("_names")
def test_https_with_a_certificate_that_is_trusted_or_not(
    registry: RunningRegistry, store: Store, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Troublemaker(registry.host) as proxy:
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
        reference = f"registry.test:{proxy.server_port}/org/app:1"
        with pytest.raises(OperationError, match=r"certificate of registry.test.* is not trusted") as caught:
            get(store, reference)
        assert "SSL_CERT_FILE" in str(caught.value.hint)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
        assert get(store, reference) == TARS


@pytest.mark.usefixtures("_names")
def test_no_plain_http_to_other_machines(registry: RunningRegistry, store: Store) -> None:
    with Troublemaker(registry.host) as proxy:
        with pytest.raises(OperationError, match=r"registry\.test.* does not speak https"):
            get(store, f"registry.test:{proxy.server_port}/org/app:1")
        assert proxy.requests == []
        proxy.trouble = lambda request: request.answer(
            307, Location=f"http://registry.test:{proxy.server_port}/x"
        )
        with pytest.raises(OperationError, match="would be asked by plain http"):
            get(store, f"{proxy.host}/org/app:1")


@pytest.mark.usefixtures("_names")
def test_an_unknown_host(store: Store) -> None:
    with pytest.raises(OperationError, match=r"the host regsitry.test.* is unknown"):
        get(store, "regsitry.test/org/app:1")


@pytest.mark.usefixtures("_names")
def test_who_gives_images_is_told_that_none_has_the_name(store: Store, tmp_path: Path) -> None:
    write_layout(tmp_path / "images", {"org/app:2": make_image([])})
    with pytest.raises(OperationError) as raised:
        resolve("regsitry.test/org/app:1", store=store, images=[tmp_path / "images"])
    assert str(raised.value.hint).endswith(f"; no image in {tmp_path / 'images'} has this name")


@pytest.mark.usefixtures("_names")
def test_proxies_are_for_other_machines_only(
    registry: RunningRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tunnel(Request):
        def do_CONNECT(self) -> None:
            self.server.requests.append(self)
            self.answer(403)

    with Troublemaker(registry.host) as proxy:
        proxy.RequestHandlerClass = Tunnel
        monkeypatch.setenv("https_proxy", f"http://me:pass%40word@{proxy.host}")
        with pytest.raises(
            OperationError, match="cannot be reached: Tunnel connection failed: 403"
        ) as caught:
            get(store, "ghcr.io/org/app:1", docker_config("ghcr.io"))
        assert "proxy of https_proxy" in str(caught.value.hint)
        asked = proxy.requests[0]
        assert asked.path == "ghcr.io:443"
        assert asked.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:pass@word").decode()
        assert "Authorization" not in asked.headers
        assert get(store, f"{registry.host}/org/app:1") == TARS
    monkeypatch.setenv("https_proxy", f"socks5://me:secret@{proxy.host}")
    with pytest.raises(OperationError, match="type socks5, which is not supported") as caught:
        get(store, "ghcr.io/org/app:1")
    assert "secret" not in str(caught.value)


def test_an_index_that_lies_about_sizes(registry: RunningRegistry, store: Store) -> None:
    lying = json.loads(make_index({"linux/amd64": IMAGE}).manifest)
    lying["manifests"][0]["size"] += 1

    def trouble(request: Request) -> bool:
        return request.path.endswith("/manifests/lie") and request.answer(200, json.dumps(lying).encode())

    with (
        Troublemaker(registry.host, trouble) as proxy,
        pytest.raises(BadImage, match="says that its manifest has"),
    ):
        get(store, f"{proxy.host}/org/app:lie")


def test_a_layer_that_is_not_what_the_config_says(registry: RunningRegistry, store: Store) -> None:
    wrong = make_image([TARS[0]])
    other = json.loads(IMAGE.manifest)["layers"][2]
    manifest = json.loads(wrong.manifest) | {"layers": [other]}
    image = Image(json.dumps(manifest).encode(), wrong.blobs | IMAGE.blobs)
    registry.push("org/wrong", "1", image)
    with pytest.raises(BadImage, match="does not hold what the image's config says"):
        get(store, f"{registry.host}/org/wrong:1")
