"""The whole image stage on a small base: made once, the same everywhere, and errors with their place."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import pytest
import yaml

from i2kit.errors import InputError, OperationError, Position
from i2kit.events import Event, Finished, Started
from i2kit.image import base, build, output, render
from i2kit.image.store import Store
from i2kit.model import Container, Security, Workload
from tests.image.pods import MODULE, settings, small_base, with_small_base, write_app
from tests.image.test_filesystem import Reader

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _small_base() -> Iterator[None]:
    with with_small_base():
        yield


def pod(image: str, **fields: object) -> Workload:
    container = Container("web", image, position=Position("pod.yml", 4, 12))
    return Workload("pod", (replace(container, **fields),))  # type: ignore[arg-type]


def identity(path: Path) -> tuple[int, int, int]:
    """Equal as long as nobody writes to a file or replaces it; reading changes nothing."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_nlink


def test_a_machine_image(tmp_path: Path) -> None:
    image = build(pod(write_app(tmp_path, user="web")), settings=settings(tmp_path))
    assert image.kernel.read_bytes() == b"\x7fELF"
    assert image.cmdline == "quiet"
    assert image.memory_floor_bytes == 96 << 20
    assert not image.cached
    ((name, pinned),) = image.containers
    assert (name, pinned.partition("@")[0]) == ("web", "localhost/app")
    initrd = image.initrd.read_bytes()
    assert all(path.encode() + b"\0" in initrd for path in ("init", "bin/busybox", MODULE))
    assert image.root
    root = Reader(image.root).tree()
    assert root["bin/busybox"].data == b"busybox 1"
    app = root["containers/services/web/lower/bin/app"]
    assert app.data == b"app" * 5000
    assert app.xattrs == (("security.capability", b"cap"),)
    assert b'"additionalGids": [\n                7\n' in root["containers/services/web/config.json"].data


def test_the_name_of_an_images_folder_is_no_part_of_the_machine(tmp_path: Path) -> None:
    reference = write_app(tmp_path)
    shutil.copytree(tmp_path / "app", tmp_path / "copy")
    one = build(pod(reference), settings=settings(tmp_path / "1"))
    other = build(pod(f"oci:{tmp_path / 'copy'}"), settings=settings(tmp_path / "2"))
    assert one.id == other.id
    assert [name.partition("@")[0] for _, name in other.containers] == ["localhost/copy"]


def test_render_pins_images_and_resolves_the_user(tmp_path: Path) -> None:
    text = render(pod(write_app(tmp_path, user="web")), settings=settings(tmp_path))
    document = yaml.safe_load(text)
    assert document["kernel"]["image"].startswith("i2kit/kernel@sha256:")
    (service,) = document["services"]
    assert service["image"].startswith("localhost/app@sha256:")
    assert (service["uid"], service["gid"], service["additionalGids"]) == (101, 102, [7])


def test_an_image_does_not_say_how_it_is_run_by_linuxkits_label(tmp_path: Path) -> None:
    said = {
        "capabilities": ["all"],
        "devices": [{"path": "all", "type": "b"}],
        "net": "new",
        "oomScoreAdj": -1000,
        "readonly": True,
        "runtime": {"mkdir": ["/evil"], "mounts": [{"type": "bind", "source": "/", "destination": "/evil"}]},
    }
    label = {"org.mobyproject.config": json.dumps(said)}
    plain = build(pod(write_app(tmp_path / "plain")), settings=settings(tmp_path))
    labelled = pod(write_app(tmp_path / "labelled", labels=label))
    other = build(labelled, settings=settings(tmp_path))
    assert plain.root and other.root
    one, two = (Reader(root).tree() for root in (plain.root, other.root))
    for name in ("config.json", "runtime.json"):
        assert two[f"containers/services/web/{name}"].data == one[f"containers/services/web/{name}"].data
    with pytest.raises(InputError, match=r"says by its label .* how it is run"):
        output(labelled, "kernel+root", settings=settings(tmp_path), builder="linuxkit")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("", "its image names no USER"),
        ("root", "USER of its image is `root`, and that is root"),
        ("0:7", "USER of its image is `0:7`, and that is root"),
        ("web", ""),
        ("101", ""),
    ],
)
def test_a_container_that_must_not_be_root(tmp_path: Path, user: str, said: str) -> None:
    """Also where the same image was built before for a pod that may be root."""
    free = pod(write_app(tmp_path, user=user))
    strict = Security(non_root=True, position=Position("a.yml", 3, 4))
    bound = replace(free, containers=(replace(free.containers[0], security=strict),))
    first = build(free, settings=settings(tmp_path))
    if not said:
        build(bound, settings=settings(tmp_path))
        return
    with pytest.raises(InputError) as raised:
        build(bound, settings=settings(tmp_path))
    assert [str(problem) for problem in raised.value.problems] == [
        f"a.yml:3:4: container `web` must not run as root (runAsNonRoot), but {said}\n"
        "  hint: give it runAsUser, such as 1000, or an image with another USER"
    ]
    other = replace(bound.containers[0], security=replace(strict, user=5))
    assert build(replace(free, containers=(other,)), settings=settings(tmp_path)).id != first.id


