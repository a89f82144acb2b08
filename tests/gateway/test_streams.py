"""A gigabyte up and a gigabyte down, through the real gateway and a real container.

The notebook server itself takes uploads only whole and in memory, so a cell puts a server of its own in its place, as a
notebook's user may: it binds a socket where the notebook server's was. It counts what comes, and sends what is asked
for; and it stops in the middle until it is told to go on, so that "the first byte is passed on before the last is
sent" is a matter of order and not of speed.
"""

import hashlib
import json
import socket
from pathlib import Path

import pytest
from support.deadline import wait_until
from support.notebook import FORMS, HOST, PATH

pytestmark = pytest.mark.local

MIB = 1 << 20
GIB = 1 << 30
BLOCK = MIB
ALLOWED_GROWTH = 16 * MIB

STAND_IN = '''
import hashlib, http.server, json, os, re, socket, socketserver, threading

BLOCK = 1 << 20

class Progress:
    """How far the one upload or download is, and whether a download may go on."""
    received = 0
    go_on = threading.Event()

class StandIn(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    block = bytes(BLOCK)

    def do_PUT(self):
        Progress.received, left, digest = 0, int(self.headers["content-length"]), hashlib.sha256()
        while left:
            block = self.rfile.read1(min(BLOCK, left))
            if not block:
                return
            digest.update(block)
            left -= len(block)
            Progress.received += len(block)
        self.say({"received": Progress.received, "digest": digest.hexdigest()})

    def do_GET(self):
        name, _, size = self.path.partition("?")
        if name.endswith("/progress"):
            self.say({"received": Progress.received})
        elif name.endswith("/go-on"):
            Progress.go_on.set()
            self.say({})
        elif name.endswith("/source"):
            self.source(int(re.sub("[^0-9]", "", size)))
        else:
            self.say({"stand-in": True})

    def source(self, size):
        Progress.go_on.clear()
        self.send_response(200)
        self.send_header("content-length", str(size))
        self.end_headers()
        self.wfile.write(self.block)
        self.wfile.flush()
        Progress.go_on.wait()
        for _ in range(size // BLOCK - 1):
            self.wfile.write(self.block)

    def say(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "gateway"

    def log_message(self, *of):
        pass

class Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

place = "/run/atelier/nb/server.sock"
os.rename(place, place + ".before")
threading.Thread(target=Listener(place, StandIn).serve_forever, daemon=True).start()
'''


@pytest.fixture(scope="module")
def shown(local):
    """A notebook whose server is the stand-in."""
    shown = local.api.create_running("streams")
    notebook = local.notebook(shown)
    kernel = notebook.start_kernel()
    kernel.run(STAND_IN)
    wait_until(lambda: reaches_the_stand_in(notebook), "the stand-in answers", 60)
    yield shown
    kernel.close()


def reaches_the_stand_in(notebook):
    """Whether a request arrives at the stand-in. The gateway may still hold connections to the notebook server: one is
    used up by a request whose body would be too large, after which that server closes it."""
    answer = notebook.request("GET", "/api/status")
    if answer.status_code == 200 and answer.json().get("stand-in"):
        return True
    with Exchange(notebook, "PUT", "/api/contents/too-large", GIB) as exchange:
        exchange.socket.settimeout(10)
        exchange.socket.recv(1)
    return False


class Exchange:
    """One request as bytes on a socket, so that the test decides when each part of it goes out."""

    def __init__(self, notebook, method, path, length=0):
        self.socket = socket.create_connection(("127.0.0.1", notebook.server.port), timeout=60)
        head = (
            f"{method} {notebook.path(path)} HTTP/1.1\r\nHost: {notebook.host}\r\n"
            f"Authorization: token {notebook.token}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def head(self):
        """Reads the answer's head; its status."""
        status = int(self.file.readline().split()[1])
        while self.file.readline() not in (b"\r\n", b""):
            pass
        return status


def upload(notebook, size):
    """Sends `size` bytes; the first block alone must arrive before the rest is sent."""
    block, digest = bytes(range(256)) * (BLOCK // 256), hashlib.sha256()
    with Exchange(notebook, "PUT", "/sink", size) as exchange:
        exchange.socket.sendall(block)
        digest.update(block)
        wait_until(lambda: progress(notebook) == BLOCK, "the first block arrives while the rest is not yet sent", 30)
        for _ in range(size // BLOCK - 1):
            exchange.socket.sendall(block)
            digest.update(block)
        assert exchange.head() == 200
        assert json.loads(exchange.file.read()) == {"received": size, "digest": digest.hexdigest()}


def progress(notebook):
    """What the stand-in has received of the present upload."""
    return notebook.request("GET", "/progress").json()["received"]


def download(notebook, size):
    """Receives `size` bytes; the first block must arrive while the server still waits to send the rest."""
    with Exchange(notebook, "GET", f"/source?size={size}") as exchange:
        assert exchange.head() == 200
        first = exchange.file.read(BLOCK)
        assert len(first) == BLOCK
        assert notebook.request("GET", "/go-on").status_code == 200
        received = BLOCK
        while block := exchange.file.read(BLOCK):
            received += len(block)
    assert received == size


def peak_growth(server, work):
    """By how much the resident memory of the server has grown at most while `work` was done."""
    # The kernel keeps the peak; this sets it back to what is resident now.
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", encoding="ascii")
    before = server.resident_bytes()
    work()
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return peak - before


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", [upload, download])
def test_a_gigabyte_passes_without_being_held(local, shown, way, form):
    notebook = local.notebook(shown, form)
    # Everything that is allocated once for such a request is allocated by a small one.
    way(notebook, 4 * MIB)
    growth = peak_growth(local.server, lambda: way(notebook, GIB))
    assert growth < ALLOWED_GROWTH, f"{way.__name__} by the {form} form grew the server by {growth / MIB:.1f} MiB"


def test_the_stand_in_saw_both_forms(local, shown):
    for form in (PATH, HOST):
        assert local.notebook(shown, form).request("GET", "/api/status").json() == {"stand-in": True}
