"""A registry's side of images: manifests and blobs over HTTP, with login, retries and resumption.

In: a registry's host, names and digests. Out: verified bytes, blobs in the store. Never trusts a
size or a digest that it has not checked, and never shows a secret.

Sources: OCI distribution spec (pull), distribution project docs "token authentication" and
"oauth2 token authentication".
"""

import email.utils
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from i2kit.errors import OperationError
from i2kit.image.sources import oci, transport
from i2kit.image.sources.credentials import NO_LOGINS, Logins, Lookup, look_up
from i2kit.image.sources.transport import Answer, Transient
from i2kit.image.store import Incoming, Store, WrongContent
from i2kit.model.reference import DOCKER_HUB, Reference

ATTEMPTS = 5
"""Tries without any progress before giving up: with the delays below about eight seconds."""
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 60.0
"""A registry that asks to wait longer (Retry-After) is reported instead of waited for."""
CHUNK_BYTES = 256 << 10
MAX_TOKEN_BYTES = 1 << 20
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
T = TypeVar("T")
_RETRIED = {408, 429, 500, 502, 503, 504}


class ImageNotFound(OperationError):
    """The registry has no such repository, tag or digest."""


class Unauthorized(OperationError):
    """The registry does not let us read this repository."""


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest's bytes as the registry sent them, with their own digest."""

    media_type: str
    digest: str
    content: bytes


