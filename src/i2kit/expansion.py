"""`$(NAME)` in a container's words, as Kubernetes has it. Pure.

Source: Kubernetes, third_party/forked/golang/expansion.
"""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is a `$` that starts nothing, and unknown names stay as written."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)
