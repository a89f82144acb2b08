"""A notebook server that goes on with what was prepared is the one that it would have made itself."""

import base64
import datetime
import json
import os
import subprocess
from pathlib import Path

import pytest
from support.world import World

pytestmark = pytest.mark.local

HERE = Path(__file__).parent
RUNTIME = "home/ma-user/.local/share/jupyter/runtime"
ZYGOTE = HERE.parents[1] / "crates/atelier-runtime-local/zygote"
# In a namespace of its own, so that nothing of it outlives the program.
IN_THE_IMAGE = """set -e
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$LAYERS,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mkdir -p /mnt/root/programs /mnt/root/proc /mnt/root/tmp
cp $PROGRAMS /mnt/root/programs
mount -t proc proc /mnt/root/proc
mount --bind /dev /mnt/root/dev
exec chroot /mnt/root "$PYTHON" -I -c 'import sys
sys.path.insert(0, "/programs")
import two_servers' "$PLAN"
"""


@pytest.fixture(scope="module")
def world():
    """A notebook that runs, for what it is made of."""
    with World("local") as world:
        yield world


def made_in_two_ways(world, notebook):
    """What a server is like this notebook's, from what was prepared and from nothing."""
    folder = world.server.data_dir / "notebooks" / notebook
    record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    init = world.first_process(notebook)
    children = Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split()
    lines = [Path(f"/proc/{child}/cmdline").read_bytes().decode() for child in children]
    argv = next(line for line in lines if "jupyterlab" in line).strip("\0").split()
    words = [world.server.binary, "notebook", "exec", "--data-dir", world.server.data_dir, notebook, "--", "env", "-0"]
    told = subprocess.run(words, text=True, stdout=subprocess.PIPE, timeout=60, check=True).stdout
    plan = {
        "argv": argv,
        "program": len(record["server"]),
        "env": [line.split("=", 1) for line in told.split("\0") if line],
        "cwd": "/home/ma-user/work",
    }
    programs = [*ZYGOTE.glob("*.py"), HERE / "two_servers.py"]
    ran = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "bash", "-c", IN_THE_IMAGE],
        env={
            **os.environ,
            "LAYERS": ":".join(record["layers"]),
            "PROGRAMS": " ".join(map(str, programs)),
            "PYTHON": argv[0],
            "PLAN": json.dumps(plan),
        },
        text=True, capture_output=True, timeout=60, check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return (json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{"))


def test_nothing_tells_it_from_one_that_was_made_from_nothing(world):
    """All that is configured, set, routed, written and waited for; the key of the cookies is each one's own."""
    shown = world.create_forked()
    prepared, sibling, made = made_in_two_ways(world, shown["id"])
    world.api.remove(shown["id"])
    assert len({server.pop("cookies") for server in (prepared, sibling, made)}) == 3
    assert prepared == sibling
    # Without the page for a browser of its own machine.
    assert (prepared["server"].pop("no_browser_open_file"), made["server"].pop("no_browser_open_file")) == ("True", "False")
    assert prepared == made


def test_two_servers_have_their_own_keys_and_times(world):
    """They went on from the same prepared one."""
    keys = []
    for _ in range(2):
        asked = datetime.datetime.now(tz=datetime.timezone.utc)
        shown = world.create_forked()
        status = world.notebook(shown).request("GET", "/api/status").json()
        assert datetime.datetime.fromisoformat(status["started"]) >= asked
        root = Path(f"/proc/{world.first_process(shown['id'])}/root")
        keys.append((root / RUNTIME / "jupyter_cookie_secret").read_bytes())
        # Only one that is made from nothing writes a page for a browser of its machine.
        assert not list((root / RUNTIME).glob("jpserver-*-open.html"))
        settings = world.notebook(shown).request("PUT", "/lab/api/settings/@jupyterlab/apputils-extension:themes",
                                                 json={"raw": "{}"})
        assert settings.status_code == 204, settings.text
        assert (root / "home/ma-user/.jupyter/lab/user-settings").is_dir()
        world.api.remove(shown["id"])
    assert keys[0] != keys[1]


def test_what_the_user_has_configured_counts(world):
    """The prepared server does not know of it, so it is not used."""
    settings = json.dumps({"ServerApp": {"terminals_enabled": False}})
    text = f"mkdir -p ~/.jupyter && echo '{settings}' > ~/.jupyter/jupyter_server_config.json"
    hook = {"script": base64.b64encode(text.encode()).decode(), "type": "COMMAND", "mode": "BLOCK"}
    for hooks, answer in (({}, 200), ({"pre_start": hook}, 404)):
        shown = world.api.create_running(hooks={"container_hooks": hooks})
        assert world.was_forked(shown["id"])
        assert world.notebook(shown).request("GET", "/api/terminals").status_code == answer
        root = Path(f"/proc/{world.first_process(shown['id'])}/root")
        assert bool(list((root / RUNTIME).glob("jpserver-*-open.html"))) == bool(hooks)
        world.api.remove(shown["id"])
