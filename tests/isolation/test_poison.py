"""A volume that holds what no notebook could put there by itself, and programs that a notebook puts where others run them.

A volume is a file, which an operator may have restored or brought from elsewhere. So it is poisoned from outside while
its notebook stands still: with devices, with programs that become root, with links where something might be written,
with names that few programs can bear. The same is put into a file system that is mounted on the machine without care;
there it does what it was made for.
"""

import os
import shutil
import stat
import subprocess

import pytest
from support.api import StrandedError
from support.attempts import Attempt, names
from support.deadline import wait_until
from support.stage import unmount

pytestmark = pytest.mark.local

WORK = "/home/ma-user/work"
USER, GROUP = 1000, 100
# Where notebooks, Jupyter, Python and shells keep things in a folder that they work in.
LINKS = [
    ".jupyter", ".local", ".cache", ".config", ".ipython", ".ipynb_checkpoints", ".Trash-1000", ".virtual_documents",
    ".atelier", ".environment", "lost+found", "log", "server.log", "exit", "nb", "up", "wk",
]  # fmt: skip
ODD = [b"new\nline", b"\xff\xfe not text", "‮right to left".encode(), b"-rf", b"$(reboot)", b"\x1b[2J", b"x" * 255]
DEEP, STEP = 40, "d" * 200

READ_DEVICE = """
import os
device = os.open({path!r}, os.O_RDONLY)
brought = f'opened {{len(os.read(device, 4))}}'
"""

BECOME_ROOT = "import subprocess\nbrought = subprocess.run([{path!r}, '-u'], capture_output=True, text=True).stdout"

# Appends who ran it, what power it had, and what it could read.
WITNESS = """
import os as _os
try:
    _read = open({secret!r}).read()
except OSError as _refused:
    _read = type(_refused).__name__
_status = open('/proc/self/status').read()
_power = _status[_status.index('CapEff:'):].split()[1]
with open({witness!r}, 'a') as _file:
    _file.write(f'{name} {{_os.getuid()}} {{_power}} {{_read}}\\n')
"""


