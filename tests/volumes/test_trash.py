"""Deleted notebooks: their volumes rest in the trash and come back from there, whenever the server dies on the way."""

import json
import os
import subprocess

import pytest
import requests
from support.api import GONE
from support.deadline import wait_until
from support.world import World

RESTING = {"ATELIER_VOLUMES__TRASH_HOURS": "24", "ATELIER_LOCAL__ZYGOTE": "false"}
ABORTED = -6


def own(world, method, path, body=None):
    """One call of what only Atelier has."""
    url = f"{world.server.url}/atelier/v1/{world.api.project}{path}"
    headers = {"X-Auth-Token": world.api.token()}
    return world.api.http.request(method, url, json=body, headers=headers, timeout=60)


def trash(world):
    """What rests in the trash."""
    answer = own(world, "GET", "/volumes?trash=true&all=true")
    assert answer.ok, answer.text
    return answer.json()["volumes"]


def atelier(world, *arguments):
    """The command line, by the server's own admin.json."""
    command = [str(world.server.binary), *arguments, "--data-dir", str(world.server.data_dir)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ATELIER_")}
    return subprocess.run(command, capture_output=True, text=True, env=clean, timeout=60, check=False)


def volume_of(world, notebook):
    """The file that was set aside."""
    folder = world.server.data_dir / ("lost" if world.runtime == "local" else "simulated/lost") / notebook
    return folder / ("volume.img" if world.runtime == "local" else "volume")


@pytest.mark.local
def test_a_deleted_notebook_comes_back_with_its_files():
    with World("local", environment=RESTING) as world:
        before = world.api.create_running("mine")
        notebook = before["id"]
        kernel = world.notebook(before).start_kernel()
        kernel.run("open('/home/ma-user/work/kept.txt', 'w').write('work')")
        kernel.close()
        world.api.delete(notebook)
        world.api.wait_for(notebook, GONE)
        [resting] = trash(world)
        assert (resting["notebook_id"], resting["name"], resting["state"]) == (notebook, "mine", "IN_TRASH")
        assert resting["leaves_at"] - resting["deleted_at"] == 24 * 3600 * 1000
        assert 0 < resting["disk_bytes"] < 1 << 30
        assert "mine" in atelier(world, "volume", "list", "--trash").stdout

        namesake = world.api.create_running("mine")["id"]
        refused = atelier(world, "volume", "restore", "mine")
        assert refused.returncode != 0 and "--name" in refused.stderr, refused.stderr
        restored = atelier(world, "volume", "restore", "mine", "--name", "again", "--output", "json")
        assert restored.returncode == 0, restored.stderr
        assert json.loads(restored.stdout)["status"] == "STOPPED"
        world.restart()
        assert trash(world) == []
        world.api.remove(namesake)
        world.api.start(notebook)
        world.api.wait_for(notebook, "RUNNING")
        running = world.api.show(notebook)
        assert (running["name"], running["volume"]) == ("again", before["volume"])
        kernel = world.notebook(running).start_kernel()
        assert kernel.value("open('/home/ma-user/work/kept.txt').read()") == "work"
        kernel.close()

        world.api.delete(notebook)
        world.api.wait_for(notebook, GONE)
        assert volume_of(world, notebook).exists()
        removed = atelier(world, "volume", "delete", "--yes", notebook)
        assert removed.returncode == 0, removed.stderr
        assert "`again`" not in atelier(world, "volume", "list", "--trash").stdout
        assert not volume_of(world, notebook).exists()
        audit = own(world, "GET", "/audit?limit=100").json()["records"]
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
        assert own(world, "POST", f"/volumes/{notebook}/restore").status_code == 200
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
            own(world, "DELETE", f"/volumes/{notebook}")
        assert world.server.wait_for_death() == ABORTED
        assert volume_of(world, notebook).exists() == (phase == "record")
        world.start()
        refused = own(world, "POST", f"/volumes/{notebook}/restore")
        assert refused.status_code in {400, 404}, refused.text
        wait_for_nothing(world)
        assert not volume_of(world, notebook).exists()


def dies_at(world, point):
    """Starts the server anew as one that dies there."""
    world.server.kill()
    world.start({"FAILPOINTS": f"{point}=return"})


def wait_for_nothing(world):
    """The first round of a server empties the trash."""
    wait_until(lambda: trash(world) == [], "the trash is empty", 20)
