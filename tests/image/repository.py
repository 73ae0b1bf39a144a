"""A package repository in a folder, read by the real apt: what a distribution has, and has no more."""

import hashlib
import shutil
import ssl
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from i2kit.image import base
from i2kit.image.base import boot
from i2kit.image.base.components import LOADERS
from i2kit.image.base.packages import distribution
from i2kit.model import Architecture
from i2kit.process import run
from tests.image import elves, programs

RELEASE = "6.1.0-1-test"


class Repository:
    """`add` and `remove` packages, then `publish`; the system's lists are as of the last `update`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.pool = root / "pool"
        self.pool.mkdir(parents=True)
        for name in ("lists/partial", "etc"):
            (root / name).mkdir(parents=True)
        (root / "sources.list").write_text(f"deb [trusted=yes] copy:{self.pool} ./\n")
        (root / "apt.conf").write_text(
            f'Dir::State::lists "{root}/lists/";\n'
            f'Dir::Etc::sourcelist "{root}/sources.list";\n'
            f'Dir::Etc::sourceparts "{root}/etc";\n'
            f'Dir::Etc::preferences "{root}/none";\nDir::Etc::preferencesparts "{root}/etc";\n'
            f'Dir::Cache "{root}/cache";\nAPT::Sandbox::User "root";\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))

    def add(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes],
        depends: str = "",
        architecture: Architecture = "amd64",
    ) -> None:
        """A package of this version, instead of any other of this name and architecture."""
        self.remove(name, architecture)
        folder = self.root / "build"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
        control += "Maintainer: x <x@localhost>\n"
        control += (f"Depends: {depends}\n" if depends else "") + "Description: x\n"
        for path, content in {"DEBIAN/control": control.encode(), **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        target = self.pool / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, target],
            env={"SOURCE_DATE_EPOCH": "0"},
        )
        shutil.rmtree(folder)

    def remove(self, name: str, architecture: Architecture = "amd64") -> None:
        for old in self.pool.glob(f"{name}_*_{architecture}.deb"):
            old.unlink()

    def publish(self) -> None:
        """Write the repository's index."""
        paragraphs = []
        for file in sorted(self.pool.glob("*.deb")):
            content = file.read_bytes()
            control = run(["dpkg-deb", "--field", file]).text
            hashed = hashlib.sha256(content).hexdigest()
            paragraphs.append(f"{control}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashed}\n")
        (self.pool / "Packages").write_text("\n".join(paragraphs))

    def update(self) -> None:
        """What the administrator does: the system's lists become the repository's index."""
        run(["apt-get", "-qq", "update"])


def base_packages(repository: Repository, version: str = "1", architecture: Architecture = "amd64") -> None:
    """All that the base is made of, small; the C library is in a package that nothing names directly."""
    add = partial(repository.add, architecture=architecture)
    image = base.kernel_package(distribution(architecture=architecture))
    modules = {
        "virtio_pci": ["virtio"],
        "virtio": [],
        "virtio_blk": ["virtio"],
        "erofs": ["libcrc32c"],
        "libcrc32c": [],
        "nvme": ["nvme_core"],
        "nvme_core": [],
        "virtio_net": ["net_failover"],
        "net_failover": [],
        "sound": [],
    }
    vmlinux = elves.make({".text": version.encode()}, elves.PVH_NOTE)
    loader = LOADERS[architecture]
    kernel = elves.bzimage(vmlinux) if architecture == "amd64" else programs.arm64_kernel(version.encode())
    add(image, version, {}, f"linux-image-{RELEASE} (= {version})")
    add(
        f"linux-image-{RELEASE}",
        version,
        {
            f"boot/vmlinuz-{RELEASE}": kernel,
            **{
                f"lib/modules/{RELEASE}/kernel/{name}.ko": elves.module(needs)
                for name, needs in modules.items()
            },
        },
        "initramfs-tools | linux-initramfs-tool",
    )
    add("busybox-static", version, {"bin/busybox": b"busybox"})
    add("luajit", version, {"usr/bin/luajit": elves.library(["libc.so.6"])}, "libc6")
    add("libbearssl0", version, {"usr/lib/libbearssl.so.0": elves.library(["libc.so.6"])}, "libc6")
    certificates = {name: ssl.DER_cert_to_PEM_cert(name.encode()).encode() for name in base.ROOTS}
    folder = "usr/share/ca-certificates/mozilla"
    add("ca-certificates", version, {f"{folder}/{name}.crt": text for name, text in certificates.items()})
    add(
        "crun",
        version,
        {"usr/bin/crun": elves.library(["libsystemd.so.0", "libc.so.6"])},
        "libsystemd0 (>= 1), libunused1, perl",
    )
    add("systemd-boot-efi", version, {f"usr/lib/systemd/boot/efi/{boot.STUB_FILES[architecture]}": b"stub"})
    if architecture == "amd64":
        grub = {"boot.img": b"boot", "linux.mod": version.encode()}
        add(
            "grub-pc-bin",
            version,
            {f"usr/lib/grub/i386-pc/{name}": content for name, content in grub.items()},
        )
        add("grub-common", version, {"usr/bin/grub-mkimage": elves.library(["libc.so.6"])}, "libc6")
    ext4 = {f"sbin/{name}": elves.library(["libext2fs.so.2"]) for name in base.EXT4_PROGRAMS}
    add("e2fsprogs", version, ext4, "logsave, libext2fs2")
    add("libext2fs2", version, {"usr/lib/libext2fs.so.2": elves.library(["libc.so.6"])}, "libc6")
    add("libsystemd0", version, {"usr/lib/libsystemd.so.0": elves.library(["libc.so.6"])}, "libc6")
    add(
        "libc6",
        version,
        {
            "lib/libc.so.6": elves.library([PurePosixPath(loader).name]),
            loader: elves.library([]),
        },
    )
    add("libunused1", version, {"usr/lib/libunused.so.1": elves.library([])})
    repository.publish()
