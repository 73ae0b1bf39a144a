"""Measures what a user waits for and pays for, on this machine, now: sizes, times, memory.

Run by `make bench`. In: the nginx image of the examples. Out: a Markdown table. Times depend on the
machine and on what else it does: compare columns of one run, not runs of two machines.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from i2kit import app, image, settings
from i2kit.events import ignore
from i2kit.model import Container, Port, Release, Workload
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
    """A machine where nothing else of i2kit runs, with the user's store."""
    with tempfile.TemporaryDirectory(prefix="i2kit-") as folder:
        yield replace(
            settings.load(),
            state_dir=Path(folder) / "state",
            run_dir=Path(folder) / "run",
            lock_file=Path(folder) / "i2kit.lock",
        )


def nginx(folder: Path) -> str:
    """The reference of the examples' nginx image, made in this folder."""
    subprocess.run([sys.executable, ROOT / "examples/nginx-image/build.py", folder], check=True)
    return f"oci:{folder}:stable"


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


def rows() -> Iterator[tuple[str, str]]:
    with machine() as given, tempfile.TemporaryDirectory(prefix="i2kit-bench-") as folder:
        reference = nginx(Path(folder) / "nginx")
        base = released(pod(reference), given).image
        yield "kernel as booted (ELF)", f"{base.kernel.stat().st_size / 1e6:.1f} MB"
        yield "initrd", f"{base.initrd.stat().st_size / 1e6:.1f} MB"
        yield "root, with nginx", f"{base.root.stat().st_size / 1e6:.1f} MB" if base.root else "none"
        fresh = [timed(lambda: released(pod(reference, mark=uuid.uuid4().hex), given)) for _ in range(RUNS)]
        yield "machine image, base and layers in the store", f"{statistics.median(fresh):.2f} s"
        again = [timed(lambda: released(pod(reference), given)) for _ in range(RUNS)]
        yield "machine image, nothing changed", f"{statistics.median(again):.2f} s"
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
            yield f"destroy of {replicas}", f"{statistics.median(down):.2f} s"


def main() -> None:
    print("| what | measured |\n|---|---|")
    for name, value in rows():
        print(f"| {name} | {value} |", flush=True)


if __name__ == "__main__":
    main()
