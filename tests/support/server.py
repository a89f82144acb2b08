"""`atelier serve` as a process: started on a free port, stopped, killed, started again."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

from .deadline import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (?P<scheme>https?)://(?P<host>[^:/\s]+):(?P<port>\d+)")


def binary(failpoints=False):
    """The server to test: what the environment names, else the development build."""
    name = "ATELIER_BINARY_FAILPOINTS" if failpoints else "ATELIER_BINARY"
    if name in os.environ:
        return Path(os.environ[name])
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "debug" / "atelier"


class Server:
    """One server on one data folder. The port is chosen at the first start and kept at the next ones, as an operator
    would have it; so are the options."""

    def __init__(self, data_dir, runtime="local", failpoints=False, environment=None, log=None):
        self.data_dir = Path(data_dir)
        self.runtime = runtime
        self.binary = binary(failpoints)
        self.environment = dict(environment or {})
        self.log = Path(log) if log else self.data_dir.parent / f"{self.data_dir.name}.log"
        self.port = 0
        self.scheme = "http"
        self.trusted = True  # the root of its certificate, as a file; the usual roots are believed without a word
        self.process = None
        self.handed = None  # a listening socket that the server is to take instead of one of its own
        self.within = []  # what stands before its command line, to start it in other surroundings
        self._listening = threading.Event()
        self._lines = []

    def start(self, environment=None, seconds=60.0):
        """Starts the server and returns when it listens. Raises when it ends before."""
        assert self.process is None or self.process.poll() is not None, "the server runs already"
        self._listening.clear()
        self._lines = []
        # The operator's own settings must not leak into the tests, but for those that say how this machine reaches
        # its package sources.
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("ATELIER_") or key.startswith("ATELIER_LOCAL__")
        }
        self.process = subprocess.Popen(
            self.command(),
            env={**inherited, **self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            pass_fds=[self.handed.fileno()] if self.handed else (),
        )
        reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        reader.start()
        wait_until(
            lambda: self._listening.is_set() or self.process.poll() is not None,
            f"the server listens; see {self.log}",
            seconds,
            0.01,
        )
        if not self._listening.is_set():
            reader.join(5)
            raise ServerEndedError(self.process.returncode, self.text())
        return self

    def command(self):
        """The command line of the next start."""
        return [
            *self.within,
            *self._hand_over(),
            str(self.binary),
            "serve",
            "--data-dir",
            str(self.data_dir),
            "--listen",
            f"127.0.0.1:{self.port}",
            "--runtime",
            self.runtime,
        ]

    def _hand_over(self):
        """What stands before the command line to hand a socket over as systemd does: by descriptor 3."""
        if not self.handed:
            return []
        number = self.handed.fileno()
        put = f'exec 3<&{number} {number}<&-; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"'
        return ["/bin/bash", "-c", put]

    def _read(self, process):
        with open(self.log, "a", encoding="utf-8") as log:
            for raw in process.stderr:
                line = raw.decode(errors="replace")
                log.write(line)
                log.flush()
                self._lines.append(line)
                found = LISTENING.search(line)
                if found and process is self.process:
                    self.port, self.scheme = int(found["port"]), found["scheme"]
                    self._listening.set()

    @property
    def url(self):
        """The address that it said it listens on."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def authority(self):
        """Host and port as a Host header has them."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        """The number of the server's process."""
        return self.process.pid

    def atelier(self, *arguments, check=True):
        """What a command prints that an operator gives on this folder; with `check` it must not fail."""
        command = [self.binary, *arguments]
        # What follows this word is not the command's own.
        at = arguments.index("--") + 1 if "--" in arguments else len(command)
        command[at:at] = ["--data-dir", self.data_dir]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("ATELIER_")}
        done = subprocess.run(
            [str(word) for word in command], env=clean, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def admin(self):
        """What the first start has written for the operator; its mode is checked on the way."""
        path = self.data_dir / "admin.json"
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == 0o600, f"`{path}` has mode {mode:o}"
        return json.loads(path.read_text(encoding="utf-8"))

    def text(self, tail=4000):
        """The end of what the present run has said."""
        return "".join(self._lines)[-tail:]

    def resident_bytes(self):
        """The resident memory of the server's process alone."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self, seconds=40.0):
        """Asks the server to drain, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        """Kills the server as abruptly as a power cut would."""
        self.process.kill()
        return self.process.wait(10)

    def wait_for_death(self, seconds=60.0):
        """Returns the exit status once the server has died by itself."""
        return self.process.wait(seconds)

    def is_running(self):
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None


class ServerEndedError(AssertionError):
    """The server ended instead of listening."""

    def __init__(self, code, said):
        super().__init__(f"the server ended with {code}:\n{said}")
        self.code = code
        self.said = said


def free_port():
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
