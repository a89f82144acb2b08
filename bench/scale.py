"""How cost grows with the number of notebooks: 1,000, 10,000 and 100,000 of them.

| what | target |
|---|---|
| restart to ready | below 2 s with 100,000 |
| ListNotebooks: every page, sort, filter, part of a name, the total with it | p99 below 20 ms among 100,000 |
| durable creates through the API, simulated runtime | at least 500 in a second, also beside 100,000 |
| memory of an idle server, and what each notebook adds | at most 40 MiB without notebooks |

The notebooks belong to one person, or are spread over fifty; both are measured. They are written by the store itself
(`atelier-bench fill`); the server is the released binary, asked over HTTP. JupyterHub's own figure beside the creates is
the one that its project has published (16 to 26 in a second); it is not measured here.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "bench"))

import requests  # noqa: E402
from support import children  # noqa: E402
from support.api import BUILT_IN_IMAGE, SMALL, Api  # noqa: E402
from support.deadline import wait_until  # noqa: E402
from support.world import ROOMY, World  # noqa: E402

LOAD = os.environ["BENCH_LOAD"]
MIB = 1024 * 1024
ENVIRONMENT = {
    **ROOMY,
    "ATELIER_QUOTA__NOTEBOOKS_PER_USER": "1000000",
    # Room for all that is created here, beside what runs already.
    "ATELIER_LOCAL__CPU_OVERCOMMIT": "1000",
    "ATELIER_LOCAL__MEMORY_OVERCOMMIT": "1000",
    "ATELIER_SERVER__LOG_LEVEL": "warn",
}


def load(url, token, seconds, connections, body=None):
    """Keeps connections busy; what the load says of it."""
    command = [LOAD, "load", url, "--seconds", str(seconds), "--connections", str(connections)]
    command += ["--header", f"X-Auth-Token: {token}"]
    command += ["--body", json.dumps(body)] if body else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"scale: the load on {url} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def questions(count):
    """Lists of all kinds: the first, a middle and the last page of every order, and every filter."""
    pages = [("first", 0), ("middle", count // 2), ("last", max(0, count - 10))]
    for key in ("create_at", "update_at", "name"):
        for direction in ("ASC", "DESC"):
            for page, offset in pages:
                yield f"{key} {direction} {page}", f"sort_key={key}&sort_dir={direction}&limit=10&offset={offset}"
    for name in ("a", "train-1", "实验", "99", "nowhere", "notes-12345"):
        yield f"name {name}", f"name={requests.utils.quote(name)}&limit=10&sort_key=name&sort_dir=ASC"
    for status in ("RUNNING", "STOPPED", "FROZEN"):
        yield f"status {status}", f"status={status}&limit=10&sort_key=update_at&sort_dir=DESC"
    yield "name and status, late page", f"name=e&status=STOPPED&limit=10&offset={count // 4}&sort_key=update_at&sort_dir=ASC"
    yield "a hundred of them", f"limit=100&offset={count // 2}&sort_key=name&sort_dir=ASC"


def lists(world, count, seconds):
    """p50 and p99 of each kind of list, in milliseconds."""
    seen = {}
    for what, query in questions(count):
        url = f"{world.server.url}/v1/{world.api.project}/notebooks?{query}"
        measured = load(url, world.api.token(), seconds, 1)
        seen[what] = {"p50_ms": measured["p50_us"] / 1000, "p99_ms": measured["p99_us"] / 1000}
    return seen


def ready(world):
    """Whether the server answers that it is ready."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{world.server.url}/readyz", timeout=5).status_code == 200
    except requests.exceptions.RequestException:
        return False


def restart(world):
    """Seconds from the command line to the first answer that the server is ready."""
    assert world.server.stop() == 0
    begun = time.monotonic()
    world.server.start()
    wait_until(lambda: ready(world), "the server is ready", 120, 0.001)
    return time.monotonic() - begun


def aside(world):
    """Lets the simulated runtime keep what it pretends in memory. It makes some files for each notebook, and ext4 looks
    for a place for one among all that were deleted in the last minutes: a benchmark would measure the tidying up of the
    one before it. What is measured, the database, stays on the disk."""
    pretended = world.server.data_dir / "simulated"
    memory = Path(tempfile.mkdtemp(prefix="atelier-bench-", dir="/dev/shm"))
    shutil.copytree(pretended, memory, dirs_exist_ok=True)
    shutil.rmtree(pretended)
    pretended.symlink_to(memory)


def fill(world, count, owners):
    """Lets the store write the notebooks; seconds."""
    assert world.server.stop() == 0
    aside(world)
    begun = time.monotonic()
    command = [LOAD, "fill", str(world.server.data_dir), "--notebooks", str(count), "--owners", str(owners)]
    subprocess.run(command, check=True)
    took = time.monotonic() - begun
    world.server.start()
    world.api = Api(world.server)
    return took


