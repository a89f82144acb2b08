"""What stands around a notebook in the isolation suite: things of the machine, of an outside, and of a neighbour, each
holding a word that must not come home."""

import itertools
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import children
from .deadline import wait_until
from .disks import volume_device
from .notebook import Notebook

# Addresses that documents may use for examples, so that nothing real can be behind them.
ON_THE_MACHINE = "198.51.100.77"
OUTSIDE = "203.0.113.7"
OUTSIDE_ROUTER = "203.0.113.1"
# No wider than needed: some machines reach real things at addresses of this kind all the same.
OUTSIDE_WIDTH = 28
# Not 169.254.169.254: on a hosted machine something real may answer there.
LINK_LOCAL = "169.254.77.77"
# Beside the notebook server's own socket, where a notebook's user may put one.
NEIGHBOUR_SOCKET = "/run/atelier/nb/word.sock"

# More than the neighbour has: some limits stand behind that of the memory.
ATTACKERS_FLAVOR = "modelarts.vm.cpu.free"

COUNT_SIGNALS = """
import signal, sys
count = 0
def counted(number, frame):
    global count
    count += 1
signal.signal(signal.SIGCONT, counted)
print('ready', flush=True)
for question in sys.stdin:
    print(count, flush=True)
"""

SERVE = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        word = sys.argv[3].encode()
        self.send_response(200)
        self.send_header('content-length', str(len(word)))
        self.end_headers()
        self.wfile.write(word)
    def log_message(self, *of):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answer)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Service:
    """An HTTP service of this process that answers everything with one word."""

    def __init__(self, address, word, shown=None, family=socket.AF_INET):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(word)))
                self.end_headers()
                self.wfile.write(word.encode())

            def log_message(self, *_):
                pass

        class Listener(ThreadingHTTPServer):
            address_family = family

        self.listener = Listener((address, 0), Answer)
        host = shown or address
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.listener.server_port}/"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()


class UnixService:
    """A service on a Unix socket, which says its words to whoever connects. Without a path it has no file: reachable in
    one network namespace by its name alone."""

    def __init__(self, word, path=None):
        self.address = path or f"\0atelier-test-{secrets.token_hex(6)}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.address)
        self.listener.listen()
        self.word = word
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(self.word.encode())

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Outside:
    """A pretended outside: a network namespace with an ordinary and a link-local address, routed from this machine."""

    def __init__(self, word):
        mark = secrets.token_hex(3)
        self.space, self.near, self.far = f"test-outside-{mark}", f"tst{mark}a", f"tst{mark}b"
        self.process = None
        self.word = word

    def open(self):
        inside = ["ip", "-n", self.space]
        for command in (
            ["ip", "netns", "add", self.space],
            ["ip", "link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.space],
            ["ip", "addr", "add", f"{OUTSIDE_ROUTER}/{OUTSIDE_WIDTH}", "dev", self.near],
            ["ip", "link", "set", self.near, "up"],
            [*inside, "addr", "add", f"{OUTSIDE}/{OUTSIDE_WIDTH}", "dev", self.far],
            [*inside, "addr", "add", f"{LINK_LOCAL}/32", "dev", self.far],
            [*inside, "link", "set", "lo", "up"],
            [*inside, "link", "set", self.far, "up"],
            [*inside, "route", "add", "default", "via", OUTSIDE_ROUTER],
            ["ip", "route", "add", f"{LINK_LOCAL}/32", "via", OUTSIDE, "dev", self.near],
        ):
            subprocess.run(command, check=True, capture_output=True)
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.space, sys.executable, "-c", SERVE, "0.0.0.0", "0", self.word],
            stdout=subprocess.PIPE,
            text=True,
        )
        return int(self.process.stdout.readline())

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        subprocess.run(["ip", "link", "del", self.near], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.space], check=False, capture_output=True)


class Place:
    """An address of a service."""

    def __init__(self, url):
        self.url = url


