"""The list of what is left must see each kind of thing, else the crash suite could not fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import children
from support.deadline import DeadlineError, wait_until
from support.leftovers import LeftoverError, Leftovers
from support.server import Server

pytestmark = pytest.mark.local


@pytest.fixture
def leftovers(tmp_path):
    """Lists for a data folder without a server."""
    data = tmp_path / "data"
    data.mkdir()
    return Leftovers(Server(data, log=tmp_path / "log"))


def must_show(leftovers, before, kind):
    """The difference names the kind, and says so before long."""
    with pytest.raises(LeftoverError) as found:
        leftovers.wait_until_equal(before, 0.3)
    assert [line for line in found.value.more if line.startswith(kind)], str(found.value)


def test_a_process_that_has_detached_itself_is_seen(leftovers):
    before = leftovers.take()
    # A daemon's way to hide: forks twice, leads a session of its own, its parent is gone.
    program = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)"
    subprocess.run([sys.executable, "-c", program], check=True)
    must_show(leftovers, before, "processes")
    children.end_all(children.descendants())
    leftovers.wait_until_equal(before)


def test_a_namespace_is_seen(leftovers):
    before = leftovers.take()
    with subprocess.Popen(["unshare", "--net", "--mount", "sleep", "1000"]) as sleeper:
        must_show(leftovers, before, "namespaces")
        sleeper.kill()
    leftovers.wait_until_equal(before)


def test_a_loop_device_is_seen(leftovers):
    image = leftovers.server.data_dir / "volume.img"
    image.write_bytes(bytes(1 << 20))
    before = leftovers.take()
    device = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=True).stdout
    try:
        must_show(leftovers, before, "loops")
    finally:
        subprocess.run(["losetup", "--detach", device.strip()], check=True)
    leftovers.wait_until_equal(before)


def test_a_mount_is_seen(leftovers):
    place = leftovers.server.data_dir / "place"
    place.mkdir()
    before = leftovers.take()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        must_show(leftovers, before, "mounts")
    finally:
        subprocess.run(["umount", place], check=True)
    leftovers.wait_until_equal(before)


def test_a_control_group_is_seen(leftovers):
    before = leftovers.take()
    top = next(path for path in Path("/sys/fs/cgroup").rglob("cgroup.procs")).parent
    group = top / "atelier" / f"{leftovers.mark()}-left"
    had = group.parent.is_dir()
    group.mkdir(parents=True)
    try:
        must_show(leftovers, before, "cgroups")
    finally:
        group.rmdir()
        if not had:
            group.parent.rmdir()
    leftovers.wait_until_equal(before)


def test_an_interface_is_seen(leftovers):
    if leftovers.shared:
        leftovers.shared = False
    name = f"atl{os.getpid() % 10**6}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"p{name}"], check=True)
    try:
        assert name in leftovers.interfaces()
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)
    assert name not in leftovers.interfaces()


def test_a_socket_is_seen(leftovers):
    before = leftovers.take()
    folder = Path("/run/atelier") / leftovers.mark()
    had = folder.parent.is_dir()
    folder.mkdir(parents=True)
    try:
        must_show(leftovers, before, "sockets")
    finally:
        folder.rmdir()
        if not had:
            folder.parent.rmdir()
    leftovers.wait_until_equal(before)


def test_a_folder_is_seen_but_not_inside_of_a_notebook_that_runs_on(leftovers):
    leftovers.kept = {"kept"}
    kept = leftovers.server.data_dir / "notebooks" / "kept"
    kept.mkdir(parents=True)
    before = leftovers.take()
    (kept / "layer").mkdir()
    leftovers.wait_until_equal(before, 0.3)
    (leftovers.server.data_dir / "notebooks" / "left").mkdir()
    must_show(leftovers, before, "folders")


def test_what_vanished_is_seen(leftovers):
    place = leftovers.server.data_dir / "there"
    place.mkdir()
    before = leftovers.take()
    place.rmdir()
    with pytest.raises(LeftoverError) as found:
        leftovers.wait_until_equal(before, 0.3)
    assert found.value.less


def test_a_wait_ends(leftovers):
    del leftovers
    with pytest.raises(DeadlineError):
        wait_until(lambda: False, "never", 0.1)