def creates(world, seconds):
    """Durable creates in a second, by 64 callers at once."""
    body = {
        "name": "made",
        "flavor": SMALL,
        "image_id": BUILT_IN_IMAGE,
        "volume": {"category": "EVS", "ownership": "MANAGED", "capacity": 5},
        "duration": -1,
    }
    before = children.processor_seconds(world.server.pid)
    seen = load(f"{world.server.url}/v1/{world.api.project}/notebooks", world.api.token(), seconds, 64, body)
    # On a machine that others use too, this says more of the server than the rate does. The load's second of warming up
    # is in it, and its requests are not counted.
    share = (seconds + 1) / seconds
    seen["processor_us"] = (children.processor_seconds(world.server.pid) - before) * 1e6 / (seen["requests"] * share)
    return seen


def anonymous_bytes(pid):
    """What the process has written into its memory: pages of its program file are not counted twice for two servers."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return {name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ("VmRSS", "RssAnon")}


def leave(world):
    """Ends the server at once: thousands of notebooks that run nothing need not be deleted one by one."""
    if world.server.is_running():
        world.server.process.send_signal(signal.SIGKILL)
        world.server.process.wait(10)
    world.server.process = None
    shutil.rmtree(os.path.realpath(world.server.data_dir / "simulated"), ignore_errors=True)


def measure(count, owners, chosen):
    """All figures of one size."""
    world = World("simulated", environment=ENVIRONMENT)
    with world:
        try:
            seen = {"notebooks": count, "owners": owners, "load": os.getloadavg()[0]}
            seen["empty_bytes"] = anonymous_bytes(world.server.pid)
            seen["fill_s"] = fill(world, count, owners)
            seen["database_bytes"] = (world.server.data_dir / "atelier.db").stat().st_size
            seen["restart_s"] = [restart(world) for _ in range(chosen.rounds)]
            world.api = Api(world.server)
            seen["idle_bytes"] = anonymous_bytes(world.server.pid)
            seen["lists"] = lists(world, count // owners, chosen.seconds)
            seen["creates"] = creates(world, chosen.create_seconds)
            return seen
        finally:
            leave(world)


def rows_of(seen):
    """The lines of the table, in the form of those of `bench.py`."""
    count, owners = seen["notebooks"], seen["owners"]
    of = f"{count:,}, {'one owner' if owners == 1 else f'{owners} owners'}"
    last = count >= 100_000
    restarted = statistics.median(seen["restart_s"])
    worst = max(seen["lists"], key=lambda what: seen["lists"][what]["p99_ms"])
    p99 = seen["lists"][worst]["p99_ms"]
    rate = seen["creates"]["requests_per_second"]
    empty, idle = seen["empty_bytes"]["VmRSS"], seen["idle_bytes"]["VmRSS"]
    yield line(f"restart to ready, s; {of}", f"{restarted:.2f}", "below 2" if last else "", restarted < 2)
    yield line(f"worst list, p99, ms; {of} ({worst})", f"{p99:.2f}", "below 20", p99 < 20)
    yield line(f"durable creates/s; {of}", f"{rate}", "at least 500", rate >= 500)
    yield line(f"processor time of a create, us; {of}", f"{seen['creates']['processor_us']:.0f}", "", True)
    yield line("idle, MiB; without notebooks", f"{empty / MIB:.1f}", "at most 40", empty <= 40 * MIB)
    yield line(f"idle, bytes for each; {of}", f"{(idle - empty) / count:.0f}", "", True)


def line(what, atelier, target, met):
    """One line of the table; nothing is measured beside it."""
    shown = ("met" if met else "MISSED") if target else ""
    return {"what": what, "atelier": atelier, "peer": "", "ratio": None, "target": target, "verdict": shown}


def main():
    """Measures, prints the table, writes the file."""
    arguments = argparse.ArgumentParser(description="Measures how cost grows with the number of notebooks.")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    arguments.add_argument("--owners", type=int, nargs="+", default=[1, 50], help="people who share the notebooks")
    arguments.add_argument("--rounds", type=int, default=3, help="restarts of each")
    arguments.add_argument("--seconds", type=int, default=1, help="seconds for each kind of list")
    arguments.add_argument("--create-seconds", type=int, default=10)
    chosen = arguments.parse_args()
    children.adopt_orphans()

    rows, raw = [], []
    print(f"{'what':<74} {'atelier':>10}  target")
    for count in chosen.sizes:
        for owners in chosen.owners:
            raw.append(measure(count, owners, chosen))
            for row in rows_of(raw[-1]):
                rows.append(row)
                verdict = f": {row['verdict']}" if row["verdict"] else ""
                print(f"{row['what']:<74} {row['atelier']:>10}  {row['target']}{verdict}", flush=True)

    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "load": os.getloadavg()[0]}
    file = Path(os.environ["CARGO_TARGET_DIR"], "bench", "scale.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": machine, "rows": rows, "raw": raw}, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {file}")
    return 0 if all(row["verdict"] != "MISSED" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
