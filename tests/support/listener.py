"""A client that stays with a running cell whatever happens to the server: when its WebSocket ends it comes back with the
same `session_id`, at once and again and again, as JupyterLab's page does by itself (only that the page waits a little
longer from try to try). What it received, and for how long it had no socket, is kept."""

import json
import threading
import time
from dataclasses import dataclass

import websocket

# The number of the line, and the moment: a line for each, so that each is a message of its own.
COUNTING = """
import time
for number in range({count}):
    print(number, flush=True)
    time.sleep(0.01)
"""
RETRY_SECONDS = 0.02
REFUSED = (ConnectionError, TimeoutError, websocket.WebSocketException)


@dataclass
class Gap:
    """A time without a socket, as the client saw it, in seconds, and how many numbers it had heard before."""

    begun: float
    close_code: int | None
    numbers: int
    connected: float | None = None
    heard: float | None = None

    @property
    def without_socket(self):
        """From the end of one socket to the next one."""
        return self.connected - self.begun

    @property
    def without_word(self):
        """From the end of one socket to the first message on the next one."""
        return self.heard - self.begun


class Listener:
    """Runs a counting cell on a kernel, and listens until it has ended."""

    def __init__(self, kernel, count):
        self.kernel = kernel
        self.count = count
        self.numbers = []
        self.gaps = []
        self.failure = None
        self._ended = threading.Event()
        self._given_up = threading.Event()
        self._cell = kernel.begin(COUNTING.format(count=count))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        try:
            while not self._ended.is_set() and not self._given_up.is_set():
                self._hear()
        except BaseException as failure:  # noqa: BLE001: said by the test's own thread
            self.failure = failure
            self._ended.set()

    def _hear(self):
        """Hears one message, or comes back to the kernel."""
        try:
            self.kernel.socket.settimeout(30)
            kind, content = self.kernel.socket.recv_data()
        except REFUSED as end:
            assert not isinstance(end, websocket.WebSocketTimeoutException), "nothing was said for 30 s"
            return self._come_back(None)
        if kind == websocket.ABNF.OPCODE_CLOSE:
            return self._come_back(int.from_bytes(content[:2], "big") if content else None)
        if self.gaps and self.gaps[-1].heard is None:
            self.gaps[-1].heard = time.monotonic()
        return self._take(json.loads(content))

    def _take(self, message):
        if message.get("parent_header", {}).get("msg_id") != self._cell:
            return
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            self.numbers += [int(line) for line in content["text"].split()]
        elif kind == "status" and content["execution_state"] == "idle":
            self._ended.set()

    def _come_back(self, close_code):
        gap = Gap(time.monotonic(), close_code, len(self.numbers))
        self.kernel.socket.shutdown()
        while not self._given_up.is_set():
            try:
                self.kernel.socket = self.kernel.notebook.channels(self.kernel.id, self.kernel.session)
            except REFUSED:
                time.sleep(RETRY_SECONDS)
                continue
            gap.connected = time.monotonic()
            self.gaps.append(gap)
            return

    def has_heard(self, numbers):
        """Whether so many have arrived; says at once when it cannot go on."""
        if self.failure:
            raise self.failure
        return len(self.numbers) >= numbers

    def wait(self, seconds):
        """Returns when the cell has ended and everything has been heard."""
        ended = self._ended.wait(seconds)
        self._given_up.set()
        self._thread.join(35)
        if self.failure:
            raise self.failure
        assert ended, f"the cell did not end within {seconds} s; heard {len(self.numbers)} of {self.count} numbers"

    def missing(self):
        """The numbers that never came."""
        return sorted(set(range(self.count)) - set(self.numbers))

    def repeated(self):
        """The numbers that came more than once."""
        return sorted({number for number in self.numbers if self.numbers.count(number) > 1})
