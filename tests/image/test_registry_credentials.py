"""Where credentials are found, in docker's and podman's configuration."""

import base64
import json
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.image.sources.credentials import Credentials, Logins, look_up
from i2kit.image.sources.transport import base_url, is_loopback


def auth(username: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def encoded(config: object) -> str:
    return base64.b64encode(json.dumps(config).encode()).decode()


def find(config: object, registry: str, repository: str = "org/app") -> Credentials | None:
    return look_up(registry, repository, Logins(encoded(config)), {}).credentials


@pytest.mark.parametrize(
    "key",
    [
        "ghcr.io",
        "https://ghcr.io",
        "https://ghcr.io/v1/",
        "https://ghcr.io/v2/",
        "ghcr.io/org",
        "ghcr.io/org/app",
    ],
)
def test_the_keys_of_a_registry(key: str) -> None:
    assert find({"auths": {key: auth("me")}}, "ghcr.io") == Credentials("me", "pw")
    assert find({"auths": {key: auth("me")}}, "ghcr.io:443") is None


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_the_keys_of_docker_hub(key: str) -> None:
    assert find({"auths": {key: auth("me")}}, "docker.io") == Credentials("me", "pw")


def test_the_most_specific_key_wins() -> None:
    auths = {"quay.io": auth("all"), "quay.io/org": auth("org"), "quay.io/org/app": auth("app")}
    assert find({"auths": auths}, "quay.io", "org/app") == Credentials("app", "pw")
    assert find({"auths": auths}, "quay.io", "org/other") == Credentials("org", "pw")
    assert find({"auths": auths}, "quay.io", "else/app") == Credentials("all", "pw")


def test_other_forms_of_an_entry() -> None:
    assert find({"auths": {"r.io": {"username": "me", "password": "a:b"}}}, "r.io") == Credentials(
        "me", "a:b"
    )
    assert find({"auths": {"r.io": auth("me", "a:b")}}, "r.io") == Credentials("me", "a:b")
    token = find({"auths": {"r.io": {"identitytoken": "t"}}}, "r.io")
    assert token == Credentials(identity_token="t")
    assert find({"auths": {"r.io": {}}}, "r.io") is None
    assert find({"auths": None, "credHelpers": []}, "r.io") is None


def test_secrets_do_not_show() -> None:
    assert "hidden" not in repr(Credentials("me", "hidden", "hidden"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{not base64}", "I2KIT_DOCKER_CONFIG is not base64"),
        (base64.b64encode(b"hunter2").decode(), "not the JSON"),
        (base64.b64encode(b'["hunter2"]').decode(), "not the JSON"),
        (encoded({"auths": {"r.io": {"auth": "hunter2!"}}}), "`auth` of r.io is not base64"),
    ],
)
def test_configurations_that_are_wrong(text: str, said: str) -> None:
    with pytest.raises(OperationError) as caught:
        look_up("r.io", "org/app", Logins(text), {})
    assert said in caught.value.message
    assert "hunter2" not in str(caught.value)


def test_the_usual_files(tmp_path: Path) -> None:
    home, docker, runtime = tmp_path / "home", tmp_path / "docker", tmp_path / "run"
    for path, name in (
        (home / ".docker/config.json", "home"),
        (docker / "config.json", "docker"),
        (runtime / "containers/auth.json", "podman"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {f"{name}.io": auth(name), "all.io": auth(name)}}))

    def who(registry: str, **environ: Path) -> str:
        found = look_up(registry, "a", Logins(), {key: str(value) for key, value in environ.items()})
        return found.credentials.username if found.credentials else ""

    assert who("all.io", HOME=home, XDG_RUNTIME_DIR=runtime) == "home"
    assert who("podman.io", HOME=home, XDG_RUNTIME_DIR=runtime) == "podman"
    assert who("all.io", HOME=home, DOCKER_CONFIG=docker) == "docker"
    assert who("home.io", HOME=home, DOCKER_CONFIG=docker) == ""
    assert who("all.io", HOME=tmp_path / "nobody") == ""
    nothing = look_up("r.io", "a", Logins(), {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)})
    assert nothing.where == f"{home}/.docker/config.json and {runtime}/containers/auth.json"
    assert look_up("r.io", "a", Logins(), {}).where == "any docker configuration"


