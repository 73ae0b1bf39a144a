"""Images that are made here: a folder with a Dockerfile → an image archive, by buildah or docker.

In: a Build, a folder to write to. Out: a reference of the archive, such as `oci-archive:FILE`. The builder
is run every time: what it need not do again is known to its own cache, and the same image has the same
digest. Its settings are those of its environment, such as BUILDAH_ISOLATION. Sources: buildah-build(1),
buildah-push(1), docker build, docker image save.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from i2kit.errors import InputError, Problem
from i2kit.events import Finished, Note, Started, Watcher, ignore
from i2kit.model import Build
from i2kit.process import ProgramError, follow, which

BUILDERS = ("buildah", "docker")
"""In the order in which they are looked for: buildah needs no daemon."""

_STEP = re.compile(r"(?:STEP|Step|#\d+ \[).*")

_OWN = re.compile(
    r"(?:LD|DOCKER|BUILDKIT|BUILDAH|STORAGE|CONTAINERS|REGISTRY|XDG|TMP|GO)|.*_proxy$", re.IGNORECASE
)
"""Variables that the builder itself goes by."""


def build(name: str, wanted: Build, folder: Path, *, platform: str, watch: Watcher = ignore) -> str:
    """Make the image, in a file in `folder`. Raises InputError with the builder's last lines."""
    builder = next((one for one in BUILDERS if which(one)), None)
    if builder is None:
        message = f"there is neither buildah nor docker to build {name} with"
        hint = "install one of them, for example: sudo apt-get install buildah"
        raise InputError([Problem(message, hint=hint)])
    context = Path(wanted.context).absolute()
    key = f"build {context} {wanted.dockerfile} {wanted.target}"
    watch(Started(key, f"{builder} build {name}"))

    def tell(line: str) -> None:
        if _STEP.match(line):
            watch(Note(f"{name}: {line.strip()}"))

    digest = folder / "id"
    dockerfile = _dockerfile(wanted, context, folder)
    archive = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'image'}.tar"
    given = environment(wanted)
    try:
        words = build_words(builder, wanted, context, dockerfile, digest, platform, given)
        follow(words, tell, cwd=context, env=given)
        image = digest.read_text().strip()
        follow(save_words(builder, image, archive), tell, cwd=folder)
    except ProgramError as error:
        raise InputError([Problem(error.message, hint=error.hint)]) from error
    watch(Finished(key, image.removeprefix("sha256:")[:12]))
    return f"{'oci-archive' if builder == 'buildah' else 'docker-archive'}:{archive}"


def environment(wanted: Build) -> Mapping[str, str]:
    """The build arguments that can be in the builder's environment, where no other program sees them."""
    known = os.environ
    return {
        name: value
        for name, value in wanted.args
        if (known[name] == value if name in known else not _OWN.match(name))
    }


def _dockerfile(wanted: Build, context: Path, folder: Path) -> Path | None:
    """What is built, where it is not the Dockerfile in the context."""
    if wanted.inline:
        written = folder / "Dockerfile"
        written.write_text(wanted.inline)
        return written
    if wanted.dockerfile:
        return context / wanted.dockerfile
    # Only buildah finds this one by itself.
    other = context / "Containerfile"
    return other if other.exists() and not (context / "Dockerfile").exists() else None


def build_words(
    builder: str,
    wanted: Build,
    context: Path,
    dockerfile: Path | None,
    digest: Path,
    platform: str,
    given: Mapping[str, str],
) -> list[str | Path]:
    """The command that builds, and writes the image's id to a file."""
    words: list[str | Path] = [builder, "build", "--iidfile", digest, "--platform", platform]
    if builder == "buildah":
        words.append("--layers")  # its cache, which docker always has
    if dockerfile:
        words += ["--file", dockerfile]
    if wanted.target:
        words += ["--target", wanted.target]
    for name, value in wanted.args:
        words += ["--build-arg", name if name in given else f"{name}={value}"]
    for name, source in wanted.secrets:
        words += ["--secret", f"id={name},{source}"]
    for name, source in wanted.contexts:
        words += ["--build-context", f"{name}={source}"]
    return [*words, *wanted.options, context]


def save_words(builder: str, image: str, archive: Path) -> list[str | Path]:
    """The command that writes the image of an id to a file."""
    if builder == "buildah":
        return [builder, "push", "--quiet", image, f"oci-archive:{archive}"]
    return [builder, "save", "--output", archive, image]
