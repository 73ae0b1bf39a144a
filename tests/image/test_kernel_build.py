"""The kernel of our own: its options, what it is made of, and when a base takes it.

A source of three files stands for Linux: it has Kconfig's and make's way of being asked, no more.
"""

import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from i2kit import doctor, process
from i2kit.errors import InputError, OperationError
from i2kit.events import Event, Note, Progress, Warned
from i2kit.image import base, sources
from i2kit.image.base import boot, components, kernel_build, lock, own_kernel, packages
from i2kit.image.base.components import File
from i2kit.image.base.lock import Kernel, Lock
from i2kit.image.base.packages import Package, distribution
from i2kit.image.store import Store
from i2kit.image.template import Base
from tests.image import elves
from tests.image.repository import Repository, base_packages

FRAGMENT = own_kernel.CONFIG_FILE.read_text(encoding="utf-8")
IMAGE = elves.bzimage(elves.make({".text": b"own"}, elves.PVH_NOTE))
KCONFIG = """\
config BEFORE
\tdefault y

menuconfig CPU_MITIGATIONS
\tbool "Mitigations"
\tdefault y
\thelp
\t  All of them. In text, `default y` does not count.

if CPU_MITIGATIONS

config RETHUNK
\tbool "Return thunks"
\tdefault y if X86_64

config SLS
\tbool "Straight-line speculation"
\tdefault n

config FORCE
\tbool "Rather lose AVX"
\tdefault n

config TSA
\tdef_bool y

endif

config AFTER
\tdefault y
"""
MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 1
allnoconfig:
\t{configure}
bzImage:
\t@echo '  CC      init/main.o'
\t@echo '  CC      kernel/fork.o'
\t{compile}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    found = Repository(tmp_path / "repository", monkeypatch)
    base_packages(found)
    add_source(found)
    found.update()
    # The program that makes it is not in these packages.
    monkeypatch.setattr(boot, "core_image", lambda *_: b"core")
    return found


def add_source(
    repository: Repository,
    version: str = "1",
    configure: str = "cp $(KCONFIG_ALLCONFIG) .config",
    compile: str = "cp image arch/x86/boot/bzImage",
) -> None:
    """The packages of a kernel's source as Debian has them."""
    files = {
        "Makefile": File(MAKEFILE.format(configure=configure, compile=compile).encode()),
        "arch/x86/Kconfig": File(KCONFIG.encode()),
        "arch/x86/boot/": File(mode=0o755),
        "image": File(IMAGE + version.encode()),
    }
    inside = {f"linux-source-6.1/{path}": file for path, file in files.items()}
    archive = {"usr/src/linux-source-6.1.tar.xz": lzma.compress(components.tar(inside))}
    repository.add("linux-source-6.1", version, archive, "binutils, xz-utils")
    repository.add("linux-source", version, {}, f"linux-source-6.1 (= {version})")
    repository.publish()


