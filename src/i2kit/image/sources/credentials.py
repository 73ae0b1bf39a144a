"""Who we are to a registry: names and passwords from docker's and podman's configuration.

In: a registry's host and a repository. Out: Credentials, or None, and in both cases where was looked.
Never asks a person, never writes, never shows a secret: helper programs get the host on stdin.

Sources: docker/cli's config file documentation; containers-auth.json(5); docker-credential-helpers.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from i2kit.errors import OperationError
from i2kit.model.reference import DOCKER_HUB
from i2kit.process import ProgramError, run

_TOKEN_USER = "<token>"  # noqa: S105  (a helper's name for "the secret is an identity token")
HELPER_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name with its password, or an identity token. Secrets stay out of repr."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Lookup:
    """What was found, and in words where (or where it was looked for)."""

    credentials: Credentials | None
    where: str


@dataclass(frozen=True, slots=True)
class Logins:
    """What is looked into: first `secrets`, the names and texts of docker configurations.

    Then `docker_config`, the base64 of a config.json, or where that is None the usual places.
    """

    docker_config: str | None = field(default=None, repr=False)
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


NO_LOGINS = Logins()


def look_up(
    registry: str, repository: str, logins: Logins, environ: Mapping[str, str] = os.environ
) -> Lookup:
    """Find the credentials for a repository. Raises OperationError when a configuration cannot be read."""
    looked = []
    for where, config in _configurations(logins, environ):
        looked.append(where)
        for key in _keys(registry, repository):
            if found := _from_config(config, key, where):
                return Lookup(found, where)
        if helper := config.get("credsStore"):
            for key in _keys(registry, "")[:1]:
                credentials, note = _from_helper(str(helper), key)
                if credentials:
                    return Lookup(credentials, f"{where} (docker-credential-{helper})")
                looked[-1] += note
    return Lookup(None, " and ".join(looked) or "any docker configuration")


def _configurations(logins: Logins, environ: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, secret in logins.secrets:
        found = _json(secret, where := f"the secret `{name}`")
        # What is older than config.json has the registries themselves (.dockercfg).
        yield where, found if "auths" in found else {"auths": found}
    if logins.docker_config:
        where = "I2KIT_DOCKER_CONFIG"
        try:
            text = base64.b64decode("".join(logins.docker_config.split()), validate=True)
        except (binascii.Error, ValueError):
            raise OperationError(
                f"{where} is not base64", hint='set it to "$(base64 -w0 ~/.docker/config.json)"'
            ) from None
        yield where, _json(text, where)
        return
    home = environ.get("HOME")
    folders = [environ.get("DOCKER_CONFIG"), f"{home}/.docker" if home else None]
    # As docker does, DOCKER_CONFIG replaces the folder in the home directory.
    paths = [Path(folder, "config.json") for folder in folders if folder][:1]
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        paths.append(Path(runtime, "containers/auth.json"))
    for path in paths:
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise OperationError(f"cannot read {path}: {error.strerror}") from error
        yield str(path), _json(text, str(path))


def _json(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        # The text itself stays out of the message: it holds passwords.
        raise OperationError(f"{where} is not the JSON of a docker configuration")
    return value


def _keys(registry: str, repository: str) -> list[str]:
    """Under which names a registry's credentials are kept, the most specific first."""
    if registry == DOCKER_HUB:
        hosts = ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"]
        plain = hosts[1:] + hosts[:1]
    else:
        plain = [registry, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/"]
        plain += [f"http://{registry}", f"{registry}/"]
    parts = repository.split("/") if repository else []
    return [f"{registry}/{'/'.join(parts[:length])}" for length in range(len(parts), 0, -1)] + plain


def _from_config(config: dict[str, Any], key: str, where: str) -> Credentials | None:
    helpers, auths = config.get("credHelpers"), config.get("auths")
    if isinstance(helpers, dict) and isinstance(helper := helpers.get(key), str):
        credentials, note = _from_helper(helper, key)
        if credentials is None and note:
            raise OperationError(f"{where} names docker-credential-{helper} for {key}{note}")
        if credentials:
            return credentials
    entry = auths.get(key) if isinstance(auths, dict) else None
    if not isinstance(entry, dict):
        return None
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            decoded = base64.b64decode(str(auth), validate=True).decode()
        except (binascii.Error, ValueError):
            raise OperationError(
                f"{where}: `auth` of {key} is not base64", hint=f"run docker login {key} again"
            ) from None
        username, _, password = decoded.rstrip("\0").partition(":")
    token = str(entry.get("identitytoken") or "")
    return Credentials(username, password, token) if token or username else None


def _from_helper(helper: str, key: str) -> tuple[Credentials | None, str]:
    """Ask docker-credential-HELPER; what it cannot say comes as a note for errors."""
    if "/" in helper:
        return None, f": `{helper}` is not the name of a credential helper"
    try:
        done = run(
            [f"docker-credential-{helper}", "get"],
            stdin=key.encode(),
            timeout_s=HELPER_TIMEOUT_S,
            check=False,
        )
    except ProgramError as error:
        return None, f" ({error.message})"
    try:
        answer = json.loads(done.stdout) if done.status == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not answer.get("Secret"):
        return None, ""
    user, secret = str(answer.get("Username") or ""), str(answer["Secret"])
    if user == _TOKEN_USER:
        return Credentials(identity_token=secret), ""
    return Credentials(user, secret), ""
