"""Pruning: what is needed stays, what is not goes, and whenever it ends the store is consistent."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from i2kit import app
from i2kit.errors import I2kitError, OperationError
from i2kit.events import Event, Note, ignore
from i2kit.image import base, machine, upkeep
from i2kit.image.base import lock
from i2kit.image.base.packages import Distribution, Package
from i2kit.image.store import Store, sha256_of
from i2kit.image.upkeep import inventory, roots
from i2kit.model import Container, MachineImage, Pruned, Release, Use, Workload
from i2kit.providers.local.design import desired
from i2kit.settings import Settings
from tests.image.pods import settings, small_base, with_small_base, write_app

BUILT = "raw"


@pytest.fixture(autouse=True)
def _small_base() -> Iterator[None]:
    with with_small_base():
        yield


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return settings(tmp_path)


@pytest.fixture
def pod(tmp_path: Path) -> Workload:
    return Workload("web", (Container("web", write_app(tmp_path)),))


def build(workload: Workload, here: Settings, watch: Callable[[Event], None] = ignore) -> MachineImage:
    with upkeep.using(here):
        made, _ = machine.output(workload, "kernel+root", settings=here, watch=watch)
    assert made
    return made


def changed(workload: Workload, **fields: object) -> Workload:
    return replace(workload, containers=(replace(workload.containers[0], **fields),))  # type: ignore[arg-type]


def state(folder: Path, *releases: tuple[Workload, MachineImage]) -> None:
    """Write what the supervisor of a provider `local` would, after deploying these one after the other."""
    wanted = desired.Desired()
    for workload, image in releases:
        wanted = desired.admit(wanted, desired.order_of(Release(workload, image, ())))
    folder.mkdir(exist_ok=True)
    (folder / "desired.json").write_text(desired.to_json(wanted))


def prune(here: Settings, *words: str, dry_run: bool = False) -> Pruned:
    return app.prune(words, settings=here, watch=ignore, dry_run=dry_run)


def content(here: Settings) -> list[str]:
    """All that is in the store but locks and registrations, which are nobody's content."""
    aside = {"roots", "use.lock", "gate.lock"}
    files = (path.relative_to(here.store_dir) for path in here.store_dir.rglob("*") if path.is_file())
    return sorted(str(file) for file in files if file.parts[0] not in aside)


def ids(here: Settings) -> set[str]:
    return {image.id for image in app.images(settings=here, watch=ignore).images}


# What stays and what goes


def test_what_nothing_uses_goes_with_all_that_it_had(pod: Workload, here: Settings) -> None:
    image = build(pod, here)
    (here.store_dir / "partial/sha256-0").write_bytes(b"a part")
    dry = prune(here, dry_run=True)
    assert ids(here) == {image.id}, "a dry run removes nothing"
    done = prune(here)
    assert done == dry
    assert [one.id for one in done.images] == [image.id]
    assert content(here) == []
    again = prune(here)
    assert (again.images, again.others, again.freed_bytes) == ((), (), 0)
    assert build(pod, here).id == image.id


def test_the_room_that_is_told_is_the_room_that_becomes_free(pod: Workload, here: Settings) -> None:
    def on_disk() -> int:
        files = [here.store_dir / name for name in content(here)]
        return sum({path.stat().st_ino: path.stat().st_blocks * 512 for path in files}.values())

    kept, gone = build(pod, here), build(changed(pod, args=("--other",)), here)
    state(here.state_dir, (pod, kept))
    before = on_disk()
    pruned = prune(here)
    assert [one.id for one in pruned.images] == [gone.id]
    # Their kernel and initrd are the same files, which stay.
    assert pruned.images[0].shared_bytes > 0
    assert before - on_disk() == pruned.freed_bytes > 0


def test_deployments_keep_their_image_and_those_that_they_can_go_back_to(
    pod: Workload, here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desired, "KEPT_REVISIONS", 1)
    pods = [changed(pod, args=(str(number),)) for number in range(3)]
    images = [build(one, here) for one in pods]
    state(here.state_dir, *zip(pods, images, strict=True))
    pruned = prune(here)
    assert ids(here) == {images[1].id, images[2].id}
    before, now = sorted(pruned.kept, key=lambda image: image.id != images[1].id)
    place = str(here.state_dir)
    assert before.used_by == (Use(before.id, "local", "default/web", place, "can go back to", revision=2),)
    assert now.used_by == (Use(now.id, "local", "default/web", place),)
    (newest,) = [one for one in app.images(settings=here, watch=ignore).images if one.id == images[2].id]
    assert newest.used_by == (Use(images[2].id, "local", "default/web", str(here.state_dir)),)
    # Building what is used needs nothing that went.
    with patch("i2kit.image.sources.layouts.take_in", side_effect=AssertionError):
        pinned = newest.containers[0][1]
    assert Store(here.store_dir).blob(pinned.partition("@")[2])


