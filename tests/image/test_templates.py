"""LinuxKit templates from the command's point of view: which form by default, what is printed and told."""

import json
from pathlib import Path

from i2kit import app
from i2kit.events import Event, Warned
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


def test_what_needs_attention_is_told_once(tmp_path: Path) -> None:
    """A tar is assembled anew after the machine image."""
    events: list[Event] = []
    built(tmp_path, f"kernel: {{image: example.com/kernel}}\n{SERVICE}", "tar", events)
    told = [event.message for event in events if isinstance(event, Warned)]
    assert len(told) == 1 and "`web` has nothing to run" in told[0]
