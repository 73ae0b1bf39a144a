"""A base and an application image small enough to build with in milliseconds.

As a program, `python -m tests.image.pods FOLDER` builds the pod with a store in FOLDER and prints
the machine image's id.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from i2kit.events import Watcher
from i2kit.image import base, sources
from i2kit.image.machine import build
from i2kit.image.store import Store
from i2kit.image.template import Base
from i2kit.model import Architecture, Container, Workload
from i2kit.settings import Settings
from tests.image.tars import entry, tar_bytes, write_tar

MODULE = "lib/modules/6.1/erofs.ko"


def settings(folder: Path, images: tuple[Path, ...] = ()) -> Settings:
    return Settings(folder / "state", folder / "run", folder / "store", folder / "i2kit.lock", images=images)


def small_base(
    *,
    store: Store,
    lock_file: Path,
    locked: bool,
    watch: Watcher,
    architecture: Architecture = "amd64",
    version: bytes = b"1",
) -> Base:
    """Stands for `base.ensure`: the same images everywhere, without the distribution's packages."""
    modules = tar_bytes(
        [
            entry(MODULE, b"module"),
            entry("usr/lib/i2kit/initramfs.list", f"bin/busybox\n{MODULE}\n".encode()),
        ]
    )
    with store.scratch() as folder:
        images = {
            "kernel": write_tar(folder / "kernel", entry("kernel", b"\x7fELF"), entry("kernel.tar", modules)),
            "init": write_tar(
                folder / "init",
                entry("bin/busybox", b"busybox " + version, mode=0o755),
                entry("usr/lib/i2kit/initramfs-init", b"#!/bin/busybox sh\n", mode=0o755),
            ),
        }
        pinned = {
            name: sources.add_local_image(store, [path], {}, name, platform=f"linux/{architecture}").pinned
            for name, path in images.items()
        }
    return Base(
        pinned["kernel"],
        (pinned["init"],),
        "quiet",
        96 << 20,
        "i2kit/boot@sha256:" + "0" * 64,
        pinned["init"],
    )


@contextmanager
def with_small_base() -> Iterator[None]:
    with patch.object(base, "ensure", small_base):
        yield


def write_app(
    folder: Path,
    *,
    user: str = "",
    command: tuple[str, ...] = ("/bin/app",),
    labels: Mapping[str, str] | None = None,
) -> str:
    """Write an OCI layout with one image; returns the reference to it."""
    blobs = folder / "app" / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layer = tar_bytes(
        [
            entry("bin/", mode=0o755),
            entry("bin/app", b"app" * 5000, mode=0o755, pax={"SCHILY.xattr.security.capability": "cap"}),
            entry("etc/passwd", b"root:x:0:0::/:\nweb:x:101:102::/:\n"),
            entry("etc/group", b"root:x:0:\nweb:x:102:\nlogs:x:7:web\n"),
        ]
    )
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": list(command), "User": user, "Env": ["PATH=/bin"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [put(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    index = [put(json.dumps(manifest).encode(), str(manifest["mediaType"]))]
    (folder / "app" / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "app" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": index}))
    return f"oci:{folder / 'app'}"


def main(folder: Path) -> None:
    workload = Workload("web", (Container("web", write_app(folder, user="web")),))
    with with_small_base():
        print(build(workload, settings=settings(folder)).id)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
