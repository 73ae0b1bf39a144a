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
    archive = folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'image'}.tar"
    given = environment(wanted)
    try:
        follow(build_words(builder, wanted, context, digest, platform, given), tell, cwd=context, env=given)
        image = digest.read_text().strip()
        follow(save_words(builder, image, archive), tell, cwd=folder)
    except ProgramError as error:
        raise InputError([Problem(error.message, hint=error.hint)]) from error
    watch(Finished(key, image.removeprefix("sha256:")[:12]))
    return f"{'oci-archive' if builder == 'buildah' else 'docker-archive'}:{archive}"


def environment(wanted: Build) -> Mapping[str, str]:
    """The build arguments that can be in the builder's environment, where no other program sees them."""
    return {name: value for name, value in wanted.args if name not in os.environ and not _OWN.match(name)}


def build_words(
    builder: str, wanted: Build, context: Path, digest: Path, platform: str, given: Mapping[str, str]
) -> list[str | Path]:
    """The command that builds, and writes the image's id to a file."""
    words: list[str | Path] = [builder, "build", "--iidfile", digest, "--platform", platform]
    if builder == "buildah":
        words.append("--layers")  # its cache, which docker always has
    if wanted.dockerfile:
        words += ["--file", context / wanted.dockerfile]
    if wanted.target:
        words += ["--target", wanted.target]
    for name, value in wanted.args:
        words += ["--build-arg", name if name in given else f"{name}={value}"]
    return [*words, context]


def save_words(builder: str, image: str, archive: Path) -> list[str | Path]:
    """The command that writes the image of an id to a file."""
    if builder == "buildah":
        return [builder, "push", "--quiet", image, f"oci-archive:{archive}"]
    return [builder, "save", "--output", archive, image]
