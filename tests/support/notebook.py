"""A notebook as its user sees it, through the gateway: by the path form or by the host form, with its token."""

import contextlib
import itertools
import json
import time
import uuid

import requests
import websocket

from .deadline import wait_until

PATH, HOST = "path", "host"
FORMS = (PATH, HOST)


class Notebook:
    """The way into one running notebook."""

    def __init__(self, server, shown, form=PATH, domain="localhost"):
        self.server = server
        self.id = shown["id"]
        self.token = shown["token"]
        self.form = form
        self.domain = domain
        self.http = requests.Session()
        self.http.verify = server.trusted
        self.http.trust_env = False

    @property
    def host(self):
        """The Host header: Python does not resolve names below `localhost`, so the connection goes to 127.0.0.1 and
        only the header says whom it is for."""
        return f"{self.id}.{self.domain}:{self.server.port}" if self.form == HOST else self.server.authority

    def path(self, path):
        """A path of the notebook server as the gateway wants it."""
        return path if self.form == HOST else f"/notebook/{self.id}{path}"

    def request(self, method, path, headers=None, authorized=True, **options):
        """One request to the notebook server; the bare response."""
        headers = {"Host": self.host, **(headers or {})}
        if authorized:
            headers["Authorization"] = f"token {self.token}"
        options.setdefault("timeout", 60)
        options.setdefault("allow_redirects", False)
        return self.http.request(method, f"{self.server.url}{self.path(path)}", headers=headers, **options)

    def websocket(self, path, headers=(), authorized=True, seconds=30, **options):
        """Upgrades one request to the notebook server."""
        headers = [*headers, *([f"Authorization: token {self.token}"] if authorized else [])]
        secure = self.server.scheme == "https"
        return websocket.create_connection(
            f"{'wss' if secure else 'ws'}://{self.server.authority}{self.path(path)}",
            host=self.host,
            header=headers,
            suppress_origin=True,
            timeout=seconds,
            http_no_proxy=["*"],
            sslopt={"ca_certs": str(self.server.trusted)} if secure else None,
            **options,
        )

    def start_kernel(self):
        """Starts a kernel and connects to it."""
        answer = self.request("POST", "/api/kernels", json={"name": "python3"})
        assert answer.status_code == 201, f"POST /api/kernels: {answer.status_code} {answer.text[:300]}"
        return self.kernel(answer.json()["id"])

    @contextlib.contextmanager
    def new_kernel(self):
        """A kernel that is gone afterwards."""
        kernel = self.start_kernel()
        try:
            yield kernel
        finally:
            kernel.close()
            self.request("DELETE", f"/api/kernels/{kernel.id}")

    def kernel(self, kernel_id):
        """Connects to a kernel that is there."""
        return Kernel(self, kernel_id)

    def channels(self, kernel_id, session, **options):
        """The WebSocket of a kernel, bare: for a session that is new, or comes back."""
        return self.websocket(f"/api/kernels/{kernel_id}/channels?session_id={session}", **options)


class Kernel:
    """A kernel behind its WebSocket."""

    def __init__(self, notebook, kernel_id):
        self.notebook = notebook
        self.id = kernel_id
        self.session = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self.socket = notebook.channels(kernel_id, self.session)
        # A kernel that is still starting drops what reaches it; it is ready when it answers about itself.
        wait_until(self._answers, f"kernel {kernel_id} answers", 60)

    def _answers(self):
        try:
            return self._ask("kernel_info_request", {}, "kernel_info_reply", 5)
        except TimeoutError:
            return None

    def run(self, code, seconds=60):
        """Runs a cell and returns what it printed. An error in the cell is an `AssertionError` with its traceback."""
        reply, printed = self._ask("execute_request", _cell(code), "execute_reply", seconds)
        if reply["status"] != "ok":
            raise CellError(reply, printed)
        return printed

    def begin(self, code, may_ask=False):
        """Sends a cell to run, which may ask the person for input, and waits for nothing; the message's number."""
        return self._send("execute_request", _cell(code, may_ask))

    def answer(self, asked, value):
        """What the person says to an `input_request`."""
        self._send("input_reply", {"value": value, "status": "ok"}, "stdin", asked["header"])

    def receive(self, kind, number=None, seconds=60):
        """The next message of this kind, to the message with this number where one is given."""
        until = time.monotonic() + seconds
        while True:
            message = self._next_before(until)
            if message["header"]["msg_type"] == kind and number in (None, message["parent_header"].get("msg_id")):
                return message

    def value(self, expression, seconds=60):
        """The value of an expression, as far as JSON can carry it."""
        return json.loads(self.run(f"import json as _json\nprint(_json.dumps({expression}))", seconds))

    def was_forked(self):
        """Whether its parent is the container's own zygote."""
        parent = "__import__('pathlib').Path(f'/proc/{__import__(\"os\").getppid()}/cmdline').read_text()"
        return "kernels are forked from this" in self.value(parent)

    def _send(self, kind, content, channel="shell", parent=None):
        number = f"{self.session}-{next(self._numbers)}"
        header = {
            "msg_id": number,
            "msg_type": kind,
            "username": "test",
            "session": self.session,
            "version": "5.3",
            "date": "2026-01-01T00:00:00Z",
        }
        message = {"header": header, "parent_header": parent or {}, "metadata": {}, "content": content, "channel": channel}
        self.socket.send(json.dumps(message))
        return number

    def _ask(self, kind, content, wanted, seconds):
        number, until = self._send(kind, content), time.monotonic() + seconds
        reply, printed, idle = None, [], False
        # The reply and the output come by different ways: both the reply and the kernel's return to idle are awaited.
        while reply is None or not idle:
            answer = self._next_before(until)
            if answer.get("parent_header", {}).get("msg_id") != number:
                continue
            answered = answer["header"]["msg_type"]
            if answered == wanted:
                reply = answer["content"]
            elif answered == "stream":
                printed.append(answer["content"]["text"])
            elif answered == "status":
                idle = answer["content"]["execution_state"] == "idle"
        return reply, "".join(printed)

    def _next_before(self, until):
        """The next message. The socket's own limit begins anew with each ping, so it is kept short."""
        self.socket.settimeout(1)
        while time.monotonic() < until:
            try:
                return json.loads(self.socket.recv())
            except websocket.WebSocketTimeoutException:
                pass
        raise TimeoutError(f"kernel {self.id} does not answer")

    def close(self):
        """Leaves the kernel; it runs on."""
        self.socket.close()


def _cell(code, may_ask=False):
    """What a person's request to run a cell holds."""
    return {"code": code, "silent": False, "store_history": True, "allow_stdin": may_ask, "stop_on_error": True}


class CellError(AssertionError):
    """A cell ended with an error."""

    def __init__(self, reply, printed):
        trace = "\n".join(reply.get("traceback", []))
        super().__init__(f"{reply.get('ename')}: {reply.get('evalue')}\n{trace}\n{printed}")
        self.name = reply.get("ename")
