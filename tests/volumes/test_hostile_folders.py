"""Folders of the operator's that notebooks have as volumes: who can write there tries to get what is beside them.

What is there may be anybody's: an operator mounts file servers on which root of another machine has made devices and
programs that become root, and every notebook on the same folder may put links there at any moment.
"""

import os
import secrets
import shutil
import stat
from pathlib import Path

import pytest
from support.api import dedicated
from support.attempts import READ, Attempt, names
from support.disks import devices_of
from support.world import World

pytestmark = pytest.mark.local

WORK = "/home/ma-user/work"
READ_DEVICE = "import os\ndevice = os.open({path!r}, os.O_RDONLY)\nbrought = f'opened {{len(os.read(device, 4))}}'"
BECOME_ROOT = """
import subprocess
said = subprocess.run([{path!r}, '-u'], capture_output=True, text=True).stdout
brought = 'root' if said == '0\\n' else said
"""


class Scene:
    """A folder with a notebook on it, another one on what holds the folder, and what is beside both."""

    def __init__(self, world):
        self.world = world
        self.word = f"word-{secrets.token_hex(12)}"
        self.root = self.world.root
        self.team = self.folder(self.root / "team")
        self.beside = self.folder(self.world.folder / "beside")
        for place in (self.beside, self.root):
            (place / "secret").write_text(self.word, encoding="ascii")
        asked = [self.world.api.create(name, **dedicated(uri)) for name, uri in
                 (("inner", "nas:/export/team"), ("outer", "nas:/export"))]  # fmt: skip
        self.inner, self.outer = (self.world.api.wait_for_running(notebook["id"]) for notebook in asked)
        self.poison()

    @staticmethod
    def folder(path):
        """A folder that everybody may write to."""
        path.mkdir()
        path.chmod(0o777)
        return path

    def poison(self):
        """Puts into the folder what another machine's root could."""
        (device, *_) = devices_of(self.outer["id"])
        number = os.stat(f"/dev/{device}").st_rdev
        os.mknod(self.team / "device", 0o666 | stat.S_IFBLK, number)
        os.chmod(self.team / "device", 0o666)
        shutil.copy("/usr/bin/id", self.team / "program")
        os.chmod(self.team / "program", 0o6755)
        (self.team / "absolute").symlink_to(self.beside / "secret")
        (self.team / "climbing").symlink_to("../secret")


@pytest.fixture(scope="module")
def scene():
    """The notebooks, both of which run."""
    world = World("local", environment={"ATELIER_LOCAL__ZYGOTE": "false"})
    world.export()
    world.folder.chmod(0o711)  # the control runs of ordinary users have to get there
    with world:
        yield Scene(world)


@pytest.fixture(scope="module")
def inner(scene):
    """A kernel of the notebook on the folder."""
    with scene.world.notebook(scene.inner).new_kernel() as kernel:
        yield kernel


@pytest.fixture(scope="module")
def outer(scene):
    """A kernel of the other notebook, which may change everything that leads to the folder."""
    with scene.world.notebook(scene.outer).new_kernel() as kernel:
        yield kernel


def device_in_the_folder(scene):
    return Attempt(READ_DEVICE.format(path=f"{WORK}/device"), "opened 4",
                   control=READ_DEVICE.format(path=str(scene.team / "device")))  # fmt: skip


def root_program_in_the_folder(scene):
    return Attempt(BECOME_ROOT.format(path=f"{WORK}/program"), "root",
                   control=BECOME_ROOT.format(path=str(scene.team / "program")),
                   through=("setpriv", "--reuid=64321", "--regid=64321", "--clear-groups"))  # fmt: skip


def absolute_link(scene):
    return Attempt(READ.format(path=f"{WORK}/absolute"), scene.word,
                   control=READ.format(path=str(scene.team / "absolute")))  # fmt: skip


def climbing_link(scene):
    return Attempt(READ.format(path=f"{WORK}/climbing"), scene.word,
                   control=READ.format(path=str(scene.team / "climbing")))  # fmt: skip


ATTEMPTS = [device_in_the_folder, root_program_in_the_folder, absolute_link, climbing_link]


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_folder(scene, inner, attempt):
    attempt(scene).check(inner)


def test_folder_that_is_moved_out(scene, inner, outer):
    """Somebody stands in a folder while it is moved out of his volume, and goes up from there."""
    inner.run(f"import os\nos.mkdir('{WORK}/moved'); os.chdir('{WORK}/moved')")
    outer.run(f"import os\nos.rename('{WORK}/team/moved', '{WORK}/moved')")
    tried = "try:\n    print(open('../secret').read())\nexcept OSError as error:\n    print(error.strerror)"
    assert scene.word not in inner.run(tried)
    inner.run("os.chdir('/')")
    here = os.open(scene.root / "moved", os.O_RDONLY)
    try:
        secret = os.open("../secret", os.O_RDONLY, dir_fd=here)
    finally:
        os.close(here)
    assert os.read(secret, 100).decode() == scene.word, "the way up leads nowhere, so the attempt proves nothing"
    os.close(secret)


@pytest.mark.parametrize("way", ["absolute", "climbing"])
def test_link_in_the_place_of_the_folder(scene, outer, way):
    """A folder becomes a link that leads out of its root while its notebook stands still."""
    target = {"absolute": scene.beside, "climbing": "../beside"}[way]
    folder = scene.folder(scene.root / way)
    shown = scene.world.api.create(way, **dedicated(f"nas:/export/{way}"))
    scene.world.api.wait_for_running(shown["id"])
    scene.world.api.stop(shown["id"])
    scene.world.api.wait_for(shown["id"], "STOPPED")
    outer.run(f"import os, shutil\nshutil.rmtree('{WORK}/{way}')\nos.symlink({str(target)!r}, '{WORK}/{way}')")
    assert folder.is_symlink() and folder.is_dir(), "the link leads nowhere, so the attempt proves nothing"
    scene.world.api.start(shown["id"])
    scene.world.api.wait_until_stable(shown["id"])
    failed = scene.world.api.show(shown["id"])
    assert failed["status"] == "START_FAILED" and "no folder" in failed["fail_reason"], failed
    scene.world.api.remove(shown["id"])
