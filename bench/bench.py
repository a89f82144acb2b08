"""Atelier beside its peers, in one run on one machine.

A number alone says what this machine can do today; a ratio of two numbers that were taken in turns, by the same load
on the same cores, says something about the programs. So every comparison goes round by round, peer and Atelier after
one another, and the medians of the rounds are compared.

| comparison | the same work | target |
|---|---|---|
| ShowLease, bare axum | a JSON document of the same size over keep-alive connections | at least 0.30 of its requests/s |
| gateway, configurable-http-proxy | a small answer of a server behind it, with the visitor's token; for the peer, without any proof | more requests/s, less added latency |
| WebSocket through the gateway, configurable-http-proxy | messages of 256 bytes that the server behind sends back, one at a time on each of many sockets | more messages/s |
| a route comes and goes, configurable-http-proxy | from the call that changes it to the first answer that shows it; ours starts or stops a notebook and is on disk, the peer's changes a table in memory | |
| ShowLease, JupyterHub | one authenticated look at one record, through the peer's own front door | as many times as possible |
"""

import argparse
import contextlib
import http.client
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

import requests  # noqa: E402
from support import children  # noqa: E402
from support.deadline import wait_until  # noqa: E402
from support.server import free_port  # noqa: E402
from support.world import World  # noqa: E402

LOAD = os.environ["BENCH_LOAD"]
POLL = 0.002
PEERS_TOKEN = secrets.token_hex(16)
# The size that has as many CPUs as the bare peer gets on a small machine.
FLAVOR = "modelarts.vm.cpu.2u"

