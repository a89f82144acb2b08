"""Secrets that a notebook might find in itself: those of the server, of its neighbour, and of its own way in.

They are looked for in the environment, the arguments, the files and the memory of everything that a notebook's user may
see there, the processes that were forked from the machine's zygotes among them. The control is a process on the machine
that bears one of them in each of these places. A secret is looked for by its halves: what is whole in the searching
program would be found in it.
"""

import os
import subprocess
import sys

import pytest
from support.attempts import Attempt, in_the_cell

pytestmark = pytest.mark.local

SEARCH = """
import glob, os
needles = [(first.encode(), second.encode()) for first, second in {halves!r}]
brought = ''
def look(where, text):
    global brought
    for number, (first, second) in enumerate(needles):
        at = text.find(first)
        while at >= 0:
            if text[at + len(first):at + len(first) + len(second)] == second:
                brought += f'found {{number}} in {{where}};'
            at = text.find(first, at + 1)
def read(path):
    try:
        with open(path, 'rb') as file:
            look(path, file.read(32 << 20))
    except OSError:
        pass
def memory(process):
    try:
        regions = [line.split() for line in open(process + '/maps') if ' rw' in line]
        with open(process + '/mem', 'rb', 0) as file:
            for region in regions:
                start, end = (int(part, 16) for part in region[0].split('-'))
                try:
                    file.seek(start)
                    look(process, file.read(end - start))
                except (OSError, ValueError, OverflowError):
                    continue
    except OSError:
        pass
"""

BEARER = "import sys\nsecret = sys.argv[1]\nprint('ready', flush=True)\nsys.stdin.read()"
IN_A_NOTEBOOK = ["/run/atelier", "/home", "/tmp", "/etc", "/var", "/root", "/srv", "/mnt"]

PLACES = {
    "environment": "for process in glob.glob({processes!r}):\n    read(process + '/environ')",
    "arguments": "for process in glob.glob({processes!r}):\n    read(process + '/cmdline')",
    "memory": "for process in glob.glob({processes!r}):\n    memory(process)",
    "files": "for top in {folders!r}:\n    for folder, _, files in os.walk(top):\n        for file in files:\n"
    "            if os.path.isfile(os.path.join(folder, file)):\n                read(os.path.join(folder, file))",
}


@pytest.fixture(scope="module")
def bearer(stage, tmp_path_factory):
    """A process and a folder on the machine that bear a secret wherever one may be borne."""
    secret, folder = stage.neighbour["token"], tmp_path_factory.mktemp("borne")
    (folder / "log").write_text(f"asked with {secret}\n", encoding="ascii")
    process = subprocess.Popen(
        [sys.executable, "-c", BEARER, secret],
        env={**os.environ, "SECRET": secret},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process.pid, str(folder)
    finally:
        process.communicate(timeout=10)


def searched(stage, place, processes, folders):
    secrets = [stage.neighbour["token"], stage.world.server.admin()["secret_key"], stage.attacker["token"]]
    halves = [(secret[: len(secret) // 2], secret[len(secret) // 2 :]) for secret in secrets]
    return SEARCH.format(halves=halves) + PLACES[place].format(processes=processes, folders=folders)


@pytest.mark.parametrize("place", PLACES)
def test_secret(stage, kernel, bearer, place):
    pid, folder = bearer
    inside = searched(stage, place, "/proc/[0-9]*", IN_A_NOTEBOOK)
    Attempt(inside, "found", control=searched(stage, place, f"/proc/{pid}", [folder])).check(kernel)


@pytest.mark.parametrize("place", PLACES)
def test_soundness_of_the_search(stage, kernel, place):
    """The same search finds, in a cell, what is there."""
    secret = stage.neighbour["token"]
    first, second = secret[:8], secret[8:]
    kernel.run(
        f"import os, subprocess, sys\nsecret = {first!r} + {second!r}\nopen('/tmp/borne', 'w').write(secret)\n"
        f"bearer = subprocess.Popen([sys.executable, '-c', {BEARER!r}, secret], env={{'SECRET': secret}}, stdin=-1, stdout=-1)\n"
        "bearer.stdout.readline()"
    )
    try:
        assert "found 0" in in_the_cell(kernel, searched(stage, place, "/proc/[0-9]*", IN_A_NOTEBOOK))
    finally:
        kernel.run("bearer.communicate(); os.unlink('/tmp/borne'); del secret, bearer; In.clear(); import gc; gc.collect()")
