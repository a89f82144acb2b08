"""Volumes that are not one notebook's alone: one for all of a user's notebooks, and folders of the operator's."""

import json
import os

import pytest
from support.api import GONE, SHARED_VOLUME, RefusedError, dedicated
from support.deadline import wait_until
from support.disks import devices_of
from support.world import World

pytestmark = pytest.mark.local

SETTINGS = {"ATELIER_VOLUMES__TRASH_HOURS": "24", "ATELIER_LOCAL__ZYGOTE": "false"}
WORK = "/home/ma-user/work"
ENVIRONMENT = f"{WORK}/.environment"
MOUNTS = "{line.split()[4]: line.split()[5] for line in open('/proc/self/mountinfo')}"


@pytest.fixture(scope="module")
def world():
    """A server with a pool and a folder for it."""
    world = World("local", environment=SETTINGS)
    world.export()
    with world:
        yield world


def kernels_of(world, *notebooks):
    """A kernel of each, as soon as they run."""
    return [world.notebook(world.api.wait_for_running(notebook["id"])).start_kernel() for notebook in notebooks]


def start(world, notebook):
    """Starts one that rests; what is known of it when it rests again."""
    world.api.start(notebook["id"])
    world.api.wait_until_stable(notebook["id"])
    return world.api.show(notebook["id"])


def gone(world, notebook):
    """Deletes a notebook and waits for its end."""
    world.api.delete(notebook["id"])
    world.api.wait_for(notebook["id"], GONE)


def test_notebooks_share_a_volume_until_the_last_of_them_is_gone(world):
    made = world.server.atelier("notebook", "create", "one", "--flavor", "atelier.cpu.small", "--shared", "--no-wait",
                                "--output", "json")  # fmt: skip
    one = json.loads(made.stdout)
    two, own = world.api.create("two", volume=SHARED_VOLUME), world.api.create("own")
    assert (two["volume"]["category"], two["volume"]["capacity"]) == ("EFS", 50)
    in_one, in_two, in_own = kernels_of(world, one, two, own)
    in_one.run(f"open('{WORK}/file', 'w').write('from one')")
    read = f"open('{WORK}/file').read()"
    assert in_two.value(read) == "from one"
    assert in_own.value(f"__import__('os').path.exists('{WORK}/file')") is False
    [share] = world.shares()
    assert len(devices_of(share.name)) == 1, "one file system, wherever it is seen"
    size = "(lambda seen: round(seen.f_blocks * seen.f_frsize / 2**30))"
    assert in_two.value(f"{size}(__import__('os').statvfs('{WORK}'))") == 50
    for kernel in (in_one, in_two):
        mounts = kernel.value(MOUNTS)
        assert {"nosuid", "nodev"} <= set(mounts[WORK].split(",")) & set(mounts[ENVIRONMENT].split(","))

    # Each has its own packages, however much both install.
    [site, same] = [kernel.value("__import__('sysconfig').get_path('purelib')") for kernel in (in_one, in_two)]
    assert site == same and site.startswith(ENVIRONMENT)
    in_one.run(f"open('{site}/mark.py', 'w').write('of = 1')")
    assert in_two.value(f"__import__('os').path.exists('{site}/mark.py')") is False
    for kernel in (in_one, in_two, in_own):
        kernel.close()

    gone(world, one)
    world.server.kill()
    world.start()
    [in_two] = kernels_of(world, two)
    assert in_two.value(read) == "from one"
    in_two.close()
    gone(world, two)
    assert len(world.shares()) == 1
    resting = {volume["name"]: volume for volume in world.api.own("/volumes?trash=true&all=true")["volumes"]}
    assert set(resting) == {"one", "two"} and resting["one"]["id"] == resting["two"]["id"], resting
    assert "50 GiB shared" in world.server.atelier("volume", "list", "--trash").stdout

    world.server.atelier("volume", "restore", "one")
    assert start(world, one)["status"] == "RUNNING"
    [in_one] = kernels_of(world, one)
    assert in_one.value(f"[{read}, __import__('mark').of]") == ["from one", 1]
    in_one.close()
    gone(world, one)
    world.server.atelier("volume", "delete", "--yes", "one", "two")
    # The machine lets go of it in its own time.
    wait_until(lambda: world.shares() == [], "the shared volume is gone", 60)
    world.api.remove(own["id"])


def test_a_folder_of_the_operator_s_is_a_volume_and_stays(world):
    team = world.root / "team"
    team.mkdir()
    os.chown(team, 1000, 100)
    (team / "there").write_text("before", encoding="ascii")
    arguments = ["--pool", "team-a", "--uri", "nas:/export/team", "--volume-id", "0197f2d0-4ba4-7bbf-8b1d-4d3a5d4f0a11"]
    world.server.atelier("notebook", "create", "ded", "--flavor", "atelier.cpu.small", *arguments)
    [shown] = [notebook for notebook in world.api.list() if notebook["name"] == "ded"]
    volume = shown["volume"]
    assert (volume["uri"], volume["id"], volume["ownership"]) == (arguments[3], arguments[5], "DEDICATED")
    [kernel] = kernels_of(world, shown)
    assert kernel.value(f"open('{WORK}/there').read()") == "before"
    assert {"nosuid", "nodev"} <= set(kernel.value(MOUNTS)[WORK].split(","))
    kernel.run(f"open('{WORK}/new', 'w').write('x')")
    owner = (team / "new").stat()
    assert (owner.st_uid, owner.st_gid) == (1000, 100)
    # What is installed is no file of the operator's.
    assert kernel.value("__import__('sys').prefix") == ENVIRONMENT
    kernel.close()
    assert list((team / ".environment").iterdir()) == []

    world.api.stop(shown["id"])
    world.api.wait_for(shown["id"], "STOPPED")
    team.rename(world.root / "away")
    team.symlink_to("/")
    failed = start(world, shown)
    assert failed["status"] == "START_FAILED"
    assert "there is no folder at `nas:/export/team`" in failed["fail_reason"], failed["fail_reason"]
    assert str(world.root) not in failed["fail_reason"]
    with pytest.raises(RefusedError) as refused:
        world.api.create("other", **dedicated("nas:/export/team"))
    assert refused.value.code == "ModelArts.6336"
    team.unlink()
    (world.root / "away").rename(team)
    assert start(world, shown)["status"] == "RUNNING"
    gone(world, shown)
    assert {path.name for path in team.iterdir()} == {"there", "new", ".environment"}
    assert world.shares() == []