HUB_CONFIGURATION = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{door}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_api}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allowed_users = {{"bench"}}
c.JupyterHub.services = [{{"name": "bench-load", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [{{"name": "bench", "scopes": ["read:users"], "services": ["bench-load"]}}]
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
"""


class Hub:
    """JupyterHub with its own proxy, as its documentation installs it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="bench-hub-")
        self.token = secrets.token_hex(16)
        self.door = free_port()
        self.process = None

    def __enter__(self):
        text = HUB_CONFIGURATION.format(
            door=self.door,
            hub=free_port(),
            proxy_api=free_port(),
            proxy=os.environ["BENCH_PROXY"],
            token=self.token,
            folder=self.folder,
        )
        configuration = Path(self.folder, "jupyterhub_config.py")
        configuration.write_text(text, encoding="utf-8")
        with open(Path(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [f"{os.environ['BENCH_HUB']}/bin/jupyterhub", "-f", str(configuration), "--log-level=WARN"],
                cwd=self.folder,
                env=peers_environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, "JupyterHub answers", 60, 0.2)
        except AssertionError:
            print(Path(self.folder, "log").read_text(encoding="utf-8"), file=sys.stderr)
            self.__exit__()
            raise
        return self

    def _answers(self):
        return get(self.url, {"Authorization": f"token {self.token}"}) == 200

    @property
    def url(self):
        """One user's record, through the front door."""
        return f"http://127.0.0.1:{self.door}/hub/api/users/bench"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        children.end_all({p for p in children.descendants() if self.folder in p.command or "http-proxy" in p.command})
        shutil.rmtree(self.folder, ignore_errors=True)


def peers_environment():
    """The peers' own environment. They may keep their compiled modules, as every installation of theirs does: started
    without them they would look slower than they are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def get(url, headers):
    """The status of one answer, or 0 where nobody answers."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, headers=headers, timeout=5, allow_redirects=False).status_code
    except requests.exceptions.RequestException:
        return 0


def load(url, seconds, connections, *headers, kind="load"):
    """Keeps connections busy; what the load says of it."""
    command = [LOAD, kind, url, "--seconds", str(seconds), "--connections", str(connections)]
    for header in headers:
        command += ["--header", header]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"bench: the load on {url} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def bare_server(kind="bare"):
    """The bare answer, or with `echo` a server that knows WebSockets; its address."""
    with subprocess.Popen([LOAD, kind], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def compare_requests(rounds, seconds, connections):
    """ShowLease, the bare answer and JupyterHub in turns."""
    seen = {"bare": [], "atelier": [], "jupyterhub": []}
    # The world comes first and goes last: it must be alone when it looks for what it has left behind.
    with World("simulated") as world, Hub() as hub, bare_server() as bare:
        notebook = world.api.create_running()["id"]
        lease = f"{world.server.url}/v1/{world.api.project}/notebooks/{notebook}/lease"
        for _ in range(rounds):
            seen["bare"].append(load(bare, seconds, connections))
            seen["atelier"].append(load(lease, seconds, connections, f"X-Auth-Token: {world.api.token()}"))
            seen["jupyterhub"].append(load(hub.url, seconds, connections, f"Authorization: token {hub.token}"))
    return seen


@contextlib.contextmanager
def peer_proxy(target, with_control=False):
    """The proxy that JupyterHub stands behind, with one server behind it; its address, and that of its own API."""
    port, control = free_port(), free_port()
    command = [os.environ["BENCH_PROXY"], f"--port={port}", "--ip=127.0.0.1", f"--api-port={control}"]
    command += [f"--default-target={target.rstrip('/')}", "--log-level=error"]
    environment = {**peers_environment(), "CONFIGPROXY_AUTH_TOKEN": PEERS_TOKEN}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            wait_until(lambda: get(url, {}) == 200, "the peer's proxy answers", 30, 0.1)
            yield url if not with_control else (url, f"http://127.0.0.1:{control}")
        finally:
            process.terminate()


def compare_gateways(rounds, seconds, connections):
    """The gateway, the peer's proxy, and the server behind the latter by itself, in turns.

    Behind the gateway is the simulated runtime's answerer, in the server's own process, which costs less than the bare
    server's process behind the peer; so the peer's own share is what is left when the bare server's is taken off."""
    seen = {"bare": [], "atelier": [], "proxy": []}
    lonely = {"bare": [], "atelier": [], "proxy": []}
    with World("simulated") as world, bare_server() as bare, peer_proxy(bare) as proxy:
        made = world.api.create_running()
        address = f"{world.server.url}/notebook/{made['id']}/api/status"
        token = f"Authorization: token {world.api.show(made['id'])['token']}"
        for _ in range(rounds):
            for measured, count in ((seen, connections), (lonely, 1)):
                measured["bare"].append(load(bare, seconds, count))
                measured["atelier"].append(load(address, seconds, count, token))
                measured["proxy"].append(load(proxy, seconds, count))
    return seen, lonely


def compare_sockets(rounds, seconds, connections):
    """Messages over WebSockets: straight to a server that sends them back, through the peer's proxy to the same server,
    and through the gateway to the simulated runtime's, which is the same code in the gateway's own process."""
    seen = {"bare": [], "atelier": [], "proxy": []}
    with World("simulated") as world, bare_server("echo") as bare, peer_proxy(bare) as proxy:
        made = world.api.create_running()
        address = f"{world.server.url}/notebook/{made['id']}/api/kernels/1/channels"
        token = f"Authorization: token {world.api.show(made['id'])['token']}"
        for _ in range(rounds):
            seen["bare"].append(load(bare, seconds, connections, kind="talk"))
            seen["atelier"].append(load(address, seconds, connections, token, kind="talk"))
            seen["proxy"].append(load(proxy, seconds, connections, kind="talk"))
    return seen


def socket_rows(seen):
    """Messages per second, beside the peer and beside nothing in between."""
    rate = {name: statistics.median(one["messages_per_second"] for one in rounds) for name, rounds in seen.items()}
    for peer, what, target in (
        ("proxy", "WebSocket messages/s; peer: configurable-http-proxy", "at least 1"),
        ("bare", "WebSocket messages/s; peer: nothing in between", ""),
    ):
        ratio = rate["atelier"] / rate[peer]
        yield row(what, f"{rate['atelier']:.0f}", f"{rate[peer]:.0f}", ratio, target, ratio >= 1)


class Line:
    """One kept connection, so that what is timed is the answer and not the client."""

    def __init__(self, url, headers):
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        self.headers = headers
        self.body = b""

    def ask(self, path, method="GET", body=None):
        """The status of the answer."""
        self.connection.request(method, path, body and json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        self.body = answer.read()
        return answer.status


def until(line, path, shown):
    """Asks without a pause until the status is as wanted."""
    deadline = time.monotonic() + 30
    while not shown(line.ask(path)):
        assert time.monotonic() < deadline, f"{path} does not change"


def timed(change, line, path, shown):
    """Milliseconds from the beginning of the change until it is seen."""
    begun = time.monotonic()
    status = change()
    assert status < 300, f"the change was answered {status}"
    until(line, path, shown)
    return (time.monotonic() - begun) * 1000


def started(calls, place, visit):
    """Asks for a start, whose answer has the token of this start."""
    status = calls.ask(f"{place}/start?duration=-1", "POST")
    visit.headers = {"Authorization": f"token {json.loads(calls.body)['token']}"}
    return status


def compare_routes(rounds):
    """A notebook that starts and stops, and a route that is added to the peer's table and taken from it, in turns."""
    seen = {name: {"come": [], "go": []} for name in ("atelier", "proxy")}
    with (
        World("simulated") as world,
        bare_server("echo") as bare,
        peer_proxy(bare, with_control=True) as (proxy, control),
    ):
        made = world.api.create_running()
        calls = Line(world.server.url, {"X-Auth-Token": world.api.token(), "Content-Type": "application/json"})
        peers = Line(control, {"Authorization": f"token {PEERS_TOKEN}", "Content-Type": "application/json"})
        through_peer = Line(proxy, {})
        place = f"/v1/{world.api.project}/notebooks/{made['id']}"
        way = f"/notebook/{made['id']}/api/status"
        for _ in range(rounds):
            visit = Line(world.server.url, {"Authorization": f"token {world.api.show(made['id'])['token']}"})
            until(visit, way, lambda status: status == 200)
            stop = lambda: calls.ask(f"{place}/stop", "POST")  # noqa: E731
            seen["atelier"]["go"].append(timed(stop, visit, way, lambda status: status != 200))
            world.api.wait_for(made["id"], "STOPPED")
            start = lambda: started(calls, place, visit)  # noqa: E731
            seen["atelier"]["come"].append(timed(start, visit, way, lambda status: status == 200))
            world.api.wait_for(made["id"], "RUNNING")
            target = {"target": "http://127.0.0.1:1"}
            add = lambda: peers.ask("/api/routes/n", "POST", target)  # noqa: E731
            seen["proxy"]["come"].append(timed(add, through_peer, "/n", lambda status: status != 200))
            take = lambda: peers.ask("/api/routes/n", "DELETE")  # noqa: E731
            seen["proxy"]["go"].append(timed(take, through_peer, "/n", lambda status: status == 200))
    return seen


def route_rows(seen):
    """The medians; no target: the one side is durable, the other is not."""
    for way, what in (("come", "start to the gateway's answer"), ("go", "stop to the gateway's refusal")):
        mine, peer = (statistics.median(seen[name][way]) for name in ("atelier", "proxy"))
        yield row(f"{what}, ms; peer: route in the proxy", f"{mine:.2f}", f"{peer:.2f}", mine / peer, "", True)


def gateway_rows(seen, lonely):
    """Requests per second with many connections, and the latency that one of them sees."""
    mine, peer = median_rate(seen["atelier"]), median_rate(seen["proxy"])
    yield row(
        "gateway, requests/s; peer: configurable-http-proxy",
        f"{mine:.0f}",
        f"{peer:.0f}",
        mine / peer,
        "at least 1",
        mine >= peer,
    )
    latency = {name: statistics.median(one["p50_us"] for one in rounds) for name, rounds in lonely.items()}
    added = latency["proxy"] - latency["bare"]
    yield row(
        "gateway, whole latency, us; peer: added by the proxy",
        f"{latency['atelier']:.0f}",
        f"{added:.0f}",
        latency["atelier"] / added,
        "at most 1",
        latency["atelier"] <= added,
    )


def median_rate(measured):
    """The median of the rounds' requests per second."""
    return statistics.median(one["requests_per_second"] for one in measured)


def start_bare():
    """Seconds from the command line to the first answer of the same server without anything around it."""
    port, token = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="bench-lab-") as home:
        begun = time.monotonic()
        process = subprocess.Popen(
            [
                f"{os.environ['BENCH_LAB']}/bin/jupyter",
                "lab",
                "--no-browser",
                "--allow-root",
                f"--port={port}",
                f"--IdentityProvider.token={token}",
                f"--ServerApp.root_dir={home}",
            ],
            env={**os.environ, "HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            first_answer(f"http://127.0.0.1:{port}/api/status", token)
            return time.monotonic() - begun
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def first_answer(url, token):
    """Asks until the answer is 200."""
    headers = {"Authorization": f"token {token}"}
    wait_until(lambda: get(url, headers) == 200, f"{url} answers 200", 120, POLL)


def verdict(met):
    """How a target is shown."""
    return "met" if met else "MISSED"


def show(rows):
    """The table."""
    print(f"\n{'what':<46} {'atelier':>12} {'peer':>12} {'ratio':>8}  target")
    for row in rows:
        print(
            f"{row['what']:<46} {row['atelier']:>12} {row['peer']:>12} {row['ratio']:>8.2f}  "
            f"{row['target']}{': ' + row['verdict'] if row['verdict'] else ''}"
        )


def main():
    """Measures what is asked for, prints the table, writes the file."""
    arguments = argparse.ArgumentParser(description="Measures Atelier beside its peers.")
    arguments.add_argument("--rounds", type=int, default=3, help="rounds of the comparison of requests")
    arguments.add_argument("--seconds", type=int, default=5, help="seconds of load in a round")
    arguments.add_argument("--connections", type=int, default=32)
    chosen = arguments.parse_args()
    children.adopt_orphans()

    rows, raw = [], {}
    raw["requests"] = compare_requests(chosen.rounds, chosen.seconds, chosen.connections)
    rates = {name: median_rate(rounds) for name, rounds in raw["requests"].items()}
    for peer, what, target, least in (
        ("bare", "ShowLease, requests/s; peer: bare axum", "at least 0.30", 0.30),
        ("jupyterhub", "ShowLease, requests/s; peer: JupyterHub, a user", "", 0),
    ):
        ratio = rates["atelier"] / rates[peer]
        rows.append(row(what, f"{rates['atelier']:.0f}", f"{rates[peer]:.0f}", ratio, target, ratio >= least))
    raw["gateways"] = compare_gateways(chosen.rounds, chosen.seconds, chosen.connections)
    rows.extend(gateway_rows(*raw["gateways"]))
    raw["sockets"] = compare_sockets(chosen.rounds, chosen.seconds, chosen.connections)
    rows.extend(socket_rows(raw["sockets"]))
    raw["routes"] = compare_routes(10 * chosen.rounds)
    rows.extend(route_rows(raw["routes"]))

    return written("result.json", rows, raw)


def written(name, rows, raw):
    """Shows the table, keeps it with everything that was measured, and returns the exit status."""
    show(rows)
    file = Path(os.environ["CARGO_TARGET_DIR"], "bench", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cpus": os.cpu_count(), "kernel": platform.release()}
    file.write_text(json.dumps({"machine": machine, "rows": rows, "raw": raw}, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {file}")
    return 0 if all(line["verdict"] != "MISSED" for line in rows) else 1


def row(what, atelier, peer, ratio, target, met):
    """One line of the table."""
    shown = verdict(met) if target else ""
    return {"what": what, "atelier": atelier, "peer": peer, "ratio": ratio, "target": target, "verdict": shown}


if __name__ == "__main__":
    sys.exit(main())
