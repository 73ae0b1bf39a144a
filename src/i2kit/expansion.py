"""`$(NAME)` in a container's words, as Kubernetes has it. Pure.

Source: Kubernetes, third_party/forked/golang/expansion.
"""

import re
from collections.abc import Callable, Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def as_written(name: str) -> str:
    return f"$({name})"


def expand(text: str, variables: Mapping[str, str], unknown: Callable[[str], str] = as_written) -> str:
    """Replace `$(NAME)`; `$$` is a `$` that starts nothing, and `unknown` names stay as written."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        known = variables.get(match[1])
        return unknown(match[1]) if known is None else known

    return _REFERENCE.sub(value, text)


MAX_WORD_BYTES = 2**17 - 1
"""What Linux takes as one argument, or as one variable with its name (MAX_ARG_STRLEN)."""

MAX_WORDS_BYTES = 2**21
"""What it takes of all together (ARG_MAX)."""


def size(text: str, sizes: Mapping[str, int]) -> int:
    """How many bytes `expand` would make, by those of the variables, without making them; at most 2^62.

    Variables made of variables can grow with each, so that no memory holds them.
    """
    total = len(_REFERENCE.sub("", text).encode(errors="replace"))
    for match in _REFERENCE.finditer(text):
        name = match[1]
        known = None if name is None else sizes.get(name)
        total += 1 if name is None else len(match[0].encode(errors="replace")) if known is None else known
    return min(total, 2**62)
