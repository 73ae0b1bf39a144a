"""The store: what has a name is complete, whatever happens meanwhile."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from i2kit.errors import OperationError
from i2kit.events import Event, Note
from i2kit.image.store import Store, WrongContent

CONTENT = b"content" * 1000
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def leftovers(store: Store) -> list[str]:
    return sorted(
        str(path.relative_to(store.root))
        for name in ("blobs", "partial", "machine-images", "builds", "scratch", "locks")
        for path in (store.root / name).rglob("*")
        if path.is_file()
    )


def in_another_process(script: str, *arguments: str, wait: bool = True) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if wait:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    return process


def test_the_store_is_private(store: Store) -> None:
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_a_blob_is_found_by_its_digest(store: Store) -> None:
    assert store.blob(DIGEST) is None
    path = store.add_blob([CONTENT[:10], CONTENT[10:]], DIGEST, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert store.blob(DIGEST) == path
    assert store.add_bytes(CONTENT) == DIGEST
    assert leftovers(store) == [f"blobs/sha256/{DIGEST[7:]}"]


@pytest.mark.parametrize(
    ("content", "size"), [(CONTENT + b"x", len(CONTENT)), (CONTENT[1:], len(CONTENT)), (CONTENT[1:], None)]
)
def test_wrong_content_is_not_stored(store: Store, content: bytes, size: int | None) -> None:
    with pytest.raises(WrongContent):
        store.add_blob([content], DIGEST, size)
    assert leftovers(store) == []


@pytest.mark.parametrize(
    "digest", ["sha256:../../../etc/passwd", "sha256:", "md5:" + "0" * 32, DIGEST + "\n", ""]
)
def test_only_digests_become_file_names(store: Store, digest: str) -> None:
    with pytest.raises(OperationError, match="not a digest"):
        store.blob(digest)


def test_an_interrupted_blob_is_continued(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.incoming(DIGEST, len(CONTENT)) as incoming:
        incoming.write(CONTENT[:100])
        raise KeyboardInterrupt
    assert store.blob(DIGEST) is None
    assert store.partial(DIGEST).read_bytes() == CONTENT[:100]
    with store.incoming(DIGEST, len(CONTENT)) as incoming:
        assert (incoming.offset, incoming.resumed) == (100, True)
        incoming.write(CONTENT[100:])
    assert leftovers(store) == [f"blobs/sha256/{DIGEST[7:]}"]


def test_adding_a_blob_does_not_trust_what_is_partly_there(store: Store) -> None:
    store.partial(DIGEST).write_bytes(b"damaged by a crash")
    assert store.add_blob([CONTENT], DIGEST).read_bytes() == CONTENT


def test_a_small_blob_that_the_disk_damaged_is_dropped(store: Store) -> None:
    path = store.add_blob([CONTENT], DIGEST)
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    assert store.read_blob(DIGEST) is None
    assert store.blob(DIGEST) is None


def test_scratch_folders_end_with_their_use(store: Store) -> None:
    with store.scratch() as folder, store.scratch() as other:
        assert folder != other
        (folder / "tree").mkdir()
        (folder / "tree/file").write_bytes(b"x")
        (folder / "tree").chmod(0)
    assert leftovers(store) == [] and not folder.exists()


def test_scratch_folders_of_the_dead_are_swept_and_those_of_the_living_kept(store: Store) -> None:
    script = """
        import sys; from pathlib import Path; from i2kit.image.store import Store
        with Store(Path(sys.argv[1])).scratch() as folder:
            (folder / "file").write_text("x")
            print("ready", flush=True)
            sys.stdin.read()
    """
    process = in_another_process(script, str(store.root))
    with store.scratch():
        assert len(list((store.root / "scratch").glob("*/file"))) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with store.scratch():
        assert list((store.root / "scratch").glob("*/file")) == []


def test_a_lock_excludes_other_processes_and_dies_with_its_holder(store: Store) -> None:
    script = """
        import sys; from pathlib import Path; from i2kit.image.store import Store
        with Store(Path(sys.argv[1])).lock("build"):
            print("ready", flush=True)
            sys.stdin.read()
    """
    process = in_another_process(script, str(store.root))
    entered = threading.Event()
    said: list[Event] = []

    def enter() -> None:
        with Store(store.root, said.append).lock("build", "another one"):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    with store.lock("another", "nobody"):
        assert not entered.wait(0.2)
    process.kill()
    process.communicate()
    waiting.join(30)
    assert entered.is_set()
    assert said == [Note("waiting for another one to finish")]
    assert leftovers(store) == []


def test_a_lock_is_held_by_one_at_a_time(store: Store) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with store.lock("build"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


# Machine images


def built(folder: Path, root: bytes = b"root") -> Path:
    files = {"vmlinuz": b"vmlinuz", "kernel": b"kernel", "initrd": b"initrd", "root": root}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def add(store: Store, key: str = "key", root: bytes = b"root", cmdline: str = "quiet") -> str:
    with store.scratch() as scratch:
        return store.add_machine_image(
            key,
            built(scratch, root),
            cmdline=cmdline,
            memory_floor_bytes=1 << 20,
            containers=(("web", "docker.io/library/nginx@sha256:0"),),
        ).id


def test_a_machine_image_is_found_by_key_and_by_id(store: Store) -> None:
    assert store.machine_image("key") is None
    id_ = add(store)
    image = store.machine_image("key")
    assert image is not None and image == store.machine_image_by_id(id_)
    assert image.root
    files = (image.vmlinuz, image.kernel, image.initrd, image.root)
    assert [file.read_bytes() for file in files] == [b"vmlinuz", b"kernel", b"initrd", b"root"]
    assert (image.cmdline, image.memory_floor_bytes) == ("quiet", 1 << 20)
    assert image.containers == (("web", "docker.io/library/nginx@sha256:0"),)
    assert store.machine_image_by_id("../builds") is None


def test_the_id_depends_on_bytes_and_command_line_only(store: Store, tmp_path: Path) -> None:
    id_ = add(store)
    assert add(Store(tmp_path / "elsewhere"), key="other key") == id_
    assert add(store, key="again") == id_
    assert add(store, root=b"other") != id_
    assert add(store, cmdline="other") != id_
    # Written down, so that a change of the formula shows: deployments keep these ids.
    assert id_ == "83b980c4beec7170a882e3ae1437917ef2918d7e7c232b79b4c460b9ff7a7574"


@pytest.mark.parametrize("damage", ["remove", "truncate", "flip", "description", "record"])
def test_a_damaged_machine_image_is_not_found_and_can_be_made_again(store: Store, damage: str) -> None:
    id_ = add(store)
    folder = store.root / "machine-images" / id_
    if damage == "remove":
        (folder / "root").unlink()
    elif damage == "truncate":
        (folder / "root").chmod(0o600)  # nobody but root may write to it else
        os.truncate(folder / "root", 1)
    elif damage == "flip":
        (folder / "root").chmod(0o600)
        (folder / "root").write_bytes(b"Root")
    elif damage == "description":
        (folder / "image.json").write_text("{")
    else:
        (folder / "image.json").write_text("{")
        (store.root / "builds" / hashlib.sha256(b"key").hexdigest()).write_text('{"id": 3}')
    assert store.machine_image("key") is None
    assert store.machine_image_by_id(id_) is None
    assert add(store) == id_
    image = store.machine_image("key")
    assert image is not None and image.root and image.root.read_bytes() == b"root"


# A disk that is full

FULL = """
    import hashlib, sys; from pathlib import Path
    from i2kit.errors import OperationError; from i2kit.image.store import Store
    store = Store(Path(sys.argv[1])); content = bytes(3 << 20)
    try:
        store.add_blob([content[:1 << 20]] * 3, "sha256:" + hashlib.sha256(content).hexdigest(), len(content))
    except OperationError as error:
        print(error)
    print([path.name for path in store.root.rglob("*") if path.is_file()])
    print(len(store.add_bytes(bytes(1000))))
"""


def test_images_share_what_is_the_same_and_a_damaged_share_is_made_anew(store: Store) -> None:
    def kernel(id_: str) -> Path:
        image = store.machine_image_by_id(id_)
        assert image
        return image.kernel

    one, other = add(store, "a", root=b"a"), add(store, "b", root=b"b")
    assert one != other
    assert kernel(one).samefile(kernel(other))
    kernel(one).chmod(0o600)
    kernel(one).write_bytes(b"kerneX")
    assert kernel(add(store, "c", root=b"c")).read_bytes() == b"kernel"


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="this machine gives no user namespaces",
)
def test_a_full_disk_is_explained_and_nothing_is_left(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=2m none "$1" && exec "$0" -c "$2" "$1"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mounted, sys.executable, str(tmp_path), textwrap.dedent(FULL)],
        capture_output=True,
        text=True,
        check=True,
    )
    message, hint, files, works_again = done.stdout.splitlines()
    assert "No space left on device" in message
    assert "make room" in hint
    assert files == "[]"
    assert works_again == "71"


def test_a_store_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationError, match=r"Not a directory|File exists"):
        Store(tmp_path / "file")