class Registry:
    """One registry, asked for one repository after another. Usable from several threads.

    `pause` waits so many seconds before another try, `tell` gets a line about why.
    """

    def __init__(
        self,
        host: str,
        *,
        logins: Logins = NO_LOGINS,
        pause: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.host = host
        self._base = transport.base_url("registry-1.docker.io" if host == DOCKER_HUB else host)
        self._logins = logins
        self._pause = pause
        self._tell = tell
        self._authorizations: dict[str, str] = {}
        self._lookups: dict[str, Lookup] = {}

    def manifest(self, reference: Reference, digest: str | None = None) -> RawManifest:
        """The manifest or index of a reference, or the one with `digest` in the same repository.

        Raises ImageNotFound, Unauthorized, BadImage (too large, not what its digest says), or
        OperationError when the registry cannot be reached.
        """
        wanted = digest or reference.digest
        path = f"{reference.repository}/manifests/{wanted or reference.tag}"

        def fetch() -> RawManifest:
            with self._get(reference, path, {"Accept": ", ".join(oci.ACCEPTED)}) as answer:
                content = _read_all(answer, oci.MAX_JSON_BYTES, f"the manifest of {reference}")
                actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
                return RawManifest(answer.headers.get("Content-Type", ""), actual, content)

        found = self._persist(reference, fetch)
        if wanted and found.digest != wanted:
            raise oci.BadImage(
                f"{self.host} sent another manifest for {reference} than asked for: its digest is"
                f" {found.digest} instead of {wanted}",
                hint="something between here and the registry changes what is sent; nothing was stored",
            )
        return found

    def blob(
        self,
        reference: Reference,
        descriptor: oci.Descriptor,
        store: Store,
        arrived: Callable[[int], None] = lambda count: None,
    ) -> Path:
        """Bring a blob into the store, continuing an earlier download. `arrived` is told of bytes.

        It is told of a negative number when a download starts over. An exception from it ends the
        download, which can be continued later. Raises like `manifest`; what is incomplete or wrong is
        never stored.
        """
        with store.lock(descriptor.digest):
            if present := store.verified_blob(descriptor.digest):
                arrived(descriptor.size_bytes)
                return present
            try:
                with store.incoming(descriptor.digest, descriptor.size_bytes) as incoming:
                    arrived(incoming.offset)
                    self._download(reference, descriptor, incoming, arrived)
                    if incoming.resumed and not incoming.matches():
                        # What an earlier run left was damaged; only a second look tells whose fault it is.
                        arrived(-incoming.offset)
                        incoming.restart()
                        self._download(reference, descriptor, incoming, arrived)
            except WrongContent as error:
                raise oci.BadImage(
                    f"{self.host} sent wrong content for {reference}: {error.message}",
                    hint="nothing was stored; if it happens again, the image in the registry is damaged",
                ) from error
            path = store.blob(descriptor.digest)
            assert path is not None
            return path

    def _download(
        self,
        reference: Reference,
        descriptor: oci.Descriptor,
        incoming: Incoming,
        arrived: Callable[[int], None],
    ) -> None:
        path = f"{reference.repository}/blobs/{descriptor.digest}"

        def receive() -> None:
            if incoming.offset == descriptor.size_bytes:
                return
            start = incoming.offset
            # identity: a proxy that compresses again would break sizes and ranges
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
            with self._get(reference, path, headers, also={206, 416} if start else set()) as answer:
                if start and not _continues(answer, start):
                    arrived(-start)
                    incoming.restart()
                    if answer.status != 200:
                        raise Transient(f"{self.host} does not continue {descriptor.digest}")
                while chunk := answer.read(CHUNK_BYTES):
                    incoming.write(chunk)
                    arrived(len(chunk))
            if incoming.offset < descriptor.size_bytes:
                raise Transient(
                    f"{self.host} hung up after {incoming.offset} of {descriptor.size_bytes} bytes"
                )

        self._persist(
            reference,
            receive,
            progress=lambda: incoming.offset,
            hint="run the same command again: the download continues where it stopped",
        )

    # Requests

    def _persist(
        self,
        reference: Reference,
        action: Callable[[], T],
        *,
        progress: Callable[[], int] = lambda: 0,
        hint: str | None = None,
    ) -> T:
        """Do something until it works or no longer gets further. Failing for good loses `Transient`."""
        furthest, failures = progress(), 0
        while True:
            try:
                return action()
            except Transient as error:
                # Progress forgives earlier failures, but a byte at a time is not progress.
                if progress() >= furthest + CHUNK_BYTES:
                    furthest, failures = progress(), 0
                failures += 1
                delay = max(FIRST_DELAY_S * 2 ** (failures - 1), getattr(error, "delay_s", 0.0))
                if failures == ATTEMPTS or delay > LONGEST_DELAY_S:
                    hints = [each for each in (error.hint, hint) if each]
                    raise OperationError(
                        f"could not get {reference}: {error.message}", hint="; ".join(hints) or None
                    ) from error
                self._tell(f"{reference}: {error.message}; trying again in {delay:.2g} s")
                self._pause(delay)

    @contextmanager
    def _get(
        self, reference: Reference, path: str, headers: dict[str, str], also: Collection[int] = ()
    ) -> Iterator[Answer]:
        """GET below /v2/, logging in when asked to. Statuses other than 200 and `also` are raised."""
        url = f"{self._base}/v2/{path}"
        for logged_in in (False, True):
            authorization = self._authorizations.get(reference.repository)
            with transport.request(url, headers, authorization=authorization) as answer:
                if answer.status == 200 or answer.status in also:
                    yield answer
                    return
                # A storage host behind a redirect may ask for a login as well, but never gets one.
                ours = answer.host == urlsplit(self._base).hostname
                if answer.status != 401 or logged_in or not ours:
                    raise self._failure(answer, reference, path)
                challenges = answer.headers.get_all("WWW-Authenticate", [])
            self._authorizations[reference.repository] = self._log_in(challenges, reference)

    def _failure(self, answer: Answer, reference: Reference, path: str) -> OperationError:
        code, detail = _error_detail(answer)
        said = f"{answer.host} answers {answer.status}" + (f" ({detail})" if detail else "")
        if answer.status in _RETRIED:
            if answer.status == 429 and reference.registry == DOCKER_HUB:
                return Delayed(
                    said, answer, hint="Docker Hub limits pulls; a `docker login` raises the limit"
                )
            return Delayed(said, answer)
        if answer.host != urlsplit(self._base).hostname:
            return Transient(said)  # such as a signed address that has expired
        if answer.status in (401, 403):
            return self._unauthorized(reference)
        if answer.status == 404:
            return self._not_found(reference, path, code)
        return OperationError(f"could not get {reference}: {said}")

    def _not_found(self, reference: Reference, path: str, code: str) -> ImageNotFound:
        if "/blobs/" in path:
            return ImageNotFound(
                f"{reference} is incomplete: {self.host} does not have its {path.rpartition('/')[2]}",
                hint="push the image again",
            )
        if code == "NAME_UNKNOWN":
            return ImageNotFound(
                f"the image {reference} does not exist: {self.host} has no repository {reference.repository}",
                hint="check the spelling of the name",
            )
        what = f"digest {reference.digest}" if reference.digest else f"tag `{reference.tag}`"
        return ImageNotFound(
            f"the image {reference} does not exist: {self.host} has no {what} of {reference.repository}",
            hint="check the spelling of the name and the tag"
            if reference.tag
            else "it may have been removed",
        )

    # Login

    def _log_in(self, challenges: list[str], reference: Reference) -> str:
        """The Authorization that a challenge asks for (RFC 9110 §11.6.1)."""
        credentials = self._lookup(reference).credentials
        for challenge in challenges:
            scheme, _, parameters = challenge.partition(" ")
            if scheme.lower() == "bearer":
                fields = {key.lower(): value for key, value in _PARAMETER.findall(parameters)}
                return "Bearer " + self._token(fields.get("realm", ""), fields.get("service", ""), reference)
        if credentials and credentials.username:
            return credentials.basic
        raise self._unauthorized(reference)

    def _token(self, realm: str, service: str, reference: Reference) -> str:
        if not realm or (self._base.startswith("https") and not realm.startswith("https://")):
            raise OperationError(f"{self.host} asks for a login at `{realm[:100]}`, which is not https")
        credentials = self._lookup(reference).credentials
        # The scope is ours, whatever the challenge says: no more than reading this repository.
        fields = {"scope": f"repository:{reference.repository}:pull"}
        if service:
            fields["service"] = service
        form, basic = None, None
        if credentials and credentials.identity_token:
            fields |= {"grant_type": "refresh_token", "refresh_token": credentials.identity_token}
            form = urlencode(fields | {"client_id": "i2kit"}).encode()
        else:
            realm += ("&" if "?" in realm else "?") + urlencode(fields)
            basic = credentials.basic if credentials else None
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        with transport.request(realm, headers, authorization=basic, form=form) as answer:
            if answer.status in (400, 401, 403):
                raise self._unauthorized(reference)
            if answer.status != 200:
                raise Delayed(f"the login at {answer.host} answers {answer.status}", answer)
            content = _read_all(answer, MAX_TOKEN_BYTES, f"the login of {self.host}")
        try:
            value = json.loads(content)
            token = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise OperationError(f"the login of {self.host} gives no token")
        return token

    def _lookup(self, reference: Reference) -> Lookup:
        if reference.repository not in self._lookups:
            self._lookups[reference.repository] = look_up(self.host, reference.repository, self._logins)
        return self._lookups[reference.repository]

    def _unauthorized(self, reference: Reference) -> Unauthorized:
        lookup = self._lookup(reference)
        login = "docker login" + ("" if self.host == DOCKER_HUB else f" {self.host}")
        if lookup.credentials:
            return Unauthorized(
                f"{self.host} does not accept the credentials from {lookup.where} for {reference}",
                hint=f"run `{login}` again, or ask for access to {reference.repository}",
            )
        return Unauthorized(
            f"the image {reference} does not exist or needs a login;"
            f" there are no credentials for {self.host} in {lookup.where}",
            hint=f"check the name, or run `{login}`, or set I2KIT_DOCKER_CONFIG",
        )


class Delayed(Transient):
    """The registry is busy; `delay_s` is how long it asks to wait (0 where it does not say)."""

    def __init__(self, message: str, answer: Answer, *, hint: str | None = None) -> None:
        self.delay_s = _retry_after_s(answer.headers.get("Retry-After", ""))
        if self.delay_s > LONGEST_DELAY_S:
            message += f" and asks to wait {self.delay_s:.0f} s"
        super().__init__(message, hint=hint)


def _retry_after_s(value: str) -> float:
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _continues(answer: Answer, start: int) -> bool:
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _read_all(answer: Answer, limit: int, what: str) -> bytes:
    content = bytearray()
    while chunk := answer.read(CHUNK_BYTES):
        content += chunk
        if len(content) > limit:
            raise oci.BadImage(f"{what} is larger than {limit >> 20} MiB")
    announced = answer.headers.get("Content-Length", "")
    if announced.isdigit() and len(content) < int(announced):
        raise Transient(f"{what} broke off after {len(content)} of {announced} bytes")
    return bytes(content)


def _error_detail(answer: Answer) -> tuple[str, str]:
    """Code and message of the first error in a registry's answer (distribution spec, "Error Codes")."""
    try:
        error = json.loads(answer.read(MAX_TOKEN_BYTES))["errors"][0]
        code, message = str(error.get("code") or ""), str(error.get("message") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, Transient):
        return "", ""
    text = " ".join(f"{code}: {message}".split())[:200]
    return code, "".join(letter for letter in text if letter.isprintable())
