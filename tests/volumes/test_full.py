"""Volumes without a free block, or without a free inode: their notebooks start and serve all the same, and are warned."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.api import SHARED_VOLUME
from support.deadline import wait_until
from support.world import World

pytestmark = pytest.mark.local

# What a user could do, too, but takes longer in a notebook. The blocks are allocated and not written.
FILL_BLOCKS = """
import os
os.chdir('/home/ma-user/work')
for size in (1 << 30, 1 << 20, 1 << 12):
    number = 0
    while True:
        try:
            with open(f'filler-{size}-{number}', 'wb') as filler:
                os.posix_fallocate(filler.fileno(), 0, size)
        except OSError as error:
            assert error.errno == 28, error
            break
        number += 1
"""
FILL_INODES = """
import itertools
try:
    for number in itertools.count():
        open(f'/home/ma-user/work/empty-{number}', 'x').close()
except OSError as error:
    assert error.errno == 28, error
"""
# The least that a user must be able to do.
CLEAR = """
import os, glob
for path in glob.glob('/home/ma-user/work/filler-*') + glob.glob('/home/ma-user/work/*/empty-*'):
    os.remove(path)
open('/home/ma-user/work/room.txt', 'w').write('room' * 1000)
"""


def run(world, notebook, code):
    """Runs code in a kernel of the notebook."""
    with world.notebook(world.api.show(notebook)).new_kernel() as kernel:
        kernel.run(code, seconds=240)


def restarted(world, notebook):
    """The notebook, stopped and started with its volume as it is; it must serve."""
    world.api.stop(notebook)
    world.api.wait_for(notebook, "STOPPED")
    starts(world, notebook)


def starts(world, notebook):
    """The notebook starts, and its page is there."""
    world.api.start(notebook)
    shown = world.api.wait_for_running(notebook)
    for path in ("/api/status", "/lab"):
        assert world.notebook(shown).request("GET", path).status_code == 200


def warnings(world, notebook):
    """What the notebook's history tells of a volume that is nearly full, once the present server has looked at it."""

    def looked_at():
        volumes = {volume["notebook_id"]: volume for volume in world.api.own("/volumes")["volumes"]}
        return "used" in volumes[notebook]

    wait_until(looked_at, "the server has looked", 60)
    return world.api.events(notebook, "volume.nearly_full")


@contextlib.contextmanager
def mounted(volume):
    """The volume of a stopped notebook, as a folder of this machine."""
    folder = tempfile.mkdtemp(prefix="atelier-test-", dir="/var/tmp")
    subprocess.run(["mount", "-o", "loop,nodev,nosuid", volume, folder], check=True)
    try:
        yield Path(folder)
    finally:
        subprocess.run(["umount", folder], check=True)
        os.rmdir(folder)


@pytest.mark.parametrize("fields", [{}, {"volume": SHARED_VOLUME}], ids=["own", "shared"])
def test_a_volume_without_a_free_block_keeps_nobody_out(fields):
    with World("local", environment={"ATELIER_VOLUMES__SHARED_GIB": "5"}) as world:
        notebook = world.api.create_running(**fields)["id"]
        run(world, notebook, FILL_BLOCKS)
        run(world, notebook, FILL_INODES)
        restarted(world, notebook)
        # A server looks at its start, and tells a thing once.
        for _ in range(2):
            world.restart()
            assert len(warnings(world, notebook)) == 1
        run(world, notebook, CLEAR)
        restarted(world, notebook)


def test_a_volume_without_a_free_inode_keeps_nobody_out():
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": "false"}) as world:
        notebook = world.api.create_running()["id"]
        world.api.stop(notebook)
        world.api.wait_for(notebook, "STOPPED")
        with mounted(world.volume_of(notebook)) as folder:
            # Few enough that filling them takes seconds.
            subprocess.run(["xfs_growfs", "-m", "1", folder], check=True, stdout=subprocess.DEVNULL)
            fill(folder)
        starts(world, notebook)
        world.restart()
        assert len(warnings(world, notebook)) == 1
        run(world, notebook, CLEAR)


def fill(folder):
    """Takes all inodes, as the notebook's user."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            inner = folder / str(number // 1000)
            if number % 1000 == 0:
                inner.mkdir()
                os.chown(inner, 1000, 100)
            os.close(os.open(inner / f"empty-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            number += 1
    seen = os.statvfs(folder)
    assert seen.f_ffree < 64 and seen.f_bfree > seen.f_blocks // 2, seen
