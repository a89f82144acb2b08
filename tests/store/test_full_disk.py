"""A data disk that fills up under a running server: told in advance, survived, and over as soon as there is room."""

import os
import subprocess

import pytest
import requests
from support.api import BUILT_IN_IMAGE, GONE, SMALL, Api, RefusedError
from support.deadline import wait_until
from support.disk import SmallDisk
from support.server import Server
from support.world import ROOMY, World

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A file system of 48 MiB, unmounted at the end whatever happens."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "atelier-test", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def server(disk):
    """A server that keeps 16 MiB back."""
    environment = {**ROOMY, "ATELIER_QUOTA__NOTEBOOKS_PER_USER": "100000", "ATELIER_SERVER__DISK_RESERVE_MIB": "16"}
    server = Server(disk / "data", "simulated", environment=environment, log=disk.parent / "log")
    server.start()
    try:
        yield server
    finally:
        if server.is_running():
            server.kill()


def readiness(server):
    """What the server says of itself."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{server.url}/readyz", timeout=5)
    return answer.status_code, answer.json()


def fill(disk, leave):
    """Takes all the room but so many bytes."""
    with open(disk / "filler", "ab", buffering=0) as filler:
        while True:
            seen = os.statvfs(disk)
            block = min(MIB, seen.f_bavail * seen.f_frsize - leave)
            try:
                if block <= 0 or filler.write(b"x" * block) == 0:
                    return
            except OSError:
                return


def refused(call, *arguments):
    """The refusal that a call ends with."""
    with pytest.raises(RefusedError) as caught:
        call(*arguments)
    return caught.value


def test_the_reserve_is_kept_back():
    """Without a disk of its own: no disk has this much left."""
    with World("simulated", environment={"ATELIER_SERVER__DISK_RESERVE_MIB": "1000000000"}) as world:
        refusal = refused(world.api.create)
        assert (refusal.status, refusal.code) == (400, "ModelArts.6528")
        assert "nearly full" in readiness(world.server)[1]["note"]
        world.restart({"ATELIER_SERVER__DISK_RESERVE_MIB": "0"})
        assert "nearly full" not in readiness(world.server)[1]["note"]
        world.api.create_running()


@pytest.mark.local
def test_new_work_is_refused_in_time_and_the_rest_goes_on(disk, server):
    api = Api(server)
    running, stopped, deleted = (api.create_running()["id"] for _ in range(3))
    api.stop(stopped)
    api.wait_for(stopped, "STOPPED")
    assert "nearly full" not in readiness(server)[1]["note"]

    fill(disk, 8 * MIB)
    create = refused(api.create)
    start = refused(api.start, stopped)
    assert (create.status, create.code) == (400, "ModelArts.6528")
    assert (start.status, start.code) == (400, "ModelArts.6360")
    for refusal in (create, start):
        assert "nearly full" in str(refusal) and "server.disk_reserve_mib" in str(refusal)
    status, said = readiness(server)
    assert (status, said["status"]) == (200, "ready")
    assert "nearly full" in said["note"]

    # Now really full: everything that makes room, or needs none, is still done.
    fill(disk, 0)
    api.renew(running, 7_200_000)
    api.stop(running)
    api.wait_for(running, "STOPPED")
    api.delete(deleted)
    api.wait_for(deleted, GONE)

    (disk / "filler").unlink()
    assert "nearly full" not in readiness(server)[1]["note"]
    api.start(stopped)
    api.wait_for(stopped, "RUNNING")
    api.create_running()
    assert {notebook["id"] for notebook in api.list()} >= {running, stopped}


@pytest.mark.local
def test_what_was_answered_survives_a_disk_that_fills_up(disk, server):
    server.stop()
    server.start({"ATELIER_SERVER__DISK_RESERVE_MIB": "0"})
    api = Api(server)
    fill(disk, MIB)
    answered, refusal = [], None
    while refusal is None and len(answered) < 5000:
        try:
            answered.append(api.create()["id"])
        except RefusedError as error:
            refusal = error
    assert refusal is not None and (refusal.status, refusal.code) == (503, "APIG.0203"), refusal
    assert "full" in str(refusal) and "nothing was changed" in str(refusal)
    assert set(answered) <= {notebook["id"] for notebook in api.list()}

    # There is room again, without a restart: what was under way goes on to its end.
    (disk / "filler").unlink()
    assert {api.wait_until_stable(notebook) for notebook in answered} <= {"RUNNING", "CREATE_FAILED"}
    answered.append(api.create_running()["id"])
    server.kill()
    server.start()
    api = Api(server)
    assert set(answered) <= {notebook["id"] for notebook in api.list()}


RESTARTED = ["create.asked", "create.done", "host.rebooted", "start.asked", "start.done"]


class Rebooted:
    """A simulated machine whose data disk is full, and which is rebooted: the disk stays as it is, and nothing of what
    ran is there any more."""

    def __init__(self, folder, kind):
        self.disk = SmallDisk(folder, 48, kind)
        self.disk.open()
        self.simulated = self.disk.point / "simulated"
        environment = {**ROOMY, "ATELIER_SERVER__DISK_RESERVE_MIB": "4"}
        self.server = Server(self.disk.point, "simulated", environment=environment, log=folder / "log")
        self.server.start()
        self.api = Api(self.server)

    def reboot(self, *running):
        """Fills what is left of the disk, and starts the server in another boot."""
        (self.simulated / "boot-id").write_text("boot-1", encoding="ascii")
        for notebook in running:
            for what in ("server", "network", "container"):
                (self.simulated / notebook / what).unlink()
        self.disk.fill()
        self.server.start()
        self.api = Api(self.server)

    def close(self):
        """Ends the server and unmounts its disk."""
        if self.server.is_running():
            self.server.kill()
        self.disk.close()


@pytest.fixture(params=["ext4"])
def machine(tmp_path, request):
    """A machine to reboot, with a file system of this kind on its data disk."""
    machine = Rebooted(tmp_path, request.param)
    try:
        yield machine
    finally:
        machine.close()


@pytest.mark.local
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_reboot_with_a_full_disk_is_survived(machine, end):
    """A server that was stopped has folded its log and left no trace of it; one that lost its power has not."""
    kept, deleted = (machine.api.create_running()["id"] for _ in range(2))
    getattr(machine.server, end)()
    machine.reboot(kept, deleted)

    status, said = readiness(machine.server)
    assert (status, said["status"]) == (200, "ready")
    assert "nearly full" in said["note"]
    assert {notebook["id"] for notebook in machine.api.list()} == {kept, deleted}
    machine.api.delete(deleted)
    machine.api.wait_for(deleted, GONE)

    machine.disk.free()
    assert machine.api.wait_for(kept, "RUNNING") == "RUNNING"
    assert machine.api.events(kept) == RESTARTED


@pytest.mark.local
@pytest.mark.parametrize("machine", ["ext2"], indirect=True)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_without_a_reserve_the_server_comes_up_all_the_same_and_judges_nothing(machine, end):
    """Where a file system cannot allocate ahead, nothing at all can be written, not even a token: people look by
    signatures, and make room beside the server."""
    kept = machine.api.create_running()["id"]
    getattr(machine.server, end)()
    machine.reboot(kept)

    assert "the machine was rebooted" in readiness(machine.server)[1]["note"]
    path = f"/v1/{machine.api.project}/notebooks"
    assert machine.api.signed("GET", f"{path}/{kept}").json()["status"] == "RUNNING"
    body = {"name": "new", "flavor": SMALL, "image_id": BUILT_IN_IMAGE, "duration": -1}
    body["volume"] = {"category": "EVS", "ownership": "MANAGED", "capacity": 5}
    create = machine.api.signed("POST", path, body)
    assert (create.status_code, create.json()["error_code"]) == (400, "ModelArts.6528"), create.text
    assert "rebooted" in create.json()["error_msg"]

    # Once more, by a server that has been here in this boot already.
    machine.server.kill()
    machine.server.start()
    assert "the machine was rebooted" in readiness(machine.server)[1]["note"]
    machine.disk.free()
    wait_until(lambda: "rebooted" not in readiness(machine.server)[1]["note"], "the reboot is written", 30)
    assert machine.api.wait_for(kept, "RUNNING") == "RUNNING"
    assert machine.api.events(kept) == RESTARTED
