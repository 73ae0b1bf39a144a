"""What Ingresses end TLS with: certificates and keys as HAProxy reads them.

In: sets of secrets, as `secretsets` keeps them. Out: files that only their user can read, which go with the
supervisor, and a crt-list (HAProxy's configuration manual, 5.1). Also: whether a certificate can be used.
"""

import contextlib
import hashlib
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from i2kit.model import Pairs, SecretKey, secret_field

LIST = "list"
TLS_KEYS = ("tls.crt", "tls.key")
"""Of a secret of Kubernetes' type kubernetes.io/tls."""


def keys_of(secrets: Iterable[str]) -> tuple[SecretKey, ...]:
    """The keys of these secrets that TLS needs."""
    return tuple(SecretKey(secret, key) for secret in sorted(set(secrets)) for key in TLS_KEYS)


def pem(text: str, secret: str) -> bytes:
    """The certificate and its key in a set of secrets. KeyError where they are not there."""
    known = dict(line.split("=", 1) for line in text.splitlines())
    parts = (unquote_to_bytes(known[secret_field(secret, key)]).strip() for key in TLS_KEYS)
    return b"".join(part + b"\n" for part in parts)


def problem(certificate: bytes) -> str | None:
    """Why TLS cannot be ended with this, in words; None where it can."""

    def no_password() -> str:
        raise ValueError("its key is encrypted")

    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb") as file:
        file.write(certificate)
        file.flush()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(f"/proc/self/fd/{fd}", None, no_password)
        except ssl.SSLError as error:
            words = {
                "KEY_VALUES_MISMATCH": "its key is not that of its certificate",
                "EE_KEY_TOO_SMALL": "its key is too short to be safe",
                "CA_MD_TOO_WEAK": "its signature is too weak to be safe",
            }
            return words.get(error.reason or "", "it holds no certificate with its key in PEM")
        except ValueError as error:
            return str(error)
    return None


def write(folder: Path, names: Pairs, pems: Mapping[str, bytes]) -> str:
    """Have HAProxy's files there: for each secret its PEM, and the list of the names that each is for.

    A text that tells what is there apart from what was there before. Without names nothing is left there.
    """
    if not names:
        remove(folder)
        return ""
    folder.mkdir(mode=0o700, exist_ok=True)
    lines, seen = [], hashlib.sha256()
    wanted = {LIST}
    for key, hosts in names:
        if key in pems:
            name = key.replace("/", ".") + ".pem"
            wanted.add(name)
            _write(folder / name, pems[key])
            # Of the certificate alone, which is public: nothing of a key may be in the configuration.
            seen.update(pems[key].partition(b"-----END CERTIFICATE-----")[0])
            lines.append(f"{name} {hosts}".strip() + "\n")
    text = "".join(lines)
    _write(folder / LIST, text.encode())
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    seen.update(text.encode())
    return seen.hexdigest()[:16]


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def remove(folder: Path) -> None:
    """Nothing of it is left."""
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