def test_the_second_build_does_nothing(tmp_path: Path) -> None:
    workload = pod(write_app(tmp_path))
    first = build(workload, settings=settings(tmp_path))
    made = {path: identity(path) for path in (tmp_path / "store").rglob("*") if path.is_file()}
    events: list[Event] = []
    second = build(
        replace(workload, name="other", replicas=9), settings=settings(tmp_path), watch=events.append
    )
    assert second == first
    assert second.cached
    assert events[-2:] == [
        Started("build default/other", "machine image of other"),
        Finished("build default/other", "cached"),
    ]
    assert {path: identity(path) for path in made} == made


def test_what_changes_an_image(tmp_path: Path) -> None:
    reference = write_app(tmp_path)
    ids = {
        build(workload, settings=settings(tmp_path)).id
        for workload in (
            pod(reference),
            pod(reference, name="other"),
            pod(reference, args=("--verbose",)),
            pod(reference, env=(("A", "b"),)),
        )
    }
    assert len(ids) == 4
    with patch.object(base, "ensure", lambda **given: small_base(**given, version=b"2")):
        assert build(pod(reference), settings=settings(tmp_path)).id not in ids


def test_same_bytes_in_any_folder_umask_locale_and_time(tmp_path: Path) -> None:
    ids = []
    for name, umask, environ in (
        ("one", 0o022, {"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "1"}),
        ("two/deeper", 0o077, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"}),
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-m", "tests.image.pods", folder],
            cwd=REPOSITORY,
            env={**os.environ, **environ, "HOME": str(folder)},
            umask=umask,
            capture_output=True,
            text=True,
            check=True,
        )
        ids.append(done.stdout.strip())
    assert ids[0] == ids[1]
    assert len(ids[0]) == 64


def test_builds_of_the_same_at_the_same_time_do_the_work_once(tmp_path: Path) -> None:
    workload = pod(write_app(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda _: build(workload, settings=settings(tmp_path)), range(4)))
    assert len({image.id for image in images}) == 1
    assert sorted(image.cached for image in images) == [False, True, True, True]


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    reference = write_app(tmp_path)
    with (
        patch(
            "i2kit.image.machine.write_erofs", side_effect=OSError(errno.ENOSPC, "No space left on device")
        ),
        pytest.raises(
            OperationError, match=r"machine image of default/pod: No space left on device\n.*make room"
        ),
    ):
        build(pod(reference), settings=settings(tmp_path))
    store = tmp_path / "store"
    assert not [*(store / "machine-images").iterdir(), *(store / "builds").iterdir()]
    assert not [path for path in (store / "scratch").iterdir() if path.is_dir()]
    assert not build(pod(reference), settings=settings(tmp_path)).cached


def test_a_lost_file_is_built_again(tmp_path: Path) -> None:
    workload = pod(write_app(tmp_path))
    first = build(workload, settings=settings(tmp_path))
    assert first.root
    first.root.unlink()
    second = build(workload, settings=settings(tmp_path))
    assert not second.cached
    assert second.id == first.id
    assert second.root and second.root.is_file()


@pytest.fixture
def empty_registry() -> Iterator[str]:
    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}' if "manifests" in self.path else b"{}"
            self.send_response(404 if "manifests" in self.path else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_image_that_cannot_be_used_is_told_with_its_place(tmp_path: Path, empty_registry: str) -> None:
    containers = tuple(
        Container(f"c{line}", image, position=Position("pod.yml", line, 12))
        for line, image in enumerate((f"{empty_registry}/app:1", write_app(tmp_path), "UPPER:1"), start=4)
    )
    with pytest.raises(InputError) as raised:
        build(Workload("pod", containers), settings=settings(tmp_path))
    missing, malformed = raised.value.problems
    assert (str(missing.position), str(malformed.position)) == ("pod.yml:4:12", "pod.yml:6:12")
    assert f"{empty_registry}/app:1" in missing.message
    assert "`UPPER:1`" in malformed.message


def test_nothing_to_run_is_told_before_the_base_is_fetched(tmp_path: Path) -> None:
    workload = pod(write_app(tmp_path, command=()))
    with (
        patch.object(base, "ensure", side_effect=AssertionError("too late")),
        pytest.raises(InputError, match=r"pod\.yml:4:12: container `web` has nothing to run"),
    ):
        build(workload, settings=settings(tmp_path))


def test_an_unknown_user_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pod\.yml:4:12: .*nobody-here"):
        build(pod(write_app(tmp_path, user="nobody-here")), settings=settings(tmp_path))


def test_erofs_utils_accept_the_root(tmp_path: Path) -> None:
    if shutil.which("fsck.erofs") is None:
        pytest.skip("fsck.erofs is not installed")
    image = build(pod(write_app(tmp_path)), settings=settings(tmp_path))
    subprocess.run(["fsck.erofs", str(image.root)], check=True, capture_output=True)
    assert Store(tmp_path / "store").machine_image_by_id(image.id) == image