def test_every_registered_place_is_asked(pod: Workload, here: Settings, tmp_path: Path) -> None:
    image = build(pod, here)
    elsewhere = tmp_path / "elsewhere"
    upkeep.register(here, "local", elsewhere)
    state(elsewhere, (pod, image))
    assert prune(here).images == ()
    (elsewhere / "desired.json").unlink()
    elsewhere.rmdir()
    assert len(prune(here).images) == 1
    assert [root for root in roots.registered(Store(here.store_dir)).values() if root.kind == "local"] == []


@pytest.mark.parametrize("damage", ["cut", "folder", "version", "registration", "provider", "lock"])
def test_nothing_goes_when_somebody_cannot_be_asked(
    pod: Workload, here: Settings, tmp_path: Path, damage: str
) -> None:
    image = build(pod, here)
    elsewhere = tmp_path / "elsewhere"
    upkeep.register(here, "local", elsewhere)
    state(elsewhere, (pod, image))
    noted = elsewhere / "desired.json"
    if damage == "cut":
        noted.write_text(noted.read_text()[:100])
    elif damage == "folder":
        noted.unlink()
        noted.mkdir()
    elif damage == "version":
        text = noted.read_text().replace(f'"format": {desired.FORMAT}', '"format": 99')
        noted.write_text(text)
    elif damage == "registration":
        for path in (here.store_dir / "roots").iterdir():
            path.chmod(0o600)
            path.write_text("{")
    elif damage == "provider":
        upkeep.register(here, "moon", elsewhere)
    else:
        here.lock_file.write_text("<<<<<<<")
    before = content(here)
    with pytest.raises(I2kitError) as raised:
        prune(here)
    assert str(tmp_path) in str(raised.value)
    assert content(here) == before
    assert ids(here) == {image.id}, "they are listed all the same"


def test_images_by_name(pod: Workload, here: Settings) -> None:
    images = [build(changed(pod, args=(str(number),)), here) for number in range(3)]
    build(replace(changed(pod, args=("2",)), name="other"), here)
    (here.store_dir / "partial/sha256-0").write_bytes(b"a part")
    assert prune(here, "nothing", images[0].id[:11]).unknown == ("nothing", images[0].id[:11])
    assert [one.id for one in prune(here, images[0].id[:12], dry_run=True).images] == [images[0].id]
    pruned = prune(here, "other", images[0].id)
    assert {one.id for one in pruned.images} == {images[0].id, images[2].id}
    assert (here.store_dir / "partial/sha256-0").exists(), "only these"
    assert prune(here, "other").unknown == ("other",)
    assert {one.id for one in prune(here, "default/web").images} == {images[1].id}


def test_an_image_in_use_is_refused_with_who_uses_it(pod: Workload, here: Settings) -> None:
    used, unused = build(pod, here), build(changed(pod, args=("1",)), here)
    state(here.state_dir, (pod, used))
    with pytest.raises(OperationError, match=rf"{used.id[:12]}.* is used by default/web\n"):
        prune(here, used.id, unused.id)
    assert ids(here) == {used.id, unused.id}


def test_images_pinned_by_an_index_keep_it(here: Settings) -> None:
    store = Store(here.store_dir)
    layer = store.add_bytes(b"layer")
    config = store.add_bytes(json.dumps({"rootfs": {"diff_ids": [layer]}}).encode())
    manifest = store.add_bytes(json.dumps({"config": {"digest": config}, "layers": []}).encode())
    index = store.add_bytes(json.dumps({"manifests": [{"digest": manifest}]}).encode())
    other = store.add_bytes(json.dumps({"manifests": [{"digest": layer[:-1] + "0"}]}).encode())
    reached = inventory.look(store).reached([manifest])
    assert {layer, config, manifest, index} <= reached
    assert other not in reached


