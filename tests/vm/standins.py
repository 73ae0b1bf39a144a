"""Images that stand in for those that manifests name: small web servers that show what their pod was given.

On each of its ports a stand-in answers `/` with the name of its machine, `/cgi-bin/env` with its variables,
`/cgi-bin/cat?PATH` with a file, `/cgi-bin/get?HOST:PORT/PATH` with what another one answers, and
`/cgi-bin/add?PATH` with the number of times that this was asked, which it keeps in a file there. The programs
that a manifest calls in such images are there too, and do nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from i2kit.image import sources
from i2kit.image.base import components
from i2kit.image.base.components import File
from i2kit.image.store import Store
from i2kit.image.template import Base

SERVE = """#!/bin/sh
# Answers on these ports until it is asked to end.
for port in "$@"; do httpd -f -p "$port" -h /www & done
trap 'kill $(jobs -p); exit 0' TERM INT
echo "stands in on ${*:-no port}"
sleep 100000 &
wait
"""
SCRIPTS = {
    "env": "env",
    "cat": 'cat "$QUERY_STRING"',
    "get": 'timeout 5 wget -q -O - "http://$QUERY_STRING" 2>&1',
    "add": 'f=$QUERY_STRING; n=$(cat "$f"); echo $((n + 1)) >"$f" && sync && cat "$f"',
}


@dataclass(frozen=True, slots=True)
class StandIn:
    """What listens on `ports`, has `programs` that end with 0 at once, and answers these `paths` with 200."""

    ports: tuple[int, ...] = ()
    programs: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    start: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Programs that manifests start it by, and the ports that they listen on."""


def write(folder: Path, images: Mapping[str, StandIn], store: Store, base: Base) -> Path:
    """An OCI layout that has an image of every name (OCI image spec, image-layout.md)."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    busybox = next(image for image in base.init if "/busybox@" in image)
    resolved = sources.resolve(busybox, store=store)
    below = [path.read_bytes() for path in sources.pull(resolved, store=store)]
    entries = []
    for name, one in images.items():
        layers = [*below, components.tar(files(one))]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/serve", *map(str, one.ports)],
                "Env": ["PATH=/bin:/usr/bin"],
                "ExposedPorts": {f"{port}/tcp": {} for port in one.ports},
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
            "layers": [put(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
        }
        entry = put(json.dumps(manifest).encode(), str(manifest["mediaType"]))
        entries.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


def files(one: StandIn) -> dict[str, File]:
    """What the image has beside busybox."""
    answers = {f"www{path}": File(b"ok\n") for path in one.paths}
    programs = {program.lstrip("/"): File(b"#!/bin/sh\n", mode=0o755) for program in one.programs}
    starts = {
        program.lstrip("/"): File(f"#!/bin/sh\nexec serve {' '.join(map(str, ports))}\n".encode(), mode=0o755)
        for program, ports in one.start.items()
    }
    scripts = {
        f"www/cgi-bin/{name}": File(
            f"#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\n{script}\n".encode(), mode=0o755
        )
        for name, script in {**SCRIPTS, "index.cgi": "hostname"}.items()
    }
    return {
        **scripts,
        **answers,
        **programs,
        **starts,
        "bin/serve": File(SERVE.encode(), mode=0o755),
        "tmp/": File(mode=0o1777),
        "etc/passwd": File(b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"),
        "etc/group": File(b"root:x:0:\napp:x:1000:\n"),
    }