class Project:
    """A store and a lock file, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.lock_file = folder / "i2kit.lock"
        self.events: list[Event] = []

    def ensure(self, *, locked: bool = False) -> Base:
        return base.ensure(
            store=self.store, lock_file=self.lock_file, locked=locked, watch=self.events.append
        )

    def build(self, *, locked: bool = False) -> Kernel:
        return kernel_build.build(
            store=self.store, lock_file=self.lock_file, locked=locked, watch=self.events.append
        )

    def recorded(self) -> Kernel | None:
        found = lock.read(self.lock_file)
        assert found
        return found.kernel

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


@pytest.fixture
def project(repository: Repository, tmp_path: Path) -> Project:
    return Project(tmp_path / "one")


@pytest.fixture
def other(repository: Repository, tmp_path: Path) -> Project:
    return Project(tmp_path / "other")


# Options


def test_every_line_of_the_fragment_is_an_option_or_a_remark() -> None:
    options = kernel_build.wanted(FRAGMENT, (6, 1))
    assert options["CONFIG_MODULES"] == "n"
    remarks = [line for line in FRAGMENT.splitlines() if line.startswith("#") and "CONFIG_" not in line]
    lines = [line for line in FRAGMENT.splitlines() if line and line not in remarks]
    assert len(lines) == len({*options, *kernel_build.VERSIONS})
    assert {*kernel_build.VERSIONS} <= {
        name for version in ((6, 1), (6, 12)) for name in kernel_build.wanted(FRAGMENT, version)
    }


def test_options_that_a_version_does_not_have_are_not_asked_for() -> None:
    old, new = (kernel_build.wanted(FRAGMENT, version) for version in ((6, 1), (6, 12)))
    assert "CONFIG_BPF_JIT" in new.keys() - old.keys()
    assert "CONFIG_BASE_FULL" in old.keys() - new.keys()


def test_options_that_do_not_hold_are_named() -> None:
    options = {"CONFIG_A": "y", "CONFIG_B": "y", "CONFIG_C": "n", "CONFIG_D": "n", "CONFIG_E": '"x"'}
    config = 'CONFIG_A=y\n# CONFIG_B is not set\n# CONFIG_C is not set\nCONFIG_E="x"\nCONFIG_AB=y\n'
    assert kernel_build.unmet(options, config) == ("CONFIG_B=y",)
    assert kernel_build.unmet(options, f"{config}CONFIG_D=m\n") == ("CONFIG_B=y", "CONFIG_D=n")


@pytest.mark.parametrize("menu", ["CPU_MITIGATIONS", "SPECULATION_MITIGATIONS"])
def test_mitigations_are_those_of_the_menu_that_are_on_by_default(menu: str) -> None:
    found = kernel_build.mitigations(KCONFIG.replace("CPU_MITIGATIONS", menu))
    assert found == (f"CONFIG_{menu}", "CONFIG_RETHUNK", "CONFIG_SLS", "CONFIG_TSA")


def test_a_source_without_mitigations_is_refused() -> None:
    with pytest.raises(OperationError, match="mitigations"):
        kernel_build.mitigations("config A\n\tdefault y\n")


def test_the_key_is_of_source_options_and_compiler() -> None:
    source = Package("linux-source-6.1", "1", "a" * 64)
    keys = [
        kernel_build.build_key(source, "CONFIG_A=y\n", "gcc 12"),
        kernel_build.build_key(Package("linux-source-6.1", "1", "b" * 64), "CONFIG_A=y\n", "gcc 12"),
        kernel_build.build_key(source, "CONFIG_B=y\n", "gcc 12"),
        kernel_build.build_key(source, "CONFIG_A=y\n", "gcc 13"),
    ]
    assert len({*keys}) == len(keys)
    assert kernel_build.build_key(Package("linux-source", "2", "a" * 64), "CONFIG_A=y\n", "gcc 12") == keys[0]


# Building


def test_tools_are_in_packages_that_setup_installs() -> None:
    listed = doctor.packages(doctor.PACKAGES_FILE.read_text(), "kernel")
    assert {*listed} == {*kernel_build.TOOLS.values()}


def test_missing_tools_are_all_named_before_anything_is_done(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(kernel_build, "TOOLS", {"gcc": "gcc", "bc": "bc", "/no/such/header.h": "libx-dev"})
    with pytest.raises(OperationError, match="bc, gcc, libx-dev") as refused:
        project.build()
    assert refused.value.hint is not None
    assert refused.value.hint.endswith("apt-get install --no-install-recommends bc gcc libx-dev")
    assert project.events == []


def test_a_kernel_is_compiled_once_and_taken_from_then_on(project: Project, other: Project) -> None:
    distributions = project.ensure()
    kernel = project.build()
    assert kernel.source.name == "linux-source-6.1"
    assert [event.done for event in project.events if isinstance(event, Progress)] == [1, 2]
    assert project.recorded() == kernel

    project.events.clear()
    assert project.build() == kernel
    assert not [event for event in project.events if isinstance(event, Progress)], "it is there"

    own = project.ensure()
    assert own.kernel == kernel.image != distributions.kernel
    assert own.init == distributions.init
    assert own.memory_floor_bytes < distributions.memory_floor_bytes
    assert project.ensure(locked=True) == own
    assert other.build() == kernel, "the same bytes in another folder"


def test_a_kernel_of_other_options_than_this_version_has_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = project.build()
    assert project.ensure().kernel == old.image
    assert doctor.kernel(project.store.root).state == "ok"
    changed = tmp_path / "kernel.config"
    changed.write_text(f"{FRAGMENT}CONFIG_NFS_FS=y\n")
    for module in (own_kernel, kernel_build):
        monkeypatch.setattr(module, "CONFIG_FILE", changed)

    project.events.clear()
    assert project.ensure().kernel == old.image, "it serves until there is another one"
    said = [event.message for event in project.events if isinstance(event, Note)]
    assert ["i2kit kernel build" in message for message in said] == [True]
    found = doctor.kernel(project.store.root)
    assert found.state == "limited" and found.hint and "i2kit kernel build" in found.hint

    new = project.build()
    assert new.config_sha256 != old.config_sha256
    assert doctor.kernel(project.store.root).state == "ok"
    project.events.clear()
    project.ensure()
    assert not [event for event in project.events if isinstance(event, Note)]


def test_the_image_is_a_kernel_without_modules(project: Project) -> None:
    (layer,) = sources.pull(
        sources.resolve(project.build().image, store=project.store),
        store=project.store,
    )
    with tarfile.open(fileobj=io.BytesIO(layer.read_bytes())) as image:
        content = {member.name: image.extractfile(member) for member in image}
        bzimage, modules = content["kernel"], content["kernel.tar"]
        assert bzimage is not None
        assert modules is not None
        assert bzimage.read() == IMAGE + b"1"
        with tarfile.open(fileobj=io.BytesIO(modules.read())) as tree:
            listed = tree.extractfile("usr/lib/i2kit/initramfs.list")
            assert listed is not None
            assert listed.read() == b"bin/busybox\nusr/lib/i2kit/initramfs-fstab\n"
            assert not [name for name in tree.getnames() if name.startswith("lib/modules")]


def test_what_the_compiler_said_is_kept_when_it_fails(repository: Repository, project: Project) -> None:
    add_source(repository, "2", compile="@echo 'fork.c:1: error: no such thing' >&2; exit 3")
    repository.update()
    with pytest.raises(OperationError, match="does not compile") as failed:
        project.build()
    assert "fork.c:1: error: no such thing" in failed.value.message
    assert failed.value.hint is not None
    log = Path(failed.value.hint.split()[-1])
    assert "kernel/fork.o" in log.read_text()
    assert own_kernel.latest(project.store) is None
    assert list((project.store.root / "scratch").iterdir()) == []


def test_a_disk_that_is_full_meanwhile_is_told_with_what_to_do(
    repository: Repository, project: Project
) -> None:
    add_source(repository, "2", compile="@echo 'fork.s: No space left on device' >&2; exit 1")
    repository.update()
    with pytest.raises(OperationError, match="does not compile") as failed:
        project.build()
    assert failed.value.hint is not None
    assert failed.value.hint.startswith("make room on this disk")


def test_an_option_that_linux_does_not_take_stops_it(repository: Repository, project: Project) -> None:
    add_source(repository, "2", configure="grep -v SECCOMP_FILTER $(KCONFIG_ALLCONFIG) >.config")
    repository.update()
    with pytest.raises(OperationError, match=r"Linux 6\.1 does not take .*: CONFIG_SECCOMP_FILTER=y"):
        project.build()


def test_nobody_waits_for_the_compiler(project: Project) -> None:
    """Prune waits for whoever holds the store, and all others for prune: not for minutes."""
    held = False
    seen = []

    @contextmanager
    def hold() -> Iterator[None]:
        nonlocal held
        held = True
        yield
        held = False

    def watch(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(held)
            # What prune may remove then.
            for blob in (project.store.root / "blobs").rglob("*"):
                if blob.is_file():
                    blob.unlink()

    kernel = kernel_build.build(store=project.store, lock_file=project.lock_file, hold=hold, watch=watch)
    assert seen == [False, False]
    assert own_kernel.latest(project.store) == kernel


def test_too_little_room_is_told_before_the_source_is_unpacked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_build, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(OperationError, match=r"takes .* GB for a while"):
        project.build()


def test_an_interrupt_ends_all_that_was_started(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    late = tmp_path / "late"
    script = f"sh -c 'echo $$; sleep 1; touch {late}' & wait"
    with pytest.raises(KeyboardInterrupt):
        process.follow(["sh", "-c", script], interrupt, cwd=tmp_path)
    pid = tmp_path / "pid"
    seen: list[str] = []
    process.follow(["sh", "-c", f"sleep 1.5; echo done >{pid}; cat {pid}"], seen.append, cwd=tmp_path)
    assert seen == ["done"]
    assert not late.exists()


# The lock file


def test_a_lock_file_without_a_kernel_records_the_one_that_is_taken(project: Project, other: Project) -> None:
    kernel = project.build()
    assert not project.lock_file.exists(), "the base writes it, with its packages"
    own = project.ensure()
    assert own.kernel == kernel.image
    assert project.recorded() == kernel

    other.build()
    others = base.ensure(
        store=Store(other.store.root.parent / "without"),
        lock_file=other.lock_file,
        locked=False,
        watch=other.events.append,
    )
    assert other.recorded() is None
    assert other.ensure(locked=True) == others, "the lock file decides: the distribution's"
    assert other.recorded() is None


def test_a_kernel_that_the_store_does_not_have_stays_recorded(project: Project, other: Project) -> None:
    kernel = project.build()
    project.ensure()
    text = project.lock_file.read_text()
    other.lock_file.write_text(text)

    with pytest.raises(OperationError, match="which is not in this store") as refused:
        other.ensure(locked=True)
    assert refused.value.hint is not None
    assert "i2kit kernel build" in refused.value.hint
    assert other.ensure().kernel != kernel.image
    assert ["i2kit kernel build" in message for message in other.warnings()] == [True]
    assert other.lock_file.read_text() == text

    assert other.build(locked=True) == kernel
    assert other.ensure(locked=True).kernel == kernel.image
    assert other.lock_file.read_text() == text


def test_the_lock_file_names_the_kernel_when_there_are_several(
    repository: Repository, project: Project
) -> None:
    first = project.build()
    project.ensure()
    text = project.lock_file.read_text()
    add_source(repository, "2")
    repository.update()
    assert project.build() == first, "the lock file names the source"

    project.lock_file.write_text(text.replace(first.source.sha256, "0" * 64))
    second = project.build()
    assert second.source.version == "2"
    assert "the newest source is taken instead" in project.warnings()[-1]
    assert project.recorded() == second

    project.lock_file.write_text(text)
    assert project.ensure().kernel == first.image, "older than the latest, and named"


def test_a_kernel_that_came_out_different_is_not_recorded_with_locked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.build()
    project.ensure()
    recorded = lock.read(project.lock_file)
    assert recorded
    assert recorded.kernel
    elsewhere = Kernel(recorded.kernel.source, recorded.kernel.config_sha256, "0" * 64)
    lock.write(project.lock_file, Lock(recorded.distribution, recorded.packages, elsewhere))
    with pytest.raises(OperationError, match="came out different"):
        project.build(locked=True)
    assert project.recorded() == elsewhere
    project.build()
    assert project.recorded() == recorded.kernel


def test_a_lost_kernel_is_compiled_again(project: Project) -> None:
    kernel = project.build()
    image = sources.resolve(kernel.image, store=project.store)
    project.store.remove_blob(image.layers[0].diff_id)
    assert own_kernel.latest(project.store) is None
    assert project.build() == kernel
    assert own_kernel.latest(project.store) == kernel


def test_a_damaged_note_of_the_latest_kernel(project: Project) -> None:
    kernel = project.build()
    note = project.store.root / "kernels" / "latest.json"
    for content in ("{", '{"record": {}, "sha256": ""}', ""):
        note.write_text(content)
        assert own_kernel.latest(project.store) == kernel
    note.unlink()
    assert project.ensure().kernel == kernel.image
    assert project.build() == kernel
    assert note.exists()


PACKAGE = Package("crun", "1", "0" * 64)
KERNEL = Kernel(Package("linux-source-6.1", "6.1.1-1", "1" * 64), "2" * 64, "3" * 64)
GOOD = lock.render(Lock(packages.Distribution("debian", "bookworm", "amd64"), (PACKAGE,), KERNEL))


def test_a_lock_file_with_a_kernel_is_read_as_written() -> None:
    assert lock.parse(GOOD, "x")["amd64"].kernel == KERNEL
    assert lock.render(lock.parse(GOOD, "x")["amd64"]) == GOOD


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('"6.1.1-1"', '"-o x"'), "[kernel] needs source, version"),
        (lambda text: text.replace("config_sha256", "other"), "config_sha256 of [kernel] is not"),
        (lambda text: text.replace("3" * 64, "3"), "image_sha256 of [kernel] is not 64 hex"),
    ],
)
def test_a_broken_kernel_in_a_lock_file(change: Callable[[str], str], says: str) -> None:
    with pytest.raises(InputError) as refused:
        lock.parse(change(GOOD), "i2kit.lock")
    line = GOOD[: GOOD.index("[kernel]")].count("\n") + 1
    assert f"i2kit.lock:{line}:1: {says}" in str(refused.value)


def test_the_lock_of_another_distribution_does_not_decide(project: Project) -> None:
    kernel = project.build()
    foreign = Lock(packages.Distribution("debian", "sarge", "amd64"), (PACKAGE,), KERNEL)
    lock.write(project.lock_file, foreign)
    assert project.build() == kernel
    assert lock.read(project.lock_file) == foreign, "the base replaces it, and says so"
    assert project.ensure().kernel == kernel.image
    recorded = lock.read(project.lock_file)
    assert recorded
    assert recorded.distribution == distribution()
    assert recorded.kernel == kernel
