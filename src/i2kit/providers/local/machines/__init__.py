"""VMs: QEMU's arguments, the process and what its guest says, its disks and secrets, what it is told."""
