"""Deleted notebooks: their volumes rest in the trash and come back from there, whenever the server dies on the way."""

import json

import pytest
import requests
from support.api import GONE, RefusedError
from support.deadline import wait_until
from support.world import World

RESTING = {"ATELIER_VOLUMES__TRASH_HOURS": "24", "ATELIER_LOCAL__ZYGOTE": "false"}
ABORTED = -6


def trash(world):
    """What rests in the trash."""
    return world.api.own("/volumes?trash=true&all=true")["volumes"]


def volume_of(world, notebook):
    """The file that was set aside."""
    folder = world.server.data_dir / ("lost" if world.runtime == "local" else "simulated/lost") / notebook
    return folder / ("volume.img" if world.runtime == "local" else "volume")


@pytest.mark.local
def test_a_deleted_notebook_comes_back_with_its_files():
    with World("local", environment=RESTING) as world:
        before = world.api.create_running("mine")
        notebook = before["id"]
        with world.notebook(before).new_kernel() as kernel:
            kernel.run("open('/home/ma-user/work/kept.txt', 'w').write('work')")
        world.api.delete(notebook)
        world.api.wait_for(notebook, GONE)
        [resting] = trash(world)
        assert (resting["notebook_id"], resting["name"], resting["state"]) == (notebook, "mine", "IN_TRASH")
        assert resting["leaves_at"] - resting["deleted_at"] == 24 * 3600 * 1000
        assert 0 < resting["disk_bytes"] < 1 << 30
        assert "mine" in world.server.atelier("volume", "list", "--trash").stdout

        namesake = world.api.create_running("mine")["id"]
        refused = world.server.atelier("volume", "restore", "mine", check=False)
        assert refused.returncode != 0 and "--name" in refused.stderr, refused.stderr
        restored = world.server.atelier("volume", "restore", "mine", "--name", "again", "--output", "json")
        assert json.loads(restored.stdout)["status"] == "STOPPED"
        world.restart()
        assert trash(world) == []
        world.api.remove(namesake)
        world.api.start(notebook)
        running = world.api.wait_for_running(notebook)
        assert (running["name"], running["volume"]) == ("again", before["volume"])
        with world.notebook(running).new_kernel() as kernel:
            assert kernel.value("open('/home/ma-user/work/kept.txt').read()") == "work"

        world.api.delete(notebook)
        world.api.wait_for(notebook, GONE)
        assert volume_of(world, notebook).exists()
        world.server.atelier("volume", "delete", "--yes", notebook, "again")
        assert "`again`" not in world.server.atelier("volume", "list", "--trash").stdout
        assert not volume_of(world, notebook).exists()
        audit = world.api.own("/audit?limit=100")["records"]
        told = {record["operation"] for record in audit if record.get("notebook_id") == notebook}
        assert {"PostVolumesRestore", "DeleteVolumes"} <= told, told


@pytest.mark.parametrize("point", ["op::delete::remove-storage::effect", "op::delete::remove-storage::record"])
@pytest.mark.parametrize("runtime", ["simulated", pytest.param("local", marks=pytest.mark.local)])
def test_a_deletion_that_dies_leaves_its_volume_in_the_trash(runtime, point):
    with World(runtime, failpoints=True, environment=RESTING) as world:
        notebook = world.api.create_running("nb")["id"]
        dies_at(world, point)
        try:
            world.api.delete(notebook)
        except requests.exceptions.ConnectionError:
            pass
        assert world.server.wait_for_death() == ABORTED
        world.start()
        world.api.wait_for(notebook, GONE)
        assert [volume["notebook_id"] for volume in trash(world)] == [notebook]
        world.api.own(f"/volumes/{notebook}/restore", "POST")
        world.api.start(notebook)
        world.api.wait_for(notebook, "RUNNING")


@pytest.mark.parametrize("phase", ["record", "effect"])
def test_a_removal_that_dies_is_ended_by_the_next_server(phase):
    with World("simulated", failpoints=True, environment=RESTING) as world:
        notebook = world.api.create_running("nb")["id"]
        world.api.delete(notebook)
        world.api.wait_for(notebook, GONE)
        dies_at(world, f"trash::discard::volume::{phase}")
        with pytest.raises(requests.exceptions.ConnectionError):
            world.api.own(f"/volumes/{notebook}", "DELETE")
        assert world.server.wait_for_death() == ABORTED
        assert volume_of(world, notebook).exists() == (phase == "record")
        world.start()
        with pytest.raises(RefusedError) as refused:
            world.api.own(f"/volumes/{notebook}/restore", "POST")
        assert refused.value.status in {400, 404}, refused.value
        wait_for_nothing(world)
        assert not volume_of(world, notebook).exists()


def dies_at(world, point):
    """Starts the server anew as one that dies there."""
    world.server.kill()
    world.start({"FAILPOINTS": f"{point}=return"})


def wait_for_nothing(world):
    """The first round of a server empties the trash."""
    wait_until(lambda: trash(world) == [], "the trash is empty", 20)
