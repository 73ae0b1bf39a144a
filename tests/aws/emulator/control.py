"""What stands before moto: the levers that tests have, under /emulator/.

`POST /emulator/reset` forgets everything.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from moto.moto_api._internal.models import moto_api_backend

from tests.aws.emulator import corrections

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], Any]


class Control:
    """A WSGI application around moto's."""

    def __init__(self, moto: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        self._moto = moto
        self._levers: Mapping[str, Callable[..., object]] = {"reset": self.reset}

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if not path.startswith("/emulator/"):
            return self._moto(environ, start)
        words = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}")
        answer = self._levers[path.removeprefix("/emulator/")](**words)
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def reset(self) -> None:
        moto_api_backend.reset()
        corrections.reset()
