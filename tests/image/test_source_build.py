"""Images that are made of a folder: the commands, what goes wrong, and buildah itself."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from i2kit import process
from i2kit.errors import InputError
from i2kit.events import Event, Note
from i2kit.image.sources import resolve
from i2kit.image.sources.build import build, build_words, environment, save_words
from i2kit.image.store import Store
from i2kit.model import Build, Port


@pytest.mark.parametrize(
    ("builder", "wanted", "given", "words"),
    [
        ("buildah", Build("web"), {}, "buildah build --iidfile /s/id --platform linux/amd64 --layers /c"),
        (
            "docker",
            Build(
                "web",
                target="prod",
                args=(("A", "1"), ("B", "2")),
                secrets=(("s", "env=S"),),
                contexts=(("lib", "/lib"),),
                options=("--pull",),
            ),
            {"B": "2"},
            "docker build --iidfile /s/id --platform linux/amd64 --target prod --build-arg A=1 --build-arg B"
            " --secret id=s,env=S --build-context lib=/lib --pull /c",
        ),
    ],
)
def test_the_command_that_builds(builder: str, wanted: Build, given: Mapping[str, str], words: str) -> None:
    made = build_words(builder, wanted, Path("/c"), None, Path("/s/id"), "linux/amd64", given)
    assert " ".join(map(str, made)) == words


def test_the_command_that_saves() -> None:
    assert save_words("buildah", "abc", Path("/s/a.tar")) == [
        "buildah", "push", "--quiet", "abc", "oci-archive:/s/a.tar",
    ]  # fmt: skip
    assert save_words("docker", "abc", Path("/s/a.tar")) == [
        "docker", "save", "--output", Path("/s/a.tar"), "abc",
    ]  # fmt: skip


def test_arguments_are_not_in_a_command_unless_the_builder_goes_by_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TOKEN", "http_proxy", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    args = (("TOKEN", "t"), ("PATH", "/x"), ("DOCKER_HOST", "h"), ("http_proxy", "p"))
    assert environment(Build("web", args=args)) == {"TOKEN": "t"}
    monkeypatch.setenv("TOKEN", "another")
    monkeypatch.setenv("PATH", "/x")
    assert environment(Build("web", args=args)) == {"PATH": "/x"}


def test_without_a_builder_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(InputError) as caught:
        build("shop-web", Build(str(tmp_path)), tmp_path, platform="linux/amd64")
    assert str(caught.value) == (
        "there is neither buildah nor docker to build shop-web with\n"
        "  hint: install one of them, for example: sudo apt-get install buildah"
    )


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """buildah with a storage of its own, as it works in a container, too."""
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed")
    config = tmp_path / "storage.conf"
    lines = ["[storage]", 'driver = "vfs"', f'graphroot = "{tmp_path}/graph"', f'runroot = "{tmp_path}/run"']
    config.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(config))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")


DOCKER = """\
#!/bin/sh
# What docker's client takes and gives, done by buildah.
PATH={path}
word=$1 && shift
case "$word $*" in
"build --iidfile "*) exec buildah build --layers "$@" ;;
"save --output "*) [ $# = 3 ] && exec buildah push --quiet "$3" "docker-archive:$2" ;;
esac
echo "unknown command: docker $word $*" >&2
exit 125
"""


@pytest.fixture(params=["buildah", "docker"])
def builder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the builders; there need not be a daemon of docker's."""
    if request.param == "docker":
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "docker").write_text(DOCKER.format(path=process.SEARCH_PATH))
        (programs / "docker").chmod(0o755)
        monkeypatch.setattr(process, "SEARCH_PATH", str(programs))
    return str(request.param)


@pytest.mark.usefixtures("storage")
def test_an_image_is_made_and_the_same_one_again(builder: str, tmp_path: Path) -> None:
    context, store = tmp_path / "web", Store(tmp_path / "store")
    context.mkdir()
    (context / "Containerfile").write_text(
        'FROM scratch\nARG GREETING\nCOPY . /www/\nENV A=$GREETING\nEXPOSE 80\nCMD ["/www/run"]\n'
    )
    (context / "index.html").write_text("hello")
    (context / "notes").write_text("mine")
    (context / ".dockerignore").write_text("notes\n")
    told: list[Event] = []
    wanted = Build(str(context), args=(("GREETING", "good morning"),))
    found = []
    for _ in range(2):
        with store.scratch() as scratch:
            reference = build("shop-web", wanted, scratch, platform="linux/amd64", watch=told.append)
            found.append(resolve(reference, store=store))
    first, second = found
    assert first.digest == second.digest
    assert first.pinned == f"localhost/shop-web@{first.digest}"
    assert first.config.cmd == ("/www/run",)
    assert ("A", "good morning") in first.config.env
    assert first.config.ports == (Port(80),)
    assert any(getattr(event, "title", "") == f"{builder} build shop-web" for event in told)
    assert any(isinstance(event, Note) and "STEP 3/6: COPY . /www/" in event.message for event in told)
    layers = [store.blob(layer.digest) for layer in first.layers]
    assert all(layers)


@pytest.mark.usefixtures("storage")
def test_a_dockerfile_can_be_in_the_manifest_and_copy_from_other_folders(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a").write_text("x")
    (tmp_path / "web").mkdir()
    inline = 'FROM scratch\nCOPY --from=lib a /\nCMD ["/a"]\n'
    wanted = Build(str(tmp_path / "web"), inline=inline, contexts=(("lib", str(tmp_path / "lib")),))
    store = Store(tmp_path / "store")
    with store.scratch() as scratch:
        found = resolve(build("web", wanted, scratch, platform="linux/amd64"), store=store)
    assert found.config.cmd == ("/a",)


@pytest.mark.usefixtures("storage")
def test_what_buildah_said_last_is_told(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n")
    with pytest.raises(InputError) as caught:
        build("web", Build(str(tmp_path)), tmp_path, platform="linux/amd64")
    assert "`buildah` failed with exit status 125" in str(caught.value)
    assert "missing" in str(caught.value).splitlines()[-1]
