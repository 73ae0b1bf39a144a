"""Small words that all values share, and those that stand in for what only a machine knows. Pure."""

from typing import Literal
from urllib.parse import quote

Pairs = tuple[tuple[str, str], ...]
"""An ordered mapping of strings, as a value."""

Architecture = Literal["amd64", "arm64"]
"""As OCI and Debian name them."""


FIELD = "$(i2kit:"
"""What the word for a field of the pod begins with: no variable can have such a name."""


def field_word(path: str) -> str:
    """What stands in a container's words for a field of its pod, such as `status.podIP`.

    Each machine puts the value there when it starts, so the image is the same for all.
    """
    return f"{FIELD}{_one_word(path)})"


def told_facts(facts: Pairs) -> list[str]:
    """The values of fields as lines of user data; any text is one word."""
    return [f"fact={_one_word(path)}={_one_word(value)}" for path, value in facts]


def spoken(key: str) -> str:
    """What a deployment of this key is called on the command line: its namespace only where it is another."""
    return key.removeprefix("default/")


SECRET = "secret/"  # noqa: S105 (the beginning of a name)
"""What the path of a field begins with whose value is a secret's: `secret/NAME/KEY`."""


def secret_field(secret: str, key: str) -> str:
    """The path by which a container's words and the guest call the value of a secret's key."""
    return f"{SECRET}{secret}/{key}"


def _one_word(text: str) -> str:
    """Each byte but letters, digits and `-_./` is `%XX`."""
    return quote(text.replace("\0", ""), safe="-_./")


Protocol = Literal["TCP", "UDP"]