def poison(top, device, trap):
    """Puts everything into the folder, as the machine's root can."""
    os.mknod(top / "device", 0o666 | stat.S_IFBLK, device)
    os.chmod(top / "device", 0o666)
    shutil.copy("/usr/bin/id", top / "program")
    os.chown(top / "program", 0, 0)
    os.chmod(top / "program", 0o6755)
    for name in LINKS:
        # What the notebook has made itself makes way.
        shutil.rmtree(top / name, ignore_errors=True)
        (top / name).symlink_to(trap)
    for name in ODD:
        with open(os.path.join(os.fsencode(top), name), "wb"):
            pass
    os.mkfifo(top / "fifo")
    deep = os.open(top, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir(STEP, dir_fd=deep)
        below = os.open(STEP, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)


def snapshot(folder):
    """What is in a folder, and when it was changed."""
    return sorted((path.name, path.lstat().st_mtime_ns) for path in [folder, *folder.iterdir()])


@pytest.fixture(scope="module")
def trap(stage, tmp_path_factory):
    """A folder of the machine that links lead to, open to everybody."""
    folder = tmp_path_factory.mktemp("trap")
    folder.chmod(0o777)
    (folder / "marker").write_text(stage.word, encoding="ascii")
    return folder


@pytest.fixture(scope="module")
def careless(stage, trap):
    """The poison in a file system that nobody protects."""
    point = stage.unprotected_volume()
    poison(point, os.stat(stage.neighbour_device()).st_rdev, trap)
    return point


@pytest.fixture(scope="module")
def asked(stage):
    """The notebooks of this file, asked for at once."""
    return {name: stage.world.api.create(name)["id"] for name in ("poisoned", "crafted")}


@pytest.fixture(scope="module")
def poisoned(stage, asked, trap):
    """A notebook whose volume was poisoned while it stood still; what the trap was before its start goes with it."""
    world = stage.world
    shown = world.api.wait_for_running(asked["poisoned"])
    with world.notebook(shown).new_kernel() as kernel:
        plant(kernel, stage)
    world.api.stop(shown["id"])
    world.api.wait_for(shown["id"], "STOPPED")
    point = stage.mounted(world.volume_of(shown["id"]), world.folder / "poisoned")
    poison(point, os.stat(stage.neighbour_device()).st_rdev, trap)
    # As if somebody else's: the notebook is given what is root's.
    os.chown(point, 0, 0)
    unmount(point)
    before = snapshot(trap)
    world.api.start(shown["id"])
    yield world.api.wait_for_running(shown["id"]), before
    world.api.remove(shown["id"])


@pytest.fixture(scope="module")
def poisoned_kernel(stage, poisoned):
    """A kernel of that notebook."""
    with stage.world.notebook(poisoned[0]).new_kernel() as kernel:
        yield kernel


def device_in_the_volume(careless):
    program = READ_DEVICE.format(path=f"{WORK}/device")
    return Attempt(program, "opened 4", control=READ_DEVICE.format(path=str(careless / "device")))


def root_program_in_the_volume(careless):
    # Run by an ordinary user, it says that it is root.
    program, outside = (BECOME_ROOT.format(path=path) for path in (f"{WORK}/program", str(careless / "program")))
    return Attempt(f"{program}\nbrought = 'root' if brought == '0\\n' else brought", "root",
                   control=f"{outside}\nbrought = 'root' if brought == '0\\n' else brought",
                   through=("setpriv", "--reuid=64321", "--regid=64321", "--clear-groups"))  # fmt: skip


ATTEMPTS = [device_in_the_volume, root_program_in_the_volume]


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_poison(careless, poisoned_kernel, attempt):
    attempt(careless).check(poisoned_kernel)


def test_poison_links_where_something_is_written(stage, careless, poisoned, poisoned_kernel, trap):
    """Whatever starts a notebook and works in it, nothing is written where the links lead."""
    shown, before = poisoned
    assert stage.world.notebook(shown).request("GET", "/api/contents").status_code == 200
    poisoned_kernel.run("open('written.txt', 'w').write('x')")
    assert snapshot(trap) == before
    (careless / LINKS[0] / "written").touch()
    assert snapshot(trap) != before, "the links lead nowhere, so the attempt proves nothing"
    (trap / "written").unlink()


def test_poison_odd_names_and_depth(stage, careless, poisoned):
    """The notebook is served, with names and depths at which a plain walk over the volume fails."""
    with pytest.raises(OSError):  # noqa: PT011: whichever comes first, the length or the name
        list(path.stat() for path in careless.joinpath(*[STEP] * DEEP).iterdir())
    with pytest.raises(UnicodeEncodeError):
        "".join(path.name for path in careless.iterdir()).encode()
    notebook = stage.world.notebook(poisoned[0])
    assert notebook.request("GET", "/api/status").status_code == 200
    assert stage.world.api.show(poisoned[0]["id"])["status"] == "RUNNING"


PLANTED = {
    "site_packages": "import sysconfig; path = sysconfig.get_path('purelib') + '/hostile.py'; "
    "open(path[:-3] + '.pth', 'w').write('import hostile')",
    "startup": "path = '/home/ma-user/.ipython/profile_default/startup/0.py'",
    "jupyter_config": "path = '/home/ma-user/.jupyter/jupyter_config.py'",
    "jupyter_config_in_the_volume": f"path = '{WORK}/jupyter_server_config.py'",
    "jupyter_lab_config_in_the_volume": f"path = '{WORK}/jupyter_lab_config.py'",
    "sitecustomize": f"path = '{WORK}/sitecustomize.py'",
}
WITNESSES = f"{WORK}/witnesses.txt"


def plant(kernel, stage):
    """Puts programs where a Python, a kernel, a shell or a notebook server runs them, in the life of the notebook and
    in the next one."""
    for name, choose in PLANTED.items():
        text = WITNESS.format(secret=str(stage.open_file), witness=WITNESSES, name=name)
        kernel.run(f"import os\n{choose}\nos.makedirs(os.path.dirname(path), exist_ok=True)\nopen(path, 'w').write({text!r})")
    for name, path in (("dotfile", "/home/ma-user/.bashrc"), ("dotfile_in_the_volume", f"{WORK}/.bashrc")):
        text = WITNESS.format(secret=str(stage.open_file), witness=WITNESSES, name=name)
        kernel.run(f"import sys, shlex\nopen({path!r}, 'w').write(shlex.join([sys.executable, '-S', '-c', {text!r}]) + '\\n')")
    text = WITNESS.format(secret=str(stage.open_file), witness=WITNESSES, name="kernel_spec")
    kernel.run(
        "import json, os, sys\nfolder = '/home/ma-user/.local/share/jupyter/kernels/hostile'\nos.makedirs(folder)\n"
        f"argv = [sys.executable, '-S', '-c', {text!r}, '{{connection_file}}']\n"
        "json.dump({'argv': argv, 'display_name': 'hostile', 'language': 'python'}, open(folder + '/kernel.json', 'w'))"
    )
    # Everything that starts a program is set off once.
    kernel.run(
        "import subprocess, sys\nsubprocess.run(['bash', '-ic', 'true'])\n"
        f"subprocess.run([sys.executable, '-c', ''], env={{'PYTHONPATH': {WORK!r}}})\n"
        "subprocess.run([sys.executable, '-m', 'jupyter_client.kernelspecapp', 'list'])"
    )
    kernel.notebook.start_kernel().close()
    kernel.notebook.request("POST", "/api/kernels", json={"name": "hostile"})
    wait_until(lambda: "kernel_spec" in kernel.run(f"print(open({WITNESSES!r}).read())"), "the kernel's program has run", 30)


def test_poison_programs_that_others_run(stage, poisoned, poisoned_kernel, tmp_path):
    """They run, but nobody runs them who is more than the notebook's user; they have read nothing of the machine's."""
    seen = poisoned_kernel.run(f"print(open({WITNESSES!r}).read())").split("\n")
    rows = [line.split(" ", 3) for line in seen if line]
    print(f"\nran: {sorted({row[0] for row in rows})}")
    ran = {"site_packages", "sitecustomize", "startup", "dotfile", "jupyter_config", "kernel_spec"}
    assert ran <= {row[0] for row in rows}
    assert {(row[1], row[2]) for row in rows} == {(str(USER), "0" * 16)}
    assert not any(stage.word in line for line in seen)
    # The control: one of them, where Python finds it, run by root on the machine.
    own = tmp_path / "witness"
    text = WITNESS.format(secret=str(stage.open_file), witness=str(own), name="sitecustomize")
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    subprocess.run(["python3", "-c", ""], env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True)
    assert stage.word in own.read_text(encoding="utf-8")


def test_poison_crafted_file_system(stage, asked):
    """A volume whose file system contradicts itself, with checksums that are right: its notebook is refused its start,
    with the reason; all others live."""
    world = stage.world
    shown = world.api.wait_for_running(asked["crafted"])
    world.api.stop(shown["id"])
    world.api.wait_for(shown["id"], "STOPPED")
    craft = ["xfs_db", "-x", "-c", "sb 0", "-c", "write -d rootino 999999", world.volume_of(shown["id"])]
    subprocess.run(craft, check=True, capture_output=True)
    world.api.start(shown["id"])
    with pytest.raises(StrandedError, match="START_FAILED"):
        world.api.wait_for(shown["id"], "RUNNING")
    assert world.api.show(shown["id"])["fail_reason"]
    assert world.notebook(stage.neighbour).request("GET", "/api/status").status_code == 200
    world.api.remove(shown["id"])
