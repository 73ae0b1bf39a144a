"""Certificates of secrets, imported into AWS Certificate Manager: load balancers can use no others.

In: what secrets of an Ingress hold. Out: Certificates with their ARNs. Private keys go from memory to AWS and
nowhere else. They are tagged with their Ingress, and go with it.

Source: AWS Certificate Manager user guide, "Import certificates" (parts, their order, and once more).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from botocore.exceptions import ClientError

from i2kit.errors import OperationError
from i2kit.events import Note, Warned, Watcher
from i2kit.model import Ingress, SecretValue
from i2kit.providers.aws.access.account import Account
from i2kit.providers.aws.access.calls import code, explained
from i2kit.providers.aws.design.ingress import INGRESS, NEW_CERTIFICATE, Certificate
from i2kit.providers.aws.running.stacks import Pace

SECRET, CONTENT = "i2kit:secret", "i2kit:content"
"""Tags: which secret it is of, and which content was imported."""

ALL_KEYS = ("RSA_1024", "RSA_2048", "RSA_3072", "RSA_4096", "EC_prime256v1", "EC_secp384r1", "EC_secp521r1")
"""AWS lists RSA_2048 alone where nothing is said."""

ATTEMPTS = 30
"""To remove one: load balancers let go of it a while after they are gone."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

Pair = tuple[bytes, bytes]
"""tls.crt and tls.key."""


def pairs(ingress: Ingress, secrets: Sequence[SecretValue]) -> Mapping[str, Pair]:
    """What the secrets of an Ingress hold, as far as they have both parts."""
    held = {(one.secret, one.key): one.value for one in secrets if one.namespace == ingress.namespace}
    names = dict.fromkeys(secret for _, secret in ingress.tls if secret)
    return {
        name: (held[name, "tls.crt"], held[name, "tls.key"])
        for name in names
        if (name, "tls.crt") in held and (name, "tls.key") in held
    }


def mark(pair: Pair) -> str:
    return hashlib.sha256(b"\0".join(pair)).hexdigest()[:32]


def planned(there: Sequence[Certificate], wanted: Mapping[str, Pair]) -> tuple[Certificate, ...]:
    """As they will be; one that is still to be imported has an ARN that only stands for it."""
    known = {one.secret: one.arn for one in there}
    return tuple(
        Certificate(name, known.get(name, NEW_CERTIFICATE), mark(pair)) for name, pair in wanted.items()
    )


def look(account: Account, key: str) -> tuple[Certificate, ...]:
    """Those that were imported for an Ingress."""
    found = []
    with explained(f"looking for certificates of the Ingress {key}"):
        pages = account.acm.get_paginator("list_certificates").paginate(Includes={"keyTypes": ALL_KEYS})
        for one in (one for page in pages for one in page["CertificateSummaryList"]):
            if one.get("Type", "IMPORTED") != "IMPORTED":
                continue
            answer = account.acm.list_tags_for_certificate(CertificateArn=one["CertificateArn"])
            tags = {each["Key"]: each.get("Value", "") for each in answer["Tags"]}
            if tags.get(INGRESS) == key:
                content = tags.get(CONTENT, "")
                found.append(Certificate(tags.get(SECRET, ""), one["CertificateArn"], content))
    return tuple(found)


def imported(
    account: Account, key: str, wanted: Mapping[str, Pair], watch: Watcher
) -> tuple[Certificate, ...]:
    """All of them as AWS has them then; what is there already is not imported again."""
    there = {one.secret: one for one in look(account, key)} if wanted else {}
    return tuple(_imported(account, key, name, pair, there.get(name), watch) for name, pair in wanted.items())


def _imported(
    account: Account, key: str, name: str, pair: Pair, there: Certificate | None, watch: Watcher
) -> Certificate:
    content = mark(pair)
    if there and there.mark == content:
        return there
    parts = _CERTIFICATE.findall(pair[0])
    if not parts:
        raise OperationError(
            f"the secret {name} of the Ingress {key} has no certificate in its tls.crt",
            hint="it must be in the form PEM",
        )
    words = {"Certificate": parts[0], "PrivateKey": pair[1]}
    if len(parts) > 1:
        words["CertificateChain"] = b"\n".join(islice(parts, 1, None))
    tags = [
        {"Key": INGRESS, "Value": key},
        {"Key": SECRET, "Value": name},
        {"Key": CONTENT, "Value": content},
    ]
    with explained(f"importing the certificate of the secret {name}"):
        if there is None:
            arn = account.acm.import_certificate(**words, Tags=tags)["CertificateArn"]
        else:
            arn = there.arn
            account.acm.import_certificate(**words, CertificateArn=arn)
            account.acm.add_tags_to_certificate(CertificateArn=arn, Tags=tags)
    watch(Note(f"imported the certificate of the secret {name}{' again' if there else ''}: {arn}"))
    return Certificate(name, arn, content)


def remove(account: Account, key: str, kept: Sequence[Certificate], watch: Watcher, pace: Pace) -> None:
    """Those of an Ingress that it no longer has. One that cannot be removed is said; it costs nothing."""
    arns = {one.arn for one in kept}
    for one in look(account, key):
        if one.arn in arns:
            continue
        for _ in range(ATTEMPTS):
            try:
                account.acm.delete_certificate(CertificateArn=one.arn)
            except ClientError as error:
                if code(error) == "ResourceNotFoundException":
                    break
                if code(error) != "ResourceInUseException":
                    watch(Warned(f"the certificate {one.arn} stays: {error}"))
                    break
                pace.wait(pace.longest_s)
            else:
                break
        else:
            watch(Warned(f"the certificate {one.arn} stays: something uses it"))
