"""The second stage: a Workload becomes a machine image in the store.

In: a Workload or a LinuxKit template. Out: the template that says all about a pod's machine (`render`),
the MachineImage itself (`build`), or its files in another form, such as a disk (`output`): the same bytes
for the same images and the same base, on every machine, by every user. Knows nothing of providers, and
what is in the store it never makes again.

  machine       all that follows, in order
  sources/      image references → digests → layers: registries, layouts, archives
  base/         the distribution's packages → the kernel and the programs of every machine
  template      pod, images, base → LinuxKit YAML (pure)
  linuxkit/     LinuxKit YAML → values; an entry of it → OCI runtime configuration (pure);
                linuxkit_packages has the names of packages that it names by their folders
  assemble      template and images → one file tree; linuxkit_builder has the real LinuxKit do it
  sbom/         what is in it, as SPDX
  tree/         layers → file tree → erofs, cpio, tar
  disk/         kernel, initramfs and root → a disk that boots by UEFI and BIOS, as raw, qcow2, VHD
  outputs       machine image → the form that somebody boots
  store         everything by the hash of its content; atomic writes the small files beside it
  upkeep/       what the store holds, who needs it, what may go
"""

from i2kit.image.linuxkit import parse_all as parse_linuxkit
from i2kit.image.machine import build, output, render
from i2kit.image.outputs import AT_TIMES, sbom_of

__all__ = ["AT_TIMES", "build", "output", "parse_linuxkit", "render", "sbom_of"]
