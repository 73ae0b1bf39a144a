"""The guest's Lua, run outside of a machine."""

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from i2kit.image import sources
from i2kit.image.base.components import AWS, AWS_FOLDER, LIBRARIES, LOADERS, LUA, LUA_FOLDER, WATCH_FOLDER
from i2kit.image.store import Store
from i2kit.image.template import Base


@dataclass(frozen=True, slots=True)
class Lua:
    """The guest's Lua and its modules, in a folder."""

    root: Path

    def run(self, script: str, *words: str, given: bytes = b"") -> bytes:
        """What a script prints. It finds the guest's modules, and `hex` and `unhex`."""
        loader, libraries = self.root / LOADERS["amd64"], self.root / LIBRARIES["amd64"]
        places = ";".join(f"{self.root / folder}/?.lua" for folder in (AWS_FOLDER, WATCH_FOLDER, LUA_FOLDER))
        head = (
            f'package.path = "{places}" '
            'function hex(t) return (t:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end '
            "function unhex(t) "
            'return (t:gsub("..", function(c) return string.char(tonumber(c, 16)) end)) end '
        )
        program = self.root / "script.lua"
        program.write_text(head + script)
        done = subprocess.run(
            [loader, "--library-path", libraries, self.root / "usr/bin/luajit", program, *words],
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def unpacked(store: Store, base: Base, root: Path) -> Lua:
    for name in (LUA, AWS, "watch"):
        reference = next(image for image in base.init if f"/{name}@" in image)
        resolved = sources.resolve(reference, store=store)
        (layer,) = sources.pull(resolved, store=store)
        with tarfile.open(layer) as archive:
            archive.extractall(root, filter="data")
    return Lua(root)
