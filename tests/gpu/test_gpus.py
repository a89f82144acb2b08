"""GPUs from the driver to the kernel of a notebook: found, shown, given to one notebook at a time, and free at its stop."""

import json
from pathlib import Path

import pytest
from support.api import RefusedError
from support.attempts import Attempt, in_the_cell, on_the_machine
from support.gpus import BOTH, DRIVER, KIND, MINORS, NVIDIA, SMALL

pytestmark = pytest.mark.local

CLAIMS = Path("/run/atelier/gpus")
# Gets as far as to the driver, of which there is none.
OPEN = """
import errno, os
try:
    os.open({path!r}, os.O_RDWR)
except OSError as said:
    if said.errno != errno.ENXIO:
        raise
brought = 'let through'
"""
MAKE_AND_OPEN = """
import os, tempfile
path = os.path.join(tempfile.mkdtemp(), 'node')
os.mknod(path, 0o020666, os.makedev({major}, {minor}))
""" + OPEN.replace("{path!r}", "path")
LOAD = """
import ctypes
version = ctypes.c_int()
assert ctypes.CDLL('libcuda.so.1').cuDriverGetVersion(ctypes.byref(version)) == 0
brought = str(version.value)
"""


@pytest.fixture(scope="module")
def shown(world):
    """A notebook with one of the GPUs, forked as notebooks usually are."""
    return world.create_forked(name="with-gpu", flavor=SMALL)


@pytest.fixture(scope="module")
def kernel(world, shown):
    """A kernel in it."""
    with world.notebook(shown).new_kernel() as kernel:
        yield kernel


def flavors(world, **query):
    """The flavors that are listed, by their ids."""
    return {flavor["id"]: flavor for flavor in world.api.call("GET", "/notebooks/flavors", query=query)["data"]}


def nodes(kernel):
    """The driver's nodes that a notebook has."""
    return set(kernel.value("[name for name in __import__('os').listdir('/dev') if 'nvidia' in name]"))


def claimed(world):
    """The GPUs that somebody holds, by their places."""
    return {at for at, id in enumerate(world.machine.ids) if (CLAIMS / id).exists()}


def code(call, *arguments, **fields):
    """The code that a call is refused with."""
    with pytest.raises(RefusedError) as refused:
        call(*arguments, **fields)
    return refused.value.code


def test_flavors_and_capacity_show_what_the_driver_says(world, shown):
    listed = flavors(world, category="GPU")
    assert set(listed) == {SMALL, BOTH, "fake.gpu.other"}
    assert listed[BOTH]["gpu"] == {"gpu": 2, "gpu_memory": "24GiB", "type": KIND}
    assert [listed[id]["sold_out"] for id in (SMALL, BOTH, "fake.gpu.other")] == [False, True, True]
    assert listed["fake.gpu.other"]["gpu"] == {"gpu": 1, "type": "Another"}
    assert world.api.own("/capacity")["gpus"] == [{"type": KIND, "memory_bytes": 24 << 30, "count": 2, "free": 1}]
    told = world.server.atelier("capacity").stdout
    assert f"{KIND}  24 GiB      2     1" in told, told
    said = world.server.text(tail=1 << 20)
    assert f"2 GPUs, driver {DRIVER}" in said and "is divided (MIG)" in said
    figures = world.server.atelier("notebook", "top", "with-gpu", "-o", "json").stdout
    [gpu] = json.loads(figures)[0]["gpus"]
    assert gpu == {"type": KIND, "busy_percent": 0, "memory": {"used": 0, "limit": 24 << 30}}


def test_a_notebook_finds_its_own_gpu_and_no_other(world, shown, kernel):
    own = nodes(kernel)
    assert own in [{f"nvidia{minor}", "nvidiactl", "nvidia-uvm"} for minor in MINORS]
    assert len(claimed(world)) == 1
    for name in own:
        assert in_the_cell(kernel, OPEN.format(path=f"/dev/{name}")).strip() == "let through"


