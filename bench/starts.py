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

The peer of a line is the same without zygotes; of the last line, the command line of a bare `jupyter lab`. The ratio says
how many times as long, or as much, the peer takes.
"""

import argparse
import os
import re
import socket
import statistics
import sys
import threading
import time
from urllib.parse import urlsplit

import bench
from support import children
from support.api import SMALL, Api
from support.world import World

# How much of the time that has passed is waited before asking again: what is measured is right within that, and whoever
# asks takes no processor away from it.
GRAIN = 1 / 50
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


def status(connection, question):
    """The status of the answer to a question. A client of the library's would take ten times the processor time."""
    connection.sendall(question)
    answer, begun = b"", False
    while not begun or len(body) < int(LENGTH.search(head)[1]):
        part = connection.recv(65536)
        assert part, "the server has closed the connection"
        answer += part
        head, begun, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1])


def visit(world, made):
    """Waits for the first answer of a notebook."""
    begun, address = time.monotonic(), urlsplit(world.server.url)
    question = (
        f"GET /notebook/{made['id']}/api/status HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: token {made['token']}\r\n\r\n"
    ).encode()
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        while status(connection, question) != 200:
            passed = time.monotonic() - begun
            assert passed < 60, f"notebook {made['id']} does not answer"
            time.sleep(passed * GRAIN)


def served(world, ask):
    """Seconds from the question to the notebook's first answer, and what the API says of the notebook."""
    begun = time.monotonic()
    made = ask()
    visit(world, made)
    return time.monotonic() - begun, made


def create(world):
    """A new notebook's."""
    return served(world, lambda: world.api.create(flavor=bench.FLAVOR))


def cell(world):
    """The output of a new notebook's first cell, in seconds."""
    begun = time.monotonic()
    _, made = create(world)
    kernel = world.notebook(made).start_kernel()
    printed = kernel.run("print(6 * 7)")
    took = time.monotonic() - begun
    assert printed.strip() == "42", printed
    kernel.close()
    return took, made


def lives(world, rounds, bare):
    """Create, start and first cell, in turns with a bare server."""
    seen = {"create": [], "start": [], "cell": [], "bare": []}

    def end(made):
        world.api.wait_for(made["id"], "RUNNING")
        world.api.remove(made["id"])

    for at in range(rounds):
        if bare and at % 5 == 0:
            seen["bare"].append(bench.start_bare())
        took, made = create(world)
        seen["create"].append(took)
        world.api.wait_for(made["id"], "RUNNING")
        world.api.stop(made["id"])
        world.api.wait_for(made["id"], "STOPPED")
        took, made = served(world, lambda: world.api.start(made["id"]))
        seen["start"].append(took)
        end(made)
        took, made = cell(world)
        seen["cell"].append(took)
        end(made)
    return seen


def many(world, count):
    """Seconds from the first request to the last first answer of many at once, and the notebooks."""
    made, failed = [], []
    callers = [Api(world.server) for _ in range(count)]
    for caller in callers:
        caller.token()
    begun = time.monotonic()

    def one(caller):
        try:
            notebook = caller.create(flavor=SMALL)
            visit(world, notebook)
            made.append(notebook)
        except Exception as error:  # noqa: BLE001 - a thread's failure is the run's
            failed.append(error)

    threads = [threading.Thread(target=one, args=(caller,)) for caller in callers]
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


def measure(zygote, rounds, bare, count):
    """Everything in one world."""
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": "true" if zygote else "false"}) as world:
        # The first one on a machine waits for its image.
        world.api.remove((world.create_forked() if zygote else world.api.create_running())["id"])
        seen = lives(world, rounds, bare)
        took, made = many(world, count)
        seen["many"] = [took]
        # Idle: what the starts have left is done.
        time.sleep(5)
        seen["weight"] = [world.leftovers.weight(notebook["id"]) / 1e6 for notebook in made]
        for notebook in made:
            world.api.delete(notebook["id"])
        for notebook in made:
            world.api.remove(notebook["id"])
        return seen


def rows(forked, started, count):
    """Both ways and the peer, line by line."""
    for name, what, scale, target in (
        ("create", "create, ms", 1000, 120),
        ("start", "start, ms", 1000, 100),
        ("cell", "create to first cell's output, ms", 1000, 300),
        ("many", f"{count} at once, the last one, ms", 1000, 2000),
        ("weight", "PSS of an idle notebook, MB", 1, 35),
    ):
        mine, plain = (scale * statistics.median(one[name]) for one in (forked, started))
        worst = scale * max(forked[name])
        yield bench.row(f"{what} (worst {worst:.0f})", f"{mine:.1f}", f"{plain:.1f}", plain / mine, f"at most {target}", mine <= target)
        if name == "create":
            yield bench.row("the worst create, ms", f"{worst:.0f}", "", 1, "at most 400", worst <= 400)
    if forked["bare"]:
        mine, bare = (1000 * statistics.median(forked[name]) for name in ("create", "bare"))
        yield bench.row("create, ms; peer: bare `jupyter lab`", f"{mine:.0f}", f"{bare:.0f}", bare / mine, "at least 15", bare / mine >= 15)


def main():
    """Measures, prints the table, writes the file."""
    arguments = argparse.ArgumentParser(description="Measures how fast notebooks are there.")
    arguments.add_argument("--rounds", type=int, default=50)
    arguments.add_argument("--plain-rounds", type=int, default=5, help="rounds without zygotes")
    arguments.add_argument("--at-once", type=int, default=20)
    arguments.add_argument("--no-peer", action="store_true")
    chosen = arguments.parse_args()
    if os.geteuid() != 0:
        print("bench: starts of notebooks are left out: the local runtime needs root", file=sys.stderr)
        return 0
    children.adopt_orphans()
    forked = measure(True, chosen.rounds, not chosen.no_peer, chosen.at_once)
    started = measure(False, chosen.plain_rounds, False, chosen.at_once)
    return bench.written("starts.json", list(rows(forked, started, chosen.at_once)), {"forked": forked, "started": started})


if __name__ == "__main__":
    sys.exit(main())
