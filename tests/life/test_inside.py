"""Looking into a running notebook from the command line."""

import json
import subprocess

import pytest
from support.world import World

pytestmark = pytest.mark.local

MIB = 1 << 20


@pytest.fixture(scope="module")
def world():
    """A server of its own."""
    with World("local") as world:
        yield world


@pytest.fixture(scope="module")
def shown(world):
    """The notebook that is looked into."""
    return world.api.create_running("inside")


def line(world, *words, **options):
    """One command line, run to its end; stdout as bytes, stderr as text within."""
    command = [world.server.binary, "notebook", *words[:1], "--data-dir", world.server.data_dir, *words[1:]]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def top(world, *words):
    """The records that `top` prints."""
    answer = line(world, "top", "-o", "json", *words)
    assert answer.returncode == 0, answer.stderr.decode()
    return json.loads(answer.stdout)


def test_top_shows_what_a_notebook_uses(world, shown):
    [idle] = top(world)
    assert (idle["name"], idle["cpu_limit_millis"], idle["memory"]["limit"]) == ("inside", 500, 512 * MIB)
    with world.notebook(shown).new_kernel() as kernel:
        kernel.run("held = b'x' * (100 << 20)\nopen('/home/ma-user/work/filled', 'wb').write(b'x' * (300 << 20))", 120)
        kernel.begin("while True: pass")
        [busy] = top(world, "inside")
        assert 400 <= busy["cpu_millis"] <= 600, "all that its flavor allows"
        assert busy["memory"]["used"] > idle["memory"]["used"] + 90 * MIB
        assert idle["memory"]["used"] < busy["memory"]["used"] < busy["memory"]["peak"] <= busy["memory"]["limit"]
        assert busy["processes"] > idle["processes"]
        assert busy["volume"]["bytes_percent"] > idle["volume"]["bytes_percent"]
        first, most = busy["running"][0], max(busy["running"], key=lambda process: process["cpu_millis"])
        assert (first["pid"], first["command"]) == (1, "/run/atelier/bin/init")
        assert "ipykernel" in most["command"] and most["memory"] > 100 * MIB, most
    table = line(world, "top", "inside").stdout.decode().splitlines()
    assert table[0].split()[:2] == ["NAME", "CPU"] and any("bin/init" in row for row in table), table
    [everybodys] = top(world, "--all")
    assert everybodys["owner"] == "admin" and "running" not in everybodys