class Stage:
    """Everything, set up and taken down as one."""

    def __init__(self, world):
        self.world = world
        self.word = f"word-{secrets.token_hex(12)}"
        self.digits = str(secrets.randbelow(10**9) + 10**9)
        self.process_word = f"process-{secrets.token_hex(12)}"
        self.neighbour_word = f"neighbour-{secrets.token_hex(12)}"
        self.neighbour_process_word = f"neighbour-process-{secrets.token_hex(12)}"
        # Readable by everyone: only that the machine's files are not there at all keeps it away.
        self.open_file = Path("/var/tmp") / f"{self.word[5:]}.txt"
        self._closing = []
        self._questions = itertools.count()

    def __enter__(self):
        try:
            self._set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        while self._closing:
            self._closing.pop()()

    def _set_up(self):
        self.open_file.write_text(self.word, encoding="ascii")
        self.open_file.chmod(0o644)
        self._closing.append(self.open_file.unlink)
        self._start_process()
        self.loopback = self._service("127.0.0.1")
        self.loopback6 = self._service("::1", family=socket.AF_INET6)
        subprocess.run(["ip", "addr", "add", f"{ON_THE_MACHINE}/32", "dev", "lo"], check=True)
        self._closing.append(
            lambda: subprocess.run(["ip", "addr", "del", f"{ON_THE_MACHINE}/32", "dev", "lo"], check=False)
        )
        self.addressed = self._service(ON_THE_MACHINE)
        self.everywhere = self._service("::", shown=address_of_the_machine(), family=socket.AF_INET6)
        self.abstract = UnixService(self.word)
        self._closing.append(self.abstract.close)
        outside = Outside(self.word)
        self._closing.append(outside.close)
        port = outside.open()
        self.outside, self.link_local = Place(f"http://{OUTSIDE}:{port}/"), Place(f"http://{LINK_LOCAL}:{port}/")
        asked = [self.world.api.create("attacker", flavor=ATTACKERS_FLAVOR), self.world.api.create("neighbour")]
        self.attacker, self.neighbour = (self.world.api.wait_for_running(notebook["id"]) for notebook in asked)
        self._settle_neighbour()

    def _service(self, address, **options):
        service = Service(address, self.word, **options)
        self._closing.append(service.close)
        return service

    def _start_process(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNT_SIGNALS, self.process_word],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._closing.append(self._end_process)
        assert self.process.stdout.readline() == "ready\n"

    def _end_process(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def signals(self):
        """How many signals have arrived at the process of the machine."""
        self.process.stdin.write(f"{next(self._questions)}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait_for_signals(self, at_least):
        """Waits until so many have arrived."""
        return wait_until(lambda: (count := self.signals()) >= at_least and count, "the signal arrives", 10)

    def _settle_neighbour(self):
        kernel = Notebook(self.world.server, self.neighbour).start_kernel()
        self._closing.append(kernel.close)
        kernel.run(f"open('/home/ma-user/work/secret.txt', 'w').write({self.neighbour_word!r})")
        kernel.run(
            "import subprocess, sys\n"
            "sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)', "
            f"{self.neighbour_process_word!r}])"
        )
        kernel.run(f"serve = {SERVE!r}")
        port = kernel.run(
            "serving = subprocess.Popen([sys.executable, '-c', serve, '0.0.0.0', '0', "
            f"{self.neighbour_word!r}], stdout=subprocess.PIPE, text=True)\nprint(serving.stdout.readline())"
        ).strip()
        kernel.run(
            "import socket, threading\nlistener = socket.socket(socket.AF_UNIX)\n"
            f"listener.bind({NEIGHBOUR_SOCKET!r})\nlistener.listen()\n"
            "def answer():\n    while True:\n        connection, _ = listener.accept()\n"
            f"        connection.sendall({self.neighbour_word.encode()!r})\n        connection.close()\n"
            "threading.Thread(target=answer, daemon=True).start()"
        )
        address = kernel.run(
            "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:\n"
            f"    probe.connect(({OUTSIDE!r}, 9))\n    print(probe.getsockname()[0])"
        ).strip()
        self.neighbour_url = f"http://{address}:{port}/"
        self.neighbour_kernel = kernel

    def init_socket(self, notebook):
        """The control socket of a notebook's first process, by a path that works on the machine."""
        run = next(iter(self.world.leftovers.run_folders())) / notebook["id"]
        [socket] = [path for path in run.rglob("init.sock") if path.is_socket()]
        return str(socket)

    def unprotected_volume(self, gib=1):
        """A file system like that of a volume, mounted on the machine without any of the care that volumes get."""
        folder = Path(tempfile.mkdtemp(prefix="atelier-test-volume-", dir="/var/tmp"))
        self._closing.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        folder.chmod(0o755)
        image, point = folder / "image", folder / "point"
        with open(image, "wb") as file:
            file.truncate(gib << 30)
        subprocess.run(["mkfs.xfs", "-q", image], check=True, capture_output=True)
        return self.mounted(image, point)

    def mounted(self, image, point):
        """Mounts an image on the machine until the stage is taken down, or until `unmount`."""
        point.mkdir()
        subprocess.run(["mount", "-o", "loop", image, point], check=True, capture_output=True)
        self._closing.append(lambda: unmount(point))
        return point

    @property
    def unified(self):
        """Whether this machine has control groups of version 2 alone."""
        return Path("/sys/fs/cgroup/cgroup.controllers").exists()

    def neighbour_pid(self):
        """A process of the neighbour, as the machine numbers it."""
        return next(p.pid for p in children.descendants() if self.neighbour_process_word in p.command)

    def neighbour_device(self):
        """The loop device under the neighbour's volume."""
        return f"/dev/{volume_device(self.neighbour['id'])}"


def unmount(point):
    """Nothing is mounted there afterwards."""
    subprocess.run(["umount", point], check=False, capture_output=True)


def addresses_of_the_machine():
    """Every address of this machine that can be named without an interface."""
    shown = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True)
    found = [each["local"] for link in json.loads(shown.stdout) for each in link["addr_info"] if "local" in each]
    return sorted({address for address in found if not address.startswith("fe80:")})


def address_of_the_machine():
    """An address of this machine that is not the loopback's; without one, the one that the stage has added."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((OUTSIDE, 9))
            address = probe.getsockname()[0]
        except OSError:
            return ON_THE_MACHINE
    return ON_THE_MACHINE if address.startswith("127.") else address
