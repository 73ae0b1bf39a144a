"""Image references: the words people write, and the one canonical form.

In: text such as `nginx`, `ghcr.io/org/app:1.2` or `[::1]:5000/app@sha256:…`. Out: a frozen
Reference, or an InvalidReference that says what is wrong. Pure: nothing is asked of a registry.

Source of the grammar: the distribution project's reference package (docs/spec, "reference").
"""

import re
from dataclasses import dataclass

from i2kit.errors import InputError, Problem

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})

MAX_NAME_LENGTH = 255
"""Registry and repository together, as Docker limits them."""

_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[a-fA-F0-9:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class InvalidReference(InputError, ValueError):
    """Text that names no image. `problems` holds the one problem, without a position."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image reference in full: Docker Hub's short forms are already written out.

    `registry` is `host[:port]`, lower case. A digest decides alone; the tag beside it is for people.
    Without a digest there is always a tag.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """`registry/repository`, such as docker.io/library/nginx."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Read an image reference. Raises InvalidReference with a hint."""

    def refuse(why: str, hint: str | None = None) -> InvalidReference:
        return InvalidReference([Problem(f"`{text}` is not an image reference: {why}", hint=hint)])

    if not text.strip():
        raise InvalidReference([Problem("the image reference is empty", hint="for example nginx:1.27")])
    if any(character.isspace() for character in text):
        raise refuse("it contains white space")
    if "://" in text:
        raise refuse("it is a URL", f"write {text.partition('://')[2]} without the scheme")

    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise refuse(
            f"`{digest}` is not a digest",
            "a digest is sha256: followed by 64 hexadecimal digits in lower case",
        )
    tag = None
    # A colon after the last slash starts the tag; one before it belongs to the registry's port.
    slash = rest.rfind("/")
    if (colon := rest.find(":", slash + 1)) >= 0:
        rest, tag = rest[:colon], rest[colon + 1 :]
        if not _TAG.fullmatch(tag):
            if slash < 0 and tag.isdigit():
                raise refuse("a registry's port must be followed by a repository")
            raise refuse(
                f"`{tag}` is not a tag", "tags have up to 128 letters, digits, dots, dashes and underscores"
            )

    first, slashed, others = rest.partition("/")
    if slashed and (first == "localhost" or any(mark in first for mark in ".:[")):
        registry, repository = first.lower(), others
        matched = _HOST.fullmatch(registry)
        if not matched or int(matched["port"] or 1) not in range(1, 65536):
            raise refuse(f"`{first}` is not a registry's host[:port]")
        if registry in _DOCKER_HUB_NAMES:
            registry = DOCKER_HUB
    else:
        registry, repository = DOCKER_HUB, rest
    if registry == DOCKER_HUB and repository and "/" not in repository:
        repository = f"library/{repository}"

    if not repository:
        raise refuse("the repository is missing", "for example ghcr.io/org/app:1.0")
    if any(letter.isupper() for letter in repository):
        raise refuse("repository names are lower case", f"try {text.replace(rest, rest.lower(), 1)} instead")
    for component in repository.split("/"):
        if not _COMPONENT.fullmatch(component):
            raise refuse(
                f"`{component}` cannot be part of a repository's name"
                if component
                else "it has an empty part",
                "parts are lower-case letters and digits, separated by single dots, dashes or underscores",
            )
    if len(registry) + 1 + len(repository) > MAX_NAME_LENGTH:
        raise refuse(f"its name is longer than {MAX_NAME_LENGTH} characters")
    if not digest and tag is None:
        tag = "latest"
    return Reference(registry, repository, tag, digest or None)
