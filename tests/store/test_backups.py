"""Backups of a running server, put back elsewhere; and folders that must not be begun anew."""

import json
import os
import shutil
import stat
import tarfile
import threading

import pytest
from support.api import Api
from support.server import Server, ServerEndedError
from support.world import ROOMY, World


@pytest.fixture
def world():
    with World("simulated") as world:
        yield world


@pytest.fixture
def elsewhere(tmp_path):
    """A server on another folder, not started; ended at the end."""
    server = Server(tmp_path / "other", "simulated", environment=ROOMY, log=tmp_path / "log")
    yield server
    if server.is_running():
        server.kill()


@pytest.mark.parametrize("name", ["b.tar", "folder"])
def test_a_backup_under_load_is_restored_with_all_that_was_answered(world, elsewhere, tmp_path, name):
    kept = [world.api.create_running()["id"] for _ in range(3)]
    world.api.stop(kept[0])
    world.api.wait_for(kept[0], "STOPPED")
    stop, made = threading.Event(), []

    def create():
        while not stop.is_set() and len(made) < 60:
            made.append(world.api.create()["id"])

    load = threading.Thread(target=create)
    load.start()
    try:
        before = list(made)
        backup = tmp_path / name
        world.server.atelier("backup", backup)
    finally:
        stop.set()
        load.join()

    names = tarfile.open(backup).getnames() if backup.suffix == ".tar" else os.listdir(backup)
    assert set(names) == {"manifest.json", "atelier.db", "master.key", "admin.json"}
    assert stat.S_IMODE(backup.stat().st_mode) & 0o077 == 0
    done = elsewhere.atelier("restore", backup, "--output", "json")
    without = json.loads(done.stdout)["without_volume"]
    assert set(kept) <= set(without), "no volume was in the backup"

    elsewhere.start()
    api = Api(elsewhere)
    shown = {notebook["id"]: notebook for notebook in api.list()}
    assert set(kept) | set(before) <= set(shown)
    assert shown[kept[0]]["status"] == "STOPPED"
    assert shown[kept[1]]["status"] == "ERROR"
    assert "without its volume" in json.dumps(api.show(kept[1]))
    events = elsewhere.atelier("notebook", "events", kept[0]).stdout
    assert "restore.volume-missing" in events
    # The same people, the same secrets.
    assert elsewhere.admin()["access_key"] == world.server.admin()["access_key"]
    assert api.signed("GET", f"/v1/{api.project}/notebooks").status_code == 200


def test_a_restore_is_careful(world, elsewhere, tmp_path):
    notebook = world.api.create_running()["id"]
    backup = tmp_path / "backup"
    world.server.atelier("backup", backup)
    again = world.server.atelier("backup", backup, check=False)
    assert again.returncode == 1 and "overwrites nothing" in again.stderr

    held = world.server.atelier("restore", backup, "--replace", check=False)
    assert held.returncode == 1 and "used by another server" in held.stderr

    elsewhere.start()
    elsewhere.stop()
    other = (elsewhere.data_dir / "admin.json").read_text()
    occupied = elsewhere.atelier("restore", backup, check=False)
    assert occupied.returncode == 1 and "--replace" in occupied.stderr

    for file in ("atelier.db", "master.key", "manifest.json"):
        damaged = tmp_path / f"damaged-{file}"
        shutil.copytree(backup, damaged)
        content = bytearray((damaged / file).read_bytes())
        content[len(content) // 2] ^= 1
        (damaged / file).write_bytes(content)
        refused = elsewhere.atelier("restore", damaged, "--replace", check=False)
        assert refused.returncode == 1 and "damaged" in refused.stderr, refused.stderr
    assert (elsewhere.data_dir / "admin.json").read_text() == other, "a refused restore changes nothing"

    elsewhere.atelier("restore", backup, "--replace")
    kept = list(elsewhere.data_dir.glob("before-restore-*"))
    assert len(kept) == 1 and (kept[0] / "admin.json").read_text() == other
    assert (kept[0] / "atelier.db").stat().st_size > 0
    elsewhere.start()
    assert [shown["id"] for shown in Api(elsewhere).list()] == [notebook]


def test_a_lost_or_damaged_database_is_named_and_never_begun_anew(world, tmp_path):
    backup = tmp_path / "backup.tar"
    world.server.atelier("backup", backup)
    assert world.server.stop() == 0
    database = world.server.data_dir / "atelier.db"
    whole = database.read_bytes()
    for content in (None, b"", whole[: len(whole) // 2], b"x" * len(whole)):
        database.unlink(missing_ok=True)
        if content is not None:
            database.write_bytes(content)
        with pytest.raises(ServerEndedError) as ended:
            world.server.start()
        assert ended.value.code == 1 and "`atelier restore`" in ended.value.said, ended.value.said
        assert (database.read_bytes() if database.exists() else None) == content
    database.write_bytes(whole)
    key = world.server.data_dir / "master.key"
    secret = key.read_text()
    for content, said in ((None, "master.key is missing"), ("0" * 64, "not the one")):
        key.unlink()
        if content is not None:
            key.touch(0o600)
            key.write_text(content)
        with pytest.raises(ServerEndedError) as ended:
            world.server.start()
        assert said in ended.value.said, ended.value.said
        key.touch(0o600)
    key.write_text(secret)
    world.start()
    assert world.server.stop() == 0
    database.unlink()
    world.server.atelier("restore", backup, "--replace")
    world.start()
