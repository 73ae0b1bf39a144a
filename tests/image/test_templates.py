"""LinuxKit templates from the command's point of view: which form by default, what is printed and told."""

import json
import tarfile
from pathlib import Path

import pytest

from i2kit import app
from i2kit.errors import InputError
from i2kit.events import Event, Warned
from i2kit.image.linuxkit.text import expanded_reference
from tests.image import elves
from tests.image.pods import settings
from tests.image.registries import make_image, write_layout
from tests.image.tars import entry, tar_bytes

SERVICE = "services: [{name: web, image: example.com/app, command: []}]\n"


def built(
    folder: Path, text: str, format_: str | None = None, events: list[Event] | None = None
) -> app.Built:
    images = folder / "images"
    if not images.exists():
        kernel = make_image([tar_bytes([entry("kernel", b"K"), entry("kernel.tar", tar_bytes([]))])])
        application = make_image([tar_bytes([entry("bin/app", b"app")])])
        write_layout(images, {"example.com/kernel": kernel, "example.com/app": application})
    (folder / "pod.yml").write_text(text)
    return app.build_linuxkit(
        [str(folder / "pod.yml")],
        format_=format_,
        settings=settings(folder, images=(images,)),
        watch=(lambda event: None) if events is None else events.append,
        output=folder / "out",
    )


def test_a_template_is_built_as_by_linuxkit(tmp_path: Path) -> None:
    found = built(tmp_path, f"kernel: {{image: example.com/kernel, cmdline: quiet}}\n{SERVICE}")
    assert sorted(file.name for file in found.output.files) == ["cmdline", "initrd.img", "kernel"]
    assert (tmp_path / "out/cmdline").read_bytes() == b"quiet", "nothing is added"
    names = {
        part.partition(b"\0")[0] for part in (tmp_path / "out/initrd.img").read_bytes().split(b"boot")[1:]
    }
    assert names == {b""}, "the folder is there, what starts the machine is not"
    assert json.loads(found.sbom())["spdxVersion"] == "SPDX-2.3"


def test_without_a_kernel_it_is_a_tar_that_tells_its_parts_all_the_same(tmp_path: Path) -> None:
    found = built(tmp_path, SERVICE)
    assert [file.name for file in found.output.files] == ["image.tar"]
    names = [package["name"] for package in json.loads(found.sbom())["packages"]]
    assert "example.com/app" in names


def test_what_the_template_says_of_itself_is_never_that_of_another(tmp_path: Path) -> None:
    """Two names of one image are the same machine, unless it holds the template."""

    def text_in(reference: str, template: str) -> str:
        found = built(tmp_path, f"{template}services: [{{name: web, image: {reference}, command: [x]}}]\n")
        with tarfile.open(found.output.files[0].path) as archive:
            names = archive.getnames()
            said = archive.extractfile("etc/template") if "etc/template" in names else None
            return said.read().decode() if said else found.output.id

    one, other = "example.com/app", "example.com/app:latest"
    assert text_in(one, "") == text_in(other, "")
    for reference in (one, other, one):
        described = text_in(reference, "files: [{path: etc/template, metadata: yaml}]\n")
        assert f"image: {expanded_reference(reference)}\n" in described


def test_an_image_by_two_names_is_another_machine_than_by_one(tmp_path: Path) -> None:
    """LinuxKit unpacks it once for each name: what was built before must not be taken for the other."""

    def sizes(*references: str) -> int:
        services = "".join(
            f"- {{name: s{n}, image: {one}, command: [x]}}\n" for n, one in enumerate(references)
        )
        found = built(tmp_path, f"services:\n{services}")
        with tarfile.open(found.output.files[0].path) as archive:
            return sum(name.endswith("/bin/app") for name in archive.getnames())

    one, other = "example.com/app", "example.com/app:latest"
    assert (sizes(one, one), sizes(one, other), sizes(one, one)) == (1, 2, 1)


def test_what_needs_attention_is_told_once(tmp_path: Path) -> None:
    """A tar is assembled anew after the machine image."""
    events: list[Event] = []
    built(tmp_path, f"kernel: {{image: example.com/kernel}}\n{SERVICE}", "tar", events)
    told = [event.message for event in events if isinstance(event, Warned)]
    assert len(told) == 1 and "`web` has nothing to run" in told[0]


def test_a_damaged_kernel_is_told_where_it_is_named(tmp_path: Path) -> None:
    files = [entry("kernel", elves.bzimage(b"BZh91AY")), entry("kernel.tar", tar_bytes([]))]
    write_layout(tmp_path / "images", {"example.com/kernel": make_image([tar_bytes(files)])})
    said = "pod.yml:1:17: the kernel of the image `example.com/kernel` cannot be used: .* in an unknown way"
    with pytest.raises(InputError, match=said):
        built(tmp_path, "kernel: {image: example.com/kernel}\n")