HELPER = """#!/bin/sh
read -r host
test "$1" = get && test $# = 1 || exit 9
case $host in
    helped.io|https://index.docker.io/v1/) printf '{"Username": "me", "Secret": "from %s"}' "$host";;
    token.io) echo '{"Username": "<token>", "Secret": "t"}';;
    broken.io) echo nonsense;;
    *) echo "credentials not found in native keychain"; exit 1;;
esac
"""


@pytest.fixture
def _helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setattr("i2kit.process.SEARCH_PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.usefixtures("_helper")
def test_credential_helpers() -> None:
    helpers = {"credHelpers": {"helped.io": "test", "token.io": "test"}}
    assert find(helpers, "helped.io") == Credentials("me", "from helped.io")
    assert find(helpers, "token.io") == Credentials(identity_token="t")
    assert find({"credsStore": "test"}, "docker.io") == Credentials("me", "from https://index.docker.io/v1/")
    assert find({"credsStore": "test"}, "unknown.io") is None
    assert find({"credsStore": "test"}, "broken.io") is None
    assert look_up("helped.io", "a", Logins(encoded(helpers)), {}).where == "I2KIT_DOCKER_CONFIG"


@pytest.mark.usefixtures("_helper")
def test_a_helper_that_is_missing() -> None:
    with pytest.raises(OperationError, match=r"names docker-credential-gone for r\.io .*not installed"):
        find({"credHelpers": {"r.io": "gone"}}, "r.io")
    # A store for everything may be missing: public images need no credentials. A refusal then says so.
    found = look_up("r.io", "a", Logins(encoded({"credsStore": "gone"})), {})
    assert found.credentials is None
    assert "`docker-credential-gone` is not installed" in found.where
    assert find({"credsStore": "../../tmp/evil"}, "r.io") is None


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("localhost:5000", "http://localhost:5000"),
        ("127.8.9.1", "http://127.8.9.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("ghcr.io", "https://ghcr.io"),
        ("127.0.0.1.example.com", "https://127.0.0.1.example.com"),
        ("localhost.example:80", "https://localhost.example:80"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("[fe80::1]", "https://[fe80::1]"),
    ],
)
def test_only_loopback_is_asked_by_plain_http(registry: str, url: str) -> None:
    assert base_url(registry) == url
    assert not is_loopback("")


def test_secrets_come_first_and_may_be_of_the_old_form() -> None:
    entry = {"auth": base64.b64encode(b"robot:s3cret").decode()}
    new = json.dumps({"auths": {"new.io": entry}}).encode()
    old = json.dumps({"old.io": entry, "new.io": {"auth": base64.b64encode(b"other:x").decode()}}).encode()
    config = encoded(
        {"auths": {host: {"auth": base64.b64encode(b"me:mine").decode()} for host in ("new.io", "own.io")}}
    )
    logins = Logins(config, (("one", new), ("two", old)))
    for registry, user, where in (
        ("new.io", "robot", "the secret `one`"),
        ("old.io", "robot", "the secret `two`"),
        ("own.io", "me", "I2KIT_DOCKER_CONFIG"),
    ):
        found = look_up(registry, "a", logins, {})
        assert found.credentials
        assert (found.credentials.username, found.where) == (user, where)
    assert "s3cret" not in repr(logins)
    with pytest.raises(OperationError, match="the secret `bad` is not the JSON") as caught:
        look_up("r.io", "a", Logins(None, (("bad", b"s3cret"),)), {})
    assert "s3cret" not in str(caught.value)
