"""Files, folders and stdin: what is found, and what cannot be read."""

import os
from pathlib import Path

import pytest

from i2kit.errors import InputError
from i2kit.manifest import read
from tests.manifest.reading import POD, SERVICE

WEB = "name: web\ncontainers: {web: {image: nginx}}\n"


def wrong(*paths: Path | str, stdin: bytes | None = None) -> list[str]:
    with pytest.raises(InputError) as caught:
        read([str(path) for path in paths], stdin)
    return [str(problem) for problem in caught.value.problems]


def test_a_folder_is_its_manifests_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(WEB.replace("web", "b"))
    (tmp_path / "a.yml").write_text(WEB.replace("web", "a"))
    (tmp_path / "c.json").write_text('{"name": "c", "containers": {"c": {"image": "nginx"}}}')
    (tmp_path / "notes.txt").write_text("not a manifest")
    (tmp_path / ".hidden.yml").write_text("not a manifest")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "d.yml").write_text("not a manifest")
    found = read([str(tmp_path)])
    assert [workload.name for workload in found.workloads] == ["a", "b", "c"]
    assert found.workloads[0].position is not None
    assert found.workloads[0].position.file == str(tmp_path / "a.yml")


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(WEB)
    (tmp_path / "link.yml").symlink_to(file)
    assert len(read([str(file), str(tmp_path), str(file)]).workloads) == 1


def test_stdin_beside_files(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(SERVICE + "  ports: [{port: 80}]\n")
    found = read([str(tmp_path), "-", "-"], POD.encode())
    assert (len(found.workloads), len(found.services)) == (1, 1)
    assert found.workloads[0].position is not None
    assert found.workloads[0].position.file == "stdin"
    assert wrong("-", "-")[:1] == ["stdin:1:1: nothing was given on stdin"]


def test_what_cannot_be_read_is_told_beside_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.yml").write_text("name: A\ncontainers: {a: {image: b}}\n")
    (tmp_path / "gone.yml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    missing, empty, bad = tmp_path / "missing.yml", tmp_path / "empty", tmp_path / "a.yml"
    messages = wrong(missing, empty, tmp_path / "gone.yml", bad, tmp_path / "fifo", "/dev/zero")
    assert messages == [
        f"{missing}:1:1: cannot be read: no such file or directory",
        f"{empty}:1:1: there are no .yml, .yaml or .json files in this folder\n"
        "  hint: folders below it are not searched: name them",
        f"{tmp_path}/gone.yml:1:1: cannot be read: no such file or directory",
        f"{tmp_path}/fifo:1:1: is not a regular file\n  hint: pipe it in: … | i2kit deploy -f -",
        "/dev/zero:1:1: is not a regular file\n  hint: pipe it in: … | i2kit deploy -f -",
        f"{bad}:1:7: name: `A` is not a DNS label: upper case is not allowed\n  hint: use `a`",
    ]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_pipe_that_the_shell_has_opened(name: str) -> None:
    """`-f <(command)`: bash gives the reading end of a pipe by such a name."""
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "wb") as written:
        written.write(WEB.encode())
        written.close()
        (found,) = read([name.format(reader)]).workloads
    assert found.name == "web"


def test_one_unreadable_file_of_a_folder_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yml").symlink_to("nowhere")
    (tmp_path / "b.yml").write_text("name: B\ncontainers: {a: {image: b}}\n")
    os.mkfifo(tmp_path / "c.yml")
    places = [message.split(":")[0] for message in wrong(tmp_path)]
    assert sorted(places) == [f"{tmp_path}/{name}.yml" for name in "abc"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text(WEB)
    file.chmod(0)
    assert wrong(file) == [f"{file}:1:1: cannot be read: permission denied"]


def test_a_file_of_a_gigabyte_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    with file.open("wb") as opened:
        opened.truncate(2**30)
    assert wrong(file) == [f"{file}:1:1: is larger than 10 MB\n  hint: give only the documents to deploy"]


def test_no_documents_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("# nothing\n---\n")
    hint = "\n  hint: a manifest begins with name: and containers:"
    assert wrong(tmp_path) == [f"{tmp_path}/a.yml:1:1: there are no documents in it{hint}"]
    assert wrong() == [f"no manifest was given{hint}"]
