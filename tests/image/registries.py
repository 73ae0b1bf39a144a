"""A real registry on loopback, images made in the test, and a proxy in front that makes trouble."""

import base64
import gzip
import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "deployer", "s3cret-password"
# bcrypt of PASSWORD, so that no htpasswd program is needed.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuUXKlvQTwfK/kphhjbeRlh5zvpJx1LLu\n"

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Image:
    """An image as blobs: everything a registry or a layout holds of it."""

    manifest: bytes
    blobs: dict[str, bytes]
    media_type: str = OCI_MANIFEST
    children: list["Image"] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def descriptor(self, **extra: object) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **extra}


def compressed(tar: bytes) -> bytes:
    return gzip.compress(tar, compresslevel=1, mtime=0)


def make_image(
    tars: Sequence[bytes],
    config: Mapping[str, object] | None = None,
    *,
    architecture: str = "amd64",
    compress: Callable[[bytes], bytes] = compressed,
    media_type: str = OCI_LAYER,
    changes: Mapping[str, object] | None = None,
) -> Image:
    """An OCI image of uncompressed layer tars; `changes` replace fields of the manifest."""
    blobs = [compress(tar) for tar in tars]
    config_blob = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config_blob), "size": len(config_blob)},
        "layers": [{"mediaType": media_type, "digest": digest_of(blob), "size": len(blob)} for blob in blobs],
    }
    return Image(
        json.dumps(manifest | dict(changes or {})).encode(),
        {digest_of(blob): blob for blob in [config_blob, *blobs]},
    )


def make_index(images: Mapping[str, Image]) -> Image:
    """An index of images by platform."""
    entries = []
    for platform, image in images.items():
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append(image.descriptor(platform=names))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Image(json.dumps(index).encode(), {}, OCI_INDEX, list(images.values()))


def write_layout(folder: Path, images: Mapping[str, Image]) -> Path:
    """An OCI layout; the keys are the images' names in it ("" for none)."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for name, image in images.items():
        annotations = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        entries.append(image.descriptor(**annotations))
        for part in [image, *image.children]:
            for content in [part.manifest, *part.blobs.values()]:
                (blobs / digest_of(content)[7:]).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    return folder


@dataclass
class RunningRegistry:
    """A docker-registry process; `host` is what image references begin with."""

    host: str
    authorization: str = ""

    def push(self, repository: str, tag: str, image: Image) -> None:
        """Upload an image (distribution spec, "Pushing")."""
        for child in image.children:
            self.push(repository, child.digest, child)
        for digest, content in image.blobs.items():
            status, headers = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
            assert status == 202, (status, headers)
            location = headers["Location"].partition(self.host)[2]
            mark = "&" if "?" in location else "?"
            status, _ = self._ask(
                "PUT", f"{location}{mark}digest={digest}", content, "application/octet-stream"
            )
            assert status == 201
        status, _ = self._ask("PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, image.media_type)
        assert status == 201

    def _ask(
        self, method: str, path: str, body: bytes = b"", content_type: str = ""
    ) -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        headers = {"Content-Type": content_type} if content_type else {}
        if self.authorization:
            headers["Authorization"] = self.authorization
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers


@contextmanager
def running_registry(folder: Path, *, login: bool = False) -> Iterator[RunningRegistry]:
    """Start Debian's docker-registry with its data in `folder`."""
    if not shutil.which("docker-registry"):
        pytest.fail("install the package docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host, "secret": "only-for-tests"},
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
        try:
            _wait_for(host, process, folder / "log")
            basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            yield RunningRegistry(host, basic if login else "")
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(host: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    name, _, port = host.partition(":")
    while process.poll() is None:
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"docker-registry ended: {log.read_text()}")


class Request(BaseHTTPRequestHandler):
    """One request to a Troublemaker: `answer` what the test decides, `forward` what the registry says."""

    server: "Troublemaker"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.recording:
            self.server.requests.append(self)
        self.close_connection = True
        if not self.server.trouble(self):
            self.forward()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> bool:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        return True

    def forward(self, *, without: str = "", at_most: int | None = None) -> bool:
        """Pass on what the registry answers; cut off after `at_most` bytes of the body."""
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        sent = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("host", "authorization", "connection", without.lower())
        }
        connection.request("GET", self.path, headers=sent)
        response = connection.getresponse()
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "date", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        body = response.read()
        self.wfile.write(body if at_most is None else body[:at_most])
        connection.close()
        return True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Troublemaker(ThreadingHTTPServer):
    """A proxy in front of a registry. `trouble(request)` answers itself and is true, or lets pass."""

    daemon_threads = True

    def __init__(self, upstream: str, trouble: Callable[[Request], bool] = lambda request: False) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.upstream = upstream
        self.trouble = trouble
        self.requests: list[Request] = []
        self.recording = threading.Lock()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def paths(self, part: str = "") -> list[str]:
        return [request.path for request in self.requests if part in request.path]

    def __enter__(self) -> "Troublemaker":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def docker_config(host: str, username: str = USER, password: str = PASSWORD, **entry: str) -> str:
    """The base64 of a docker config.json that knows one registry."""
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    return base64.b64encode(json.dumps({"auths": {host: {"auth": auth, **entry}}}).encode()).decode()
