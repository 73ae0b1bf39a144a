"""The second stage: a Workload becomes a machine image in the store.

In: a Workload or a LinuxKit template. Out: the template that says all about a pod's machine (`render`),
the MachineImage itself (`build`), or its files in another form, such as a disk (`output`): the same bytes
for the same images and the same base, on every machine, by every user. Knows nothing of providers, and
what is in the store it never makes again.

  reference, registry, sources    image references → digests, layers in the store
  flatten, tree, identity         layers → file tree; its users
  base, components, packages      the distribution's packages → kernel and programs of the machines
  machine                         all of this in order
  template                        pod, images, base → LinuxKit YAML (pure)
  linuxkit, spec, assemble        LinuxKit YAML, images → one file tree
  filesystem, initramfs           file tree → erofs image, cpio archive
  outputs                         machine image → what is booted elsewhere
  store                           everything by the hash of its content
  inventory, roots, prune         what the store holds, who needs it, what may go
  upkeep                          these for the use cases: held while one builds, listed, pruned
"""

from i2kit.image.linuxkit import parse_all as parse_linuxkit
from i2kit.image.machine import build, output, render

__all__ = ["build", "output", "parse_linuxkit", "render"]
