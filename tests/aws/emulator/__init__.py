"""AWS on loopback for tests: moto's server, with what it gets wrong set right.

In: nothing. Out: the address of a server that answers as AWS does, as far as README.md here says.
One module per service holds its corrections; each has `install()`, which changes moto's classes in
the server's process, and, where it keeps state of its own, `reset()`. Needs no network.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[3]

ENVIRONMENT = {
    # Without these, moto starts instances of images, types and key pairs that do not exist.
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
    "MOTO_ENABLE_KEYPAIR_VALIDATION": "1",
    # AWS has no image of ours before we made one; the defaults only cost time at start.
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}


class Emulator:
    """A running server and the levers that only tests have."""

    def __init__(self, url: str) -> None:
        self.url = url

    def control(self, what: str, **words: object) -> Any:
        """Pull a lever of `control.py`."""
        request = urllib.request.Request(f"{self.url}/emulator/{what}", json.dumps(words).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def reset(self) -> None:
        """Forget everything, as after a start."""
        self.control("reset")


@contextmanager
def running(*, corrected: bool = True, environ: Mapping[str, str] = os.environ) -> Iterator[Emulator]:
    """A server on a free port of loopback. It ends with this process, however that ends.

    Without corrections it is moto's own, for tests of whether they are needed still.
    """
    with subprocess.Popen(
        [sys.executable, "-m", __name__, *([] if corrected else ["--as-is"])],
        cwd=PROJECT,
        env={"PATH": environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin and server.stdout
        port = server.stdout.readline().strip()
        assert port, "the emulator did not start; what it said is above"
        yield Emulator(f"http://127.0.0.1:{port}")
        # The server ends at the end of its input: so it does when this process is killed.
        server.stdin.close()
