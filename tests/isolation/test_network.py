"""Networks and sockets: services of the machine, the API, other notebooks, link-local addresses, DNS rebinding.

The network is tried against a pretended outside in a network namespace of the test's own, so that the test needs no
real one: what the notebook may reach there (the positive case) and what it may not stand side by side.
"""

import pytest
import requests
from support.attempts import Attempt, in_the_cell_at_once, names
from support.stage import NEIGHBOUR_SOCKET, addresses_of_the_machine

pytestmark = pytest.mark.local

HTTP = """
import threading, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
brought = ''
def ask(url):
    global brought
    try:
        brought += opener.open(url, timeout=3).read().decode()
    except OSError as refused:
        brought += f'{{type(refused).__name__}} '
threads = [threading.Thread(target=ask, args=(url,)) for url in {urls!r}]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

UNIX = """
import glob, socket
brought = ''
for address in glob.glob({pattern!r}) or [{address!r}]:
    with socket.socket(socket.AF_UNIX) as to:
        to.settimeout(3)
        try:
            to.connect(address)
            brought += to.recv(4096).decode(errors='replace')
        except OSError as refused:
            brought += f'{{type(refused).__name__}} '
"""

# What the address of the machine is called by a notebook: the other end of its only way out.
NEXT_HOP = "169.254.1.1"


def http(*urls):
    return HTTP.format(urls=list(urls))


def service_on_the_loopback(stage):
    return Attempt(http(stage.loopback.url), stage.word)


def service_on_the_loopback_of_ipv6(stage):
    return Attempt(http(stage.loopback6.url), stage.word)


def service_on_the_machines_address(stage):
    return Attempt(http(stage.addressed.url), stage.word)


def service_on_every_address(stage):
    port = stage.everywhere.listener.server_port
    addresses = [f"[{a}]" if ":" in a else a for a in [*addresses_of_the_machine(), NEXT_HOP]]
    return Attempt(http(*(f"http://{address}:{port}/" for address in addresses)), stage.word)


def the_api_itself(stage):
    return Attempt(http(f"{stage.world.server.url}/openapi.json"), "openapi")


def link_local_address(stage):
    return Attempt(http(stage.link_local.url), stage.word)


def abstract_socket(stage):
    return Attempt(UNIX.format(pattern="", address=stage.abstract.address), stage.word)


def neighbours_service(stage):
    # The machine itself gets no answer either: what a notebook sends to an address of the machine is dropped. So the
    # control stands in the neighbour's network, with root's rights.
    through = ("nsenter", f"--net=/proc/{stage.neighbour_pid()}/ns/net")
    return Attempt(http(stage.neighbour_url), stage.neighbour_word, through=through)


def neighbours_socket(stage):
    pattern = f"/proc/[0-9]*/root{NEIGHBOUR_SOCKET}"
    return Attempt(UNIX.format(pattern=pattern, address=NEIGHBOUR_SOCKET), stage.neighbour_word)


ATTEMPTS = [
    service_on_the_loopback,
    service_on_the_loopback_of_ipv6,
    service_on_the_machines_address,
    service_on_every_address,
    the_api_itself,
    link_local_address,
    abstract_socket,
    neighbours_service,
    neighbours_socket,
]


@pytest.fixture(scope="module")
def answers(stage, kernel):
    """What each of them brought: all at once, because silence takes time."""
    made = [attempt(stage) for attempt in ATTEMPTS]
    brought = in_the_cell_at_once(kernel, [attempt.program for attempt in made])
    return {attempt.__name__: pair for attempt, pair in zip(ATTEMPTS, zip(made, brought, strict=True), strict=True)}


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_network(answers, attempt):
    made, brought = answers[attempt.__name__]
    made.judge(brought)


def test_network_rebound_name(stage):
    """A browser is told that a name of the attacker's now has this server's address: the name is still the attacker's."""
    server = stage.world.server
    assert requests.get(f"{server.url}/openapi.json", timeout=30).status_code == 200
    for host in ("rebound.example", f"rebound.example:{server.port}", f"{stage.attacker['id']}.rebound.example"):
        for path in ("/openapi.json", f"/notebook/{stage.neighbour['id']}/api/status"):
            answer = requests.get(f"{server.url}{path}", headers={"Host": host}, timeout=30)
            assert answer.status_code == 421, f"{host}{path}: {answer.status_code}"
