"""The second stage: a Workload becomes a machine image in the store.

In: a Workload. Out: the LinuxKit template that says all about its machine (`render`), or the
MachineImage itself (`build`): the same bytes for the same images and the same base, on every
machine, by every user. Knows nothing of providers, and what is in the store it never makes again.

  reference, registry, sources    image references → digests, layers in the store
  flatten, tree, identity         layers → file tree; its users
  base, components, packages      the distribution's packages → kernel and programs of the machines
  machine                         all of this in order
  template                        pod, images, base → LinuxKit YAML (pure)
  linuxkit, spec, assemble        LinuxKit YAML, images → one file tree
  filesystem, initramfs           file tree → erofs image, cpio archive
  store                           everything by the hash of its content
"""

from i2kit.image.machine import build, render

__all__ = ["build", "render"]
