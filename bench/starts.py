"""How fast a notebook is there, and what it weighs: with the zygotes, without them, and beside a bare server.

Everything is seen from outside, by a client of the API and of the gateway: nothing is measured inside the server. Each
round takes one of each, in turns, so that what else the machine does falls on all of them.

| figure | from, to | target |
|---|---|---|
| create | the request, to the first 200 of the notebook's own `/api/status` | median 120 ms, worst 400 ms, 15 times faster than bare |
| start | the same for a notebook that was stopped | median 100 ms |
| cell | the request, to the output of a first cell in a first kernel | median 300 ms |
| twenty at once | the first request, to the last one's first 200 | 2 s |
| memory | the proportional share (PSS) of an idle notebook, all its processes | 35 MB |
"""

import argparse
import json
import os
import statistics
import threading
import time

import bench
from support import children
from support.api import SMALL
from support.deadline import wait_until
from support.world import World

TARGETS = {"create": (120, 400), "start": (100, None), "cell": (300, None)}


class Client:
    """One caller of the API and of the gateway."""

    def __init__(self, world):
        self.world = world

    def create(self):
        """A new notebook's first answer, in seconds, and what the API says of the notebook."""
        begun = time.monotonic()
        made = self.world.api.create(flavor=bench.FLAVOR)
        self.visit(made["id"], made["token"])
        return time.monotonic() - begun, made

    def visit(self, notebook, token):
        line = bench.Line(self.world.server.url, {"Authorization": f"token {token}"})
        deadline = time.monotonic() + 60
        while line.ask(f"/notebook/{notebook}/api/status") != 200:
            assert time.monotonic() < deadline, f"notebook {notebook} does not answer"
            # Asking without a pause would take a processor away from what is measured.
            time.sleep(0.001)

    def start(self, notebook):
        """A stopped notebook's first answer, in seconds."""
        begun = time.monotonic()
        made = self.world.api.start(notebook)
        self.visit(notebook, made["token"])
        return time.monotonic() - begun

    def cell(self):
        """The output of a new notebook's first cell, in seconds."""
        begun = time.monotonic()
        made = self.world.api.create(flavor=bench.FLAVOR)
        self.visit(made["id"], made["token"])
        kernel = self.world.notebook(made).start_kernel()
        printed = kernel.run("print(6 * 7)")
        took = time.monotonic() - begun
        assert printed.strip() == "42", printed
        kernel.close()
        return took, made


def wait_for_zygotes(client):
    """Makes notebooks until one is forked; the first one on a machine waits for its image."""

    def forked():
        _, made = client.create()
        client.world.api.wait_for(made["id"], "RUNNING")
        events = client.world.api.own(f"/notebooks/{made['id']}/events")
        client.world.api.remove(made["id"])
        return "zygote" in json.dumps(events) and "forked from" in json.dumps(events)

    wait_until(forked, "a notebook server is forked", 300, 1)


def lives(client, rounds, bare):
    """Create, start and first cell, in turns with a bare server."""
    seen = {"create": [], "start": [], "cell": [], "bare": []}
    for at in range(rounds):
        if bare and at % 5 == 0:
            seen["bare"].append(bench.start_bare())
        took, made = client.create()
        seen["create"].append(took)
        client.world.api.wait_for(made["id"], "RUNNING")
        client.world.api.stop(made["id"])
        client.world.api.wait_for(made["id"], "STOPPED")
        seen["start"].append(client.start(made["id"]))
        client.world.api.wait_for(made["id"], "RUNNING")
        client.world.api.remove(made["id"])
        took, made = client.cell()
        seen["cell"].append(took)
        client.world.api.wait_for(made["id"], "RUNNING")
        client.world.api.remove(made["id"])
    return seen


def many(world, count):
    """Seconds from the first request to the last first answer of many at once, and the notebooks."""
    made, failed, lock = [], [], threading.Lock()
    begun = time.monotonic()

    def one():
        try:
            client = Client(world)
            notebook = world.api.create(flavor=SMALL)
            client.visit(notebook["id"], notebook["token"])
            with lock:
                made.append(notebook)
        except Exception as error:  # noqa: BLE001 - a thread's failure is the run's
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    if failed:
        raise failed[0]
    for notebook in made:
        world.api.wait_for(notebook["id"], "RUNNING")
    return took, made


def weight(notebooks):
    """Megabytes of each notebook, by the proportional share of all processes in its cgroup."""
    weights = []
    for notebook in notebooks:
        weights.append(sum(proportional(pid) for pid in processes(notebook["id"])) / 1e6)
    return weights


def processes(notebook):
    """The processes in a notebook's cgroup."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cgroup", encoding="ascii") as file:
                if notebook in file.read():
                    yield int(entry)
        except OSError:
            pass


def proportional(pid):
    """Bytes; nothing for a process that has just ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def measure(zygote, rounds, bare, count):
    """Everything in one world."""
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": "true" if zygote else "false"}) as world:
        client = Client(world)
        if zygote:
            wait_for_zygotes(client)
        world.api.remove(world.api.create_running()["id"])
        seen = lives(client, rounds, bare)
        took, made = many(world, count)
        seen["many"] = [took]
        # Idle: what the starts have left is done.
        time.sleep(5)
        seen["weight"] = weight(made)
        for notebook in made:
            world.api.delete(notebook["id"])
        for notebook in made:
            world.api.remove(notebook["id"])
        return seen


def print_table(forked, started, count):
    """Both ways and the peer, line by line."""
    bare = statistics.median(forked["bare"]) * 1000 if forked["bare"] else None
    print(f"\n{'ms':<34} {'median':>9} {'worst':>9} {'without zygote':>15} {'target':>14}")
    for name, (median, worst) in TARGETS.items():
        mine = [1000 * one for one in forked[name]]
        plain = statistics.median(started[name]) * 1000
        goal = f"{median}" + (f" / {worst}" if worst else "")
        print(f"{name:<34} {statistics.median(mine):>9.0f} {max(mine):>9.0f} {plain:>15.0f} {goal:>14}")
    print(f"{f'{count} at once, the last one':<34} {1000 * forked['many'][0]:>9.0f} {'':>9} {1000 * started['many'][0]:>15.0f} {2000:>14}")
    mine, plain = statistics.median(forked["weight"]), statistics.median(started["weight"])
    print(f"{'PSS of an idle notebook, MB':<34} {mine:>9.1f} {max(forked['weight']):>9.1f} {plain:>15.1f} {35:>14}")
    if bare:
        times = bare / (statistics.median(forked["create"]) * 1000)
        print(f"{'bare `jupyter lab`':<34} {bare:>9.0f} {'':>9} {'':>15}  {times:.1f} times a create; target 15")


def main():
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description="Measures how fast notebooks are there.")
    arguments.add_argument("--rounds", type=int, default=50)
    arguments.add_argument("--plain-rounds", type=int, default=5, help="rounds without zygotes")
    arguments.add_argument("--at-once", type=int, default=20)
    arguments.add_argument("--no-peer", action="store_true")
    chosen = arguments.parse_args()
    children.adopt_orphans()
    forked = measure(True, chosen.rounds, not chosen.no_peer, chosen.at_once)
    started = measure(False, chosen.plain_rounds, False, chosen.at_once)
    print_table(forked, started, chosen.at_once)


if __name__ == "__main__":
    main()