def test_packages_and_components_stay_as_long_as_a_lock_file_names_them(here: Settings) -> None:
    store = Store(here.store_dir)
    upkeep.register(here, roots.LOCK_FILE, here.lock_file)
    kept, gone = (
        Package(name, "1", store.add_bytes(b"!<arch>\n" + name.encode())[7:]) for name in ("kept", "gone")
    )
    of = Distribution("debian", "bookworm", "amd64")
    component = store.add_bytes(b'{"layers": [{"digest": "%s"}]}' % store.add_bytes(b"layer").encode())
    for package in (kept, gone):
        document = {"references": {"kernel": f"i2kit/kernel@{component}"}, "packages": []}
        store.write_record(base._memo(store, [package], of), document)
    lock.write(here.lock_file, lock.Lock(of, (kept,)))
    prune(replace(here, lock_file=here.store_dir / "none"))
    assert store.blob(kept.digest) and store.blob(component) and not store.blob(gone.digest)
    here.lock_file.unlink()
    prune(here)
    assert content(here) == []


# Beside others


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


BUILDER = """
    import sys; from pathlib import Path; from i2kit.image.upkeep import roots
    from i2kit.image.store import Store
    with roots.shared(Store(Path(sys.argv[1])), print):
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_prune_waits_for_builds_and_later_builds_wait_for_it(pod: Workload, here: Settings) -> None:
    build(pod, here)
    builder = run(BUILDER, str(here.store_dir))
    pruning, waiting, building, built = (threading.Event() for _ in range(4))

    def told(event: Event) -> None:
        assert isinstance(event, Note)
        (pruning if "builds" in event.message else waiting).set()

    def later() -> None:
        with upkeep.using(here, watch=told):
            building.set()
            built.set()

    remover = threading.Thread(target=lambda: app.prune((), settings=here, watch=told))
    remover.start()
    assert pruning.wait(30)
    other = threading.Thread(target=later)
    other.start()
    assert waiting.wait(30), "who comes later stands behind, or prune would starve"
    assert not building.is_set()
    assert len(prune(here, dry_run=True).images) == 1, "a dry run waits for nobody"
    builder.send_signal(signal.SIGKILL)
    builder.communicate()
    remover.join(30)
    other.join(30)
    assert built.is_set()
    assert ids(here) == set()


def test_many_at_once(pod: Workload, here: Settings) -> None:
    def build_often() -> None:
        for number in range(15):
            with upkeep.using(here):
                workload = changed(pod, args=(str(number % 3),))
                _, made = machine.output(workload, "kernel+root", settings=here)
                for file in made.files:
                    assert sha256_of(file.path) == file.sha256

    def prune_often() -> int:
        gone = 0
        while not all(done.done() for done in builds):
            gone += len(prune(here).images)
            app.images(settings=here, watch=ignore)
        return gone

    with ThreadPoolExecutor(5) as pool:
        builds = [pool.submit(build_often) for _ in range(3)]
        prunes = [pool.submit(prune_often) for _ in range(2)]
        for done in builds:
            done.result()
        assert sum(done.result() for done in prunes) > 0
    prune(here)
    assert content(here) == []


def test_what_a_deploy_is_about_to_start_stays_and_does_not_hold_others_up(
    pod: Workload, here: Settings
) -> None:
    image = build(pod, here)
    script = """
        import sys; from pathlib import Path; from i2kit.image.upkeep import roots
        from i2kit.image.store import Store; from i2kit.model import Use
        with roots.leased(Store(Path(sys.argv[1])), [Use(sys.argv[2], "local", "default/web", "/state")]):
            print("ready", flush=True)
            sys.stdin.read()
    """
    deploy = run(script, str(here.store_dir), image.id)
    assert prune(here).images == ()
    with pytest.raises(OperationError, match="default/web"):
        prune(here, image.id)
    deploy.send_signal(signal.SIGKILL)
    deploy.communicate()
    assert len(prune(here).images) == 1
    assert list((here.store_dir / "leases").iterdir()) == []


# Whenever it ends

STEPS = ("unlink", "rename", "replace", "rmdir", "link", "mkdir", "write")


def ended_at(step: int, action: Callable[[], object]) -> bool:
    """Do it in a process that is gone right before its step of this number. Whether it came to that."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(name: str) -> Callable[..., object]:
            real = getattr(os, name)

            def call(*given: object, **named: object) -> object:
                nonlocal left
                if left == 0:
                    os._exit(9)
                left -= 1
                return real(*given, **named)

            return call

        for name in STEPS:
            setattr(os, name, counted(name))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), "it failed"
    return code == 9


