"""Two machines that differ in all that must not matter write the same bytes, in every form.

Both have the distribution's packages and the application's image; the base is made anew by each.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from i2kit.events import ignore
from i2kit.image import base
from i2kit.image.base import lock
from i2kit.image.store import Store
from i2kit.model import FORMATS
from tests.image.pods import write_app

pytestmark = pytest.mark.vm

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "IMAGE", env: [{name: A, value: b}], ports: [{containerPort: 80}]}
      - {name: other, image: "IMAGE", args: [x], resources: {limits: {memory: 64Mi}}}
"""
NOBODY = 65534
AS_NOBODY = (
    "setpriv",
    *(f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    # To read the interpreter and this project wherever they are; what it writes is its own.
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)
LATER = ("faketime", "-f", "+400d")


@dataclass(frozen=True, slots=True)
class Builder:
    """A machine that builds: where, as whom and in which environment."""

    folder: Path
    environ: Mapping[str, str]
    umask: int
    prefix: tuple[str, ...] = ()

    def build(self, form: str) -> dict[str, str]:
        """The SHA-256 of each file that `i2kit build --format FORM` writes, and the image's id."""
        out = self.folder / "out" / form
        command = [sys.executable, "-m", "i2kit", "build", "-f", "web.yml", "--format", form, "-o", str(out)]
        done = subprocess.run(
            [*self.prefix, *command, "--locked", "--output", "json"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "I2KIT_STORE_DIR": str(self.folder / "store"), **self.environ},
            umask=self.umask,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found = {
            str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in out.rglob("*")
            if path.is_file()
        }
        return {**found, "id": json.loads(done.stdout)["id"]}


@pytest.fixture(scope="module")
def builders(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Builder, Builder]]:
    # The store that the tests with virtual machines keep: packages are fetched once.
    fetched = Store(pytestconfig.cache.mkdir("store"))
    lock_file = tmp_path_factory.mktemp("lock") / "i2kit.lock"
    base.ensure(store=fetched, lock_file=lock_file, locked=False, watch=ignore)
    # Not below pytest's folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="i2kit-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        one = Builder(
            root / "one",
            {"HOME": "/", "TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
            0o022,
        )
        other = Builder(
            root / "another" / "déeper",
            {
                "HOME": str(root / "home"),
                "TZ": "Asia/Tokyo",
                "LC_ALL": "C.UTF-8",
                "PYTHONHASHSEED": "2",
                "SOURCE_DATE_EPOCH": "1234567890",
                "XDG_CONFIG_HOME": str(root / "config"),
                "TMPDIR": str(root / "another"),
            },
            0o077,
            tuple(word for prefix in (AS_NOBODY, LATER) if works(prefix) for word in prefix),
        )
        for builder in (one, other):
            furnish(builder, fetched, lock_file)
        yield one, other


def works(prefix: tuple[str, ...]) -> bool:
    """Whether this machine and user can run programs so."""
    return (
        shutil.which(prefix[0]) is not None
        and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    )


def furnish(builder: Builder, fetched: Store, lock_file: Path) -> None:
    """Give it the packages that the lock file names, as files that were downloaded, and an application."""
    folder = builder.folder
    folder.mkdir(parents=True)
    recorded = lock.read(lock_file)
    assert recorded is not None
    store = Store(folder / "store")
    for package in recorded.packages:
        blob = fetched.blob(package.digest)
        assert blob
        store.add_blob([blob.read_bytes()], package.digest)
    lock.write(folder / "i2kit.lock", replace(recorded, kernel=None))
    (folder / "web.yml").write_text(MANIFEST.replace("IMAGE", write_app(folder, user="web")))
    if builder.prefix[: len(AS_NOBODY)] == AS_NOBODY:
        for path in (folder.parent, folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes(builders: tuple[Builder, Builder], form: str) -> None:
    one, other = (builder.build(form) for builder in builders)
    assert len(one) > 1
    assert one == other


def test_the_machines_are_not_the_same(builders: tuple[Builder, Builder]) -> None:
    """What the other test rests on: the two did not share what they built."""
    one, other = (builder.folder / "store" for builder in builders)
    found = [{path.stat().st_ino for path in store.rglob("*") if path.is_file()} for store in (one, other)]
    assert found[0] and found[1]
    assert not found[0] & found[1]