def test_the_driver_is_found_by_what_was_started_and_by_what_was_forked(kernel):
    assert kernel.was_forked()
    assert kernel.run(f"{LOAD}print(brought)").strip() == "4711"
    assert in_the_cell(kernel, LOAD).strip() == "4711"
    assert kernel.run("!nvidia-smi").strip() == "the pretended program"
    names = {f"{stem}.so.{end}" for stem in ("libcuda", "libnvidia-ml") for end in (DRIVER, "1")}
    assert set(kernel.value("__import__('os').listdir('/usr/local/nvidia/lib')")) == names
    told = kernel.value("[v for v in __import__('os').environ if 'VISIBLE_DEVICES' in v]")
    assert told == [], "a program sees what is there, and needs not be told"
    for path in ("lib/libcuda.so.1", "lib/new", "bin/nvidia-smi"):
        said = kernel.run(f"try:\n    open('/usr/local/nvidia/{path}', 'wb')\nexcept OSError as e:\n    print(e.strerror)")
        assert said.strip() in ("Read-only file system", "Permission denied"), path


def test_the_node_of_another_gpu_is_out_of_reach(world, shown, kernel):
    [own] = nodes(kernel) - {"nvidiactl", "nvidia-uvm"}
    [another] = {f"nvidia{minor}" for minor in MINORS} - {own}
    minor = int(another.removeprefix("nvidia"))
    here = OPEN.format(path=str(world.machine.nodes / another))
    Attempt(OPEN.format(path=f"/dev/{another}"), "let through", control=here).check(kernel)
    Attempt(MAKE_AND_OPEN.format(major=NVIDIA, minor=minor), "let through").check(kernel)
    # Even root of the machine, once it is in the notebook's control group of devices, where there is one.
    groups = [path for path in world.leftovers.cgroups_of_server() if shown["id"] in path and "/devices/" in path]
    for group in groups:
        enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        mine = on_the_machine(OPEN.format(path=str(world.machine.nodes / own)), *enter)
        assert mine.strip() == "let through", mine
        assert "Operation not permitted" in on_the_machine(here, *enter)
    assert groups or not Path("/sys/fs/cgroup/devices").exists()


def test_what_goes_on_in_a_gpu_is_shown_and_counts_as_activity(world, shown):
    try:
        world.machine.describe(busy=55, used_mib=1024)
        [gpu] = world.api.own(f"/notebooks/{shown['id']}/usage")["gpus"]
        assert gpu == {"type": KIND, "busy_percent": 55, "memory": {"used": 1 << 30, "limit": 24 << 30}}
        activity = world.api.own(f"/notebooks/{shown['id']}/activity")
        assert "a GPU is busy for 55 % of the time" in activity["reasons"]
    finally:
        world.machine.describe()


def test_a_gpu_is_one_notebook_s_until_it_stops_also_when_the_server_was_killed(world, shown, kernel):
    second = world.api.create_running(flavor=SMALL)
    with world.notebook(second).new_kernel() as other:
        assert nodes(kernel) | nodes(other) == {"nvidiactl", "nvidia-uvm", *(f"nvidia{minor}" for minor in MINORS)}
        assert claimed(world) == {0, 1}
        world.server.kill()
        world.start()
        assert flavors(world)[SMALL]["sold_out"] is True
        assert code(world.api.create, flavor=SMALL) == "ModelArts.6716"
        assert claimed(world) == {0, 1}
    world.api.stop(second["id"])
    world.api.wait_for(second["id"], "STOPPED")
    assert len(claimed(world)) == 1
    assert world.api.own("/capacity")["gpus"][0]["free"] == 1
    third = world.api.create_running(flavor=SMALL)
    assert code(world.api.start, second["id"]) == "ModelArts.6360"
    for notebook in (second, third):
        world.api.delete(notebook["id"])
        world.api.wait_for(notebook["id"], "gone")
    assert len(claimed(world)) == 1


def test_a_notebook_without_gpus_finds_nothing_of_them(world):
    plain = world.api.create_running()
    with world.notebook(plain).new_kernel() as kernel:
        assert nodes(kernel) == set()
        assert kernel.value("__import__('os').path.exists('/usr/local/nvidia')") is False
        assert "cannot open shared object" in in_the_cell(kernel, LOAD)
        assert "LD_LIBRARY_PATH" not in kernel.value("dict(__import__('os').environ)")
    world.api.delete(plain["id"])
    world.api.wait_for(plain["id"], "gone")
