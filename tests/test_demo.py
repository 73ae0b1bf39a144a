"""`make demo` from nothing to nothing: packages, a registry, three machines, and all gone again."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
I2KIT = ROOT / ".venv/bin/i2kit"

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(not I2KIT.exists(), reason="`make setup` has not been run: the demo uses .venv"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def running() -> Iterator[str]:
    """The command lines of all processes."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            yield file.read_text(errors="replace").replace("\0", " ")


def test_the_demo_runs_and_cleans_up() -> None:
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="i2kit-demo-") as name:
        folder = Path(name)
        environ = {
            **os.environ,
            "XDG_STATE_HOME": str(folder),
            "I2KIT_STATE_DIR": str(folder / "state"),
            "I2KIT_RUN_DIR": str(folder / "run"),
            "I2KIT_LOCK_FILE": str(folder / "i2kit.lock"),
            "REGISTRY_PORT": str(free_port()),
        }

        def demo(*arguments: str) -> str:
            done = subprocess.run(
                [ROOT / "examples/demo.sh", *arguments],
                env=environ,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            assert done.returncode == 0, done.stdout
            return done.stdout

        try:
            said = demo()
            answers = said.split("Three virtual machines behind one address")[1].split("i2kit status")[0]
            assert len({line for line in answers.splitlines() if line.startswith("nginx-deployment-")}) == 3
            assert "3/3" in said, said
            assert "default/nginx-deployment: nothing to change" in said, said
        finally:
            demo("stop")
        status = subprocess.run([I2KIT, "status"], env=environ, capture_output=True, text=True, check=True)
        assert (status.stdout, status.stderr) == ("", "nothing runs\n")
        assert not (folder / "i2kit-demo").exists()
        assert [words for words in running() if name in words] == []