def test_a_prune_that_is_killed_at_any_step_leaves_a_consistent_store(pod: Workload, here: Settings) -> None:
    kept, gone = changed(pod, args=("kept",)), changed(pod, args=("gone",))
    wanted = {kept.containers: build(kept, here).id, gone.containers: build(gone, here).id}
    state(here.state_dir, (kept, build(kept, here)))
    step = 0
    while ended_at(step, lambda: prune(here)):
        for workload in (kept, gone):
            made = build(workload, here)
            assert made.id == wanted[workload.containers]
        assert build(kept, here).cached
        step += 1
    assert step > 20
    assert ids(here) == {wanted[kept.containers]}
    assert list((here.store_dir / "scratch").iterdir()) == []


def test_a_build_that_is_killed_at_any_step_leaves_a_consistent_store(pod: Workload, here: Settings) -> None:
    wanted = build(pod, here).id
    prune(here)
    step = 0
    # Not every one, since a build has some 200.
    while ended_at(step, lambda: build(pod, here)):
        listed = ids(here)
        assert listed <= {wanted}
        assert build(pod, here).id == wanted
        prune(here)
        assert content(here) == []
        step += 5
    assert step > 20


# Damage


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_bytes(b"x")


DAMAGES: Sequence[tuple[str, Callable[[Path], object]]] = (
    ("flipped", lambda path: path.write_bytes(flipped(path.read_bytes()))),
    ("cut", lambda path: os.truncate(path, path.stat().st_size - 1 if path.stat().st_ino % 2 else 0)),
    ("removed", Path.unlink),
    ("a folder", replaced_by_a_folder),
)


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(("damage", "harm"), DAMAGES)
def test_damage_to_any_file_is_noticed_and_mended(
    pod: Workload, here: Settings, damage: str, harm: Callable[[Path], object]
) -> None:
    image = build(pod, here)
    other = changed(pod, args=("other",))
    id_of_other = build(other, here).id
    count = 0
    for path in sorted(here.store_dir.rglob("*")):
        if not path.is_file() or path.name.endswith(".lock") or "roots" in path.parts:
            continue
        if path.stat().st_size == 0:
            continue
        count += 1
        path.chmod(0o600)
        harm(path)
        told: list[Event] = []
        assert build(pod, here, told.append).id == image.id, path
        assert build(other, here, told.append).id == id_of_other, path
        whole = [one for one in (build(pod, here), build(other, here)) if one.cached]
        assert [one.id for one in whole] == [image.id, id_of_other], path
        assert all(one.created_at for one in inventory.look(Store(here.store_dir)).images), path
        # What nobody reads again once the image is built, such as layers, is noticed when it is.
        for folder in ("machine-images", "builds", "outputs"):
            for found in (here.store_dir / folder).glob("*/*"):
                found.unlink() if found.is_file() else None
        told_later: list[Event] = []
        assert build(pod, here, told_later.append).id == image.id, path
        assert build(other, here).id == id_of_other, path
        notes = [event.message for event in (*told, *told_later) if isinstance(event, Note)]
        if damage != "removed" and "names" not in path.parts:
            assert any("damaged" in note for note in notes), path
        for digest in inventory.look(Store(here.store_dir)).blobs:
            assert Store(here.store_dir).verified_blob(digest), digest
    assert count > 15


def test_a_damaged_kernel_that_images_share_is_mended_for_all_of_them(pod: Workload, here: Settings) -> None:
    one, two = build(pod, here), build(changed(pod, args=("other",)), here)
    good = one.vmlinuz.read_bytes()
    assert one.vmlinuz.samefile(two.vmlinuz)
    one.vmlinuz.chmod(0o600)
    one.vmlinuz.write_bytes(b"\x7fELG")
    assert two.vmlinuz.read_bytes() == b"\x7fELG"
    build(pod, here)
    # A machine that starts again takes the file of the other image without reading it before.
    assert two.vmlinuz.read_bytes() == good
    assert one.vmlinuz.samefile(two.vmlinuz)
    outputs = list((here.store_dir / "outputs").glob("*/kernel"))
    assert len(outputs) == 2 and all(path.read_bytes() == good for path in outputs)


def test_a_base_that_changes_leaves_nothing_of_the_old_one(pod: Workload, here: Settings) -> None:
    build(pod, here)
    with patch.object(base, "ensure", lambda **given: small_base(**given, version=b"2")):
        newer = build(pod, here)
        state(here.state_dir, (pod, newer))
        prune(here)
        assert ids(here) == {newer.id}
        assert build(pod, here).cached
