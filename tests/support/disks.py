"""The loop devices under volumes and layers, and what the kernel has written to them."""

import itertools
from pathlib import Path

_numbers = itertools.count(1)

BLOCK = Path("/sys/block")
SECTOR = 512


def devices_of(name):
    """The loop devices whose file has this in its path."""
    backing = BLOCK.glob("loop*/loop/backing_file")
    return [file.parts[3] for file in backing if name in file.read_text(encoding="utf-8")]


def volume_device(notebook):
    """The loop device under a running notebook's volume."""
    (device,) = devices_of(f"/{notebook}/volume.img")
    return device


def change(kernel, size):
    """Has a cell change so much of its notebook's volume. The file is a new one each time: one that was emptied before is
    written as soon as it is closed."""
    name = f"/home/ma-user/work/changed-{next(_numbers)}"
    kernel.run(f"open({name!r}, 'xb').write(bytes({size}))")


def written(device):
    """How many bytes have been written to a device."""
    return counted(device)[6] * SECTOR


def flushed(device):
    """How many times a device was asked to keep what was written."""
    return counted(device)[15]


def counted(device):
    return [int(count) for count in (BLOCK / device / "stat").read_text(encoding="utf-8").split()]
