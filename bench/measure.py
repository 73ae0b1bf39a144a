"""Measures what a user waits for and pays for, on this machine, now: sizes, times, memory, changes.

Run by `make bench`. In: the nginx image of the examples, and a `full` one: the same with a distribution's
worth of files below it. Out: Markdown tables. Times depend on the machine and on what else it does:
compare columns of one run, not runs of two machines.
"""

import gzip
import os
import random
import runpy
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from i2kit import app, blocks, image, settings
from i2kit.events import ignore
from i2kit.image import base, linuxkit, sources
from i2kit.image.store import Store
from i2kit.image.tree import tar
from i2kit.model import Container, Port, Release, ResolvedImage, Workload
from i2kit.providers.local import LocalProvider, control
from i2kit.providers.local.layout import Layout
from i2kit.settings import Settings

ROOT = Path(__file__).parent.parent
RUNS = 3


def timed(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


@contextmanager
def machine() -> Iterator[Settings]:
    """A machine where nothing else of i2kit runs. Its store begins with the base of the user's."""
    given = settings.load()
    base.ensure(store=Store(given.store_dir), lock_file=given.lock_file, locked=given.locked, watch=ignore)
    with (
        tempfile.TemporaryDirectory(prefix="i2kit-") as folder,
        tempfile.TemporaryDirectory(prefix="i2kit-bench-", dir=given.store_dir.parent) as beside,
    ):
        store = Path(beside) / "store"
        left_out = shutil.ignore_patterns("machine-images", "outputs", "builds", "scratch", "partial")
        # Links: they cost nothing, and what is removed here stays there.
        shutil.copytree(given.store_dir, store, copy_function=os.link, ignore=left_out, symlinks=True)
        yield replace(
            given,
            state_dir=Path(folder) / "state",
            run_dir=Path(folder) / "run",
            store_dir=store,
            lock_file=Path(folder) / "i2kit.lock",
        )


def nginx(folder: Path) -> str:
    """The reference of the examples' nginx image, made in this folder."""
    subprocess.run([sys.executable, ROOT / "examples/nginx-image/build.py", folder], check=True)
    return f"oci:{folder}:stable"


NGINX_IMAGE = runpy.run_path(str(ROOT / "examples/nginx-image/build.py"))
"""What makes the examples' image: `write_layout` takes layers and writes an OCI layout."""


def full_layers() -> list[bytes]:
    """100 MB in layers as images have them: a distribution, an application, a configuration."""
    chance = random.Random(1)
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(4000)]

    def layer(folder: str, files: int, size: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        # Sizes as in real images: most are a few kilobytes, few are most of the bytes.
        weights = [chance.lognormvariate(8, 1.7) for _ in range(files)]
        for number, weight in enumerate(weights):
            wanted = int(weight * size / sum(weights))
            data = b"".join(chance.choices(words, k=wanted // 7 + 1))[:wanted]
            member = tarfile.TarInfo(f"{folder}/{number // 20:03}/{number}")
            member.size = len(data)
            yield member, data

    described = [("usr/lib/full", 3000, 70_000_000), ("srv/app", 2000, 30_000_000), ("etc/full", 20, 50_000)]
    return [NGINX_IMAGE["pack"](layer(*one)) for one in described]


def uncompressed(layout: Path) -> list[bytes]:
    """The layers of an OCI layout that the examples' program wrote, bottom first."""
    found = [path.read_bytes() for path in (layout / "blobs/sha256").iterdir()]
    packed = [blob for blob in found if blob.startswith(b"\x1f\x8b")]
    return sorted((gzip.decompress(blob) for blob in packed), key=len, reverse=True)


def with_changed_file(layer: Path, size_bytes: int = 4000) -> bytes:
    """The layer with other bytes in the first file of this size or more, as a new build would have it."""
    data = bytearray(layer.read_bytes())
    one = next(one for one in tar.members(layer) if one.type == tar.REGULAR and one.size_bytes >= size_bytes)
    data[one.offset_bytes : one.offset_bytes + one.size_bytes] = b"x" * one.size_bytes
    return bytes(data)


class Variants:
    """One image, and what is made of it as its parts change."""

    def __init__(self, layers: Sequence[bytes], folder: Path, given: Settings) -> None:
        self.folder = folder
        self.given = given
        self.store = Store(given.store_dir)
        self.layers = list(layers)
        self.reference = self.layout("first", self.layers)

    def layout(self, name: str, layers: Sequence[bytes]) -> str:
        NGINX_IMAGE["write_layout"](self.folder / name, list(layers))
        return f"oci:{self.folder / name}:stable"

    def changed_app(self) -> str:
        """The image with one file of its last layer changed."""
        last = self.folder / "layer.tar"
        last.write_bytes(self.layers[-1])
        return self.layout("changed", [*self.layers[:-1], with_changed_file(last, 100)])

    def resolved(self, reference: str) -> ResolvedImage:
        return sources.resolve(reference, store=self.store)

    def forget(self, reference: str) -> None:
        """Let the store know the image's layers no more."""
        for layer in self.resolved(reference).layers:
            self.store.remove_blob(layer.diff_id)

    def disk(self, workload: Workload) -> Path:
        _, made = image.output(workload, "raw", settings=self.given)
        return made.files[0].path

    def disk_on_changed_base(self, workload: Workload) -> Path:
        """The same with one file changed in the first of the images that make up the base."""
        text = image.render(workload, settings=self.given)
        init = self.resolved(linuxkit.parse("bench.yml", text).init[0])
        layers = sources.pull(init, store=self.store)
        changed = self.folder / "init.tar"
        changed.write_bytes(with_changed_file(layers[0]))
        other = sources.add_local_image(self.store, [changed, *layers[1:]], {}, "bench")
        template = linuxkit.parse("bench.yml", text.replace(init.pinned, other.pinned))
        _, made = image.output(template, "raw", settings=self.given)
        return made.files[0].path


def changes(name: str, variants: Variants) -> Iterator[tuple[str, str, str, str]]:
    """How much of the disk is other than before, in blocks of 512 KiB, after one thing has changed."""
    workload = pod(variants.reference)
    before = variants.disk(workload)
    count = sum(1 for _ in blocks.blocks(before))
    for what, after in {
        "one file of the base": variants.disk_on_changed_base(workload),
        "one file of the last layer": variants.disk(pod(variants.changed_app())),
        "an environment variable": variants.disk(pod(variants.reference, mark="changed")),
    }.items():
        changed = len(blocks.changed(before, after))
        yield name, what, f"{changed} of {count}", f"{changed / count:.1%}"


def build_times(name: str, variants: Variants) -> Iterator[tuple[str, str]]:
    """What one waits for a machine image and its disk, with the base in the store."""

    def fresh(reference: str, *, forget: bool) -> float:
        taken = []
        for _ in range(RUNS):
            if forget:
                variants.forget(reference)
            workload = pod(reference, mark=uuid.uuid4().hex)
            taken.append(timed(lambda workload=workload: image.build(workload, settings=variants.given)))  # type: ignore[misc]
        return statistics.median(taken)

    yield (
        f"machine image of {name}, nothing of it in the store",
        f"{fresh(variants.reference, forget=True):.2f} s",
    )
    changed = variants.changed_app()
    layer = variants.resolved(changed).layers[-1].diff_id

    def rebuilt() -> float:
        variants.store.remove_blob(layer)
        workload = pod(changed, mark=uuid.uuid4().hex)
        return timed(lambda: image.build(workload, settings=variants.given))

    image.build(pod(changed), settings=variants.given)
    yield "… one file of its last layer changed", f"{statistics.median(rebuilt() for _ in range(RUNS)):.2f} s"
    same = pod(variants.reference)
    image.build(same, settings=variants.given)
    again = [timed(lambda: image.build(same, settings=variants.given)) for _ in range(RUNS)]
    yield "… nothing changed", f"{statistics.median(again):.2f} s"
    disks = []
    for _ in range(RUNS):
        workload = pod(variants.reference, mark=uuid.uuid4().hex)
        image.build(workload, settings=variants.given)
        disks.append(timed(lambda workload=workload: variants.disk(workload)))  # type: ignore[misc]
    yield "… its raw disk, once it is there", f"{statistics.median(disks):.2f} s"


def base_sizes(variants: Variants) -> Iterator[tuple[str, str]]:
    """What a machine has without any container, as it is and compressed."""
    template = linuxkit.parse("base.yml", image.render(pod(variants.reference), settings=variants.given))
    positions = {name: template.positions[name] for name in (template.kernel, *template.init)}
    empty = replace(template, onboot=(), services=(), positions=positions)
    made, _ = image.output(empty, "kernel+root", settings=variants.given)
    assert made and made.root
    raw, packed = 0.0, 0.0
    # A kernel of our own needs none.
    initrd = () if made.direct else (("initrd", made.initrd),)
    for name, path in (("kernel", made.vmlinuz), *initrd, ("root", made.root)):
        size = path.stat().st_size / 1e6
        done = subprocess.run(["zstd", "-19", "-T0", "-qc", path], check=True, stdout=subprocess.PIPE)
        raw, packed = raw + size, packed + len(done.stdout) / 1e6
        yield f"base: {name}", f"{size:.1f} MB, zstd {len(done.stdout) / 1e6:.1f} MB"
    yield "base together", f"{raw:.1f} MB, zstd {packed:.1f} MB"


def pod(reference: str, *, replicas: int = 1, mark: str = "") -> Workload:
    """An nginx pod; another `mark` is another machine image."""
    container = Container("nginx", reference, env=(("MARK", mark),), ports=(Port(80),))
    return Workload("bench", (container,), replicas, labels=(("app", "bench"),))


def released(workload: Workload, given: Settings) -> Release:
    built = image.build(workload, settings=given)
    return Release(workload, built, app.services_of(workload, ()))


def deploy(provider: LocalProvider, release: Release) -> str:
    """Deploy and return when its address has answered."""
    key = release.workload.key
    found = provider.apply(provider.plan(key, release, None), ignore)
    assert found
    url = found.endpoints[0].url
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
    return url


def destroy(provider: LocalProvider) -> None:
    provider.hurry = True
    for one in provider.list():
        provider.apply(provider.plan(one.key, None, one), ignore)


def used_memory_mb(given: Settings) -> float:
    """MemTotal − MemAvailable of the first VM, as the guest reported it after it was ready."""
    while True:
        answer = control.ask(Layout(given.state_dir, given.run_dir).control, {"do": "status"})
        for instance in answer["deployments"][0]["instances"]:
            if instance["memory_kb"]:
                total, available = instance["memory_kb"]
                return float(total - available) / 1024
        time.sleep(0.1)


def rows(given: Settings, slim: Variants, full: Variants) -> Iterator[tuple[str, str]]:
    yield from base_sizes(slim)
    for name, variants in (("nginx", slim), ("nginx, full", full)):
        made = image.build(pod(variants.reference), settings=given)
        assert made.root
        yield f"root, with {name}", f"{made.root.stat().st_size / 1e6:.1f} MB"
    yield "kernel as booted (ELF)", f"{made.kernel.stat().st_size / 1e6:.1f} MB"
    yield from build_times("nginx", slim)
    yield from build_times("nginx, full", full)
    yield from deployments(given, slim.reference)


def deployments(given: Settings, reference: str) -> Iterator[tuple[str, str]]:
    provider = LocalProvider(given)
    for replicas in (1, 3):
        release = released(pod(reference, replicas=replicas), given)
        up, down = [], []
        for _ in range(RUNS):
            up.append(timed(lambda release=release: deploy(provider, release)))  # type: ignore[misc]
            if replicas == 1 and len(up) == RUNS:
                yield "guest memory used by one nginx pod", f"{used_memory_mb(given):.1f} MB"
            down.append(timed(lambda: destroy(provider)))
        yield f"deploy of {replicas}, image in store, until it answers", f"{statistics.median(up):.2f} s"
        yield f"destroy --now of {replicas}", f"{statistics.median(down):.2f} s"


def main() -> None:
    with machine() as given, tempfile.TemporaryDirectory(prefix="i2kit-bench-") as name:
        folder = Path(name)
        nginx(folder / "nginx")
        layers = uncompressed(folder / "nginx")
        slim = Variants(layers, folder / "slim", given)
        full = Variants([layers[0], *full_layers()], folder / "full", given)
        print("| image | changed | blocks of 512 KiB of the raw disk | share |\n|---|---|---|---|")
        for variants_name, variants in (("nginx", slim), ("nginx, full", full)):
            for row in changes(variants_name, variants):
                print(f"| {' | '.join(row)} |", flush=True)
        print("\n| what | measured |\n|---|---|")
        for what, value in rows(given, slim, full):
            print(f"| {what} | {value} |", flush=True)


if __name__ == "__main__":
    main()
