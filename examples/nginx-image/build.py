"""Make a container image of nginx from the distribution's own packages, as an OCI image layout.

In: a folder for the layout (and, beside it, one for the downloaded packages). Out: that layout,
tagged `stable`, with two layers: the packages' files, and the site in `site/`. Needs apt and no
root. There is no shell in the image, nor anything else that nginx does not need.

Formats: OCI image spec, image-layout.md, manifest.md, config.md and layer.md.
"""

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ["nginx", "nginx-common", "base-files", "base-passwd", "netbase"]
SITE = Path(__file__).with_name("site")
LEFT_OUT = (
    "etc/default", "etc/init.d", "etc/logrotate.d", "etc/ufw", "etc/update-motd.d", "lib/systemd",
    "usr/lib/systemd", "usr/share/apport", "usr/share/bug", "usr/share/doc", "usr/share/lintian",
    "usr/share/locale", "usr/share/man", "usr/share/vim", "usr/lib/x86_64-linux-gnu/gconv",
)  # fmt: skip


def main(layout: Path) -> None:
    cache = layout.with_name("packages")
    cache.mkdir(parents=True, exist_ok=True)
    archives = download([*PACKAGES, *libraries("nginx")], cache)
    layers = [pack(package_files(archives)), pack(site_files())]
    write_layout(layout, layers)


def libraries(package: str) -> list[str]:
    """The libraries that a package needs, and those that these need; their names differ by release."""
    found: set[str] = set()
    newest = {package}
    while newest:
        lines = (line.strip() for line in output("apt-cache", "depends", "--important", *newest).splitlines())
        needed = {line.removeprefix("Depends: ") for line in lines if line.startswith("Depends: ")}
        newest = {name for name in needed if name.startswith(("lib", "zlib"))} - found
        found |= newest
    return sorted(found)


def download(packages: list[str], folder: Path) -> list[Path]:
    """The packages' archives, downloaded unless the same version is there already."""
    archives = []
    for line in output("apt-get", "download", "--print-uris", *packages).splitlines():
        archives.append(folder / line.split()[1])
    if not all(archive.exists() for archive in archives):
        # Sandboxing as user _apt fails, harmlessly but loudly, in a folder that only root can enter.
        argv = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *packages]
        subprocess.run(argv, cwd=folder, check=True)
    return sorted(archives)


def package_files(archives: list[Path]) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(output_bytes("dpkg-deb", "--fsys-tarfile", archive))) as tar:
            for member in tar:
                member.name = member.name.removeprefix("./").rstrip("/")
                file = tar.extractfile(member) if member.isfile() else None
                data = file.read() if file else b""
                if member.islnk():
                    member.linkname = member.linkname.removeprefix("./")
                if member.name in ("", ".") or member.name.startswith(LEFT_OUT):
                    continue
                yield member, data
                # What base-passwd's installation script would do.
                if member.name in (f"usr/share/base-passwd/{name}.master" for name in ("passwd", "group")):
                    copy = tarfile.TarInfo(f"etc/{Path(member.name).stem}")
                    copy.size, copy.mode, copy.mtime = member.size, 0o644, member.mtime
                    yield copy, data


def site_files() -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for path in SITE.rglob("*"):
        if path.is_file():
            member = tarfile.TarInfo(str(path.relative_to(SITE)))
            member.size, member.mode = path.stat().st_size, 0o644
            yield member, path.read_bytes()


def pack(files: Iterator[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A layer: the same files give the same bytes, in whatever order and by whomever they come."""
    members: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
    for member, data in files:
        members.setdefault(member.name, (member, data))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for _, (member, data) in sorted(members.items()):
            member.pax_headers = {}
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def write_layout(layout: Path, layers: list[bytes]) -> None:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{digest}",
            "size": len(data),
        }

    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/sbin/nginx"],
            "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": "SIGQUIT",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [
            blob(gzip.compress(layer, compresslevel=6, mtime=0), "layer.v1.tar+gzip") for layer in layers
        ],
    }
    described = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": "stable"}
    index = {"schemaVersion": 2, "manifests": [described]}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps(index))


def output_bytes(*argv: str | Path) -> bytes:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout


def output(*argv: str) -> str:
    return output_bytes(*argv).decode()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute())
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: failed: {' '.join(map(str, error.cmd))}\n\nhint: sudo apt-get update, then again")
