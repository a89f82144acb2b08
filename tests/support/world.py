"""A server with everything around it that a test needs, and the promise that nothing of it outlives the test."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from . import children
from .api import GONE, Api, RefusedError
from .deadline import wait_until
from .disk import SmallDisk
from .leftovers import Leftovers
from .notebook import PATH, Notebook
from .server import Server

# Suites ask faster and for more than a person does, and count what a deletion leaves; nothing here is about these limits.
ROOMY = {
    "ATELIER_LIMITS__REQUESTS_PER_SECOND": "1000000",
    "ATELIER_QUOTA__NOTEBOOKS_PER_USER": "100",
    "ATELIER_VOLUMES__TRASH_HOURS": "0",
}
# A pool, and a folder that its notebooks can have as their volume.
TEAM = """
[[pools]]
id = "team-a"
name = "Team A"
cpu_millis = 500
memory_mib = 1024
flavors = ["atelier.cpu.small"]

[[volumes.roots]]
uri = "nas:/export"
path = "{root}"
"""
SELF_MADE = {True: {"ATELIER_TLS__CERTIFICATE": "self-made"}, False: {}}


class World:
    """One data folder, one server on it, one caller."""

    def __init__(self, runtime="local", failpoints=False, environment=None, disk_mib=None, own_ca=False):
        # Not in /tmp, which may be memory: volumes are files of some gigabytes, however sparse.
        self.folder = Path(tempfile.mkdtemp(prefix="atelier-test-", dir="/var/tmp"))
        self.runtime = runtime
        self.root = self.folder / "export"  # once it is exported
        self.disk = SmallDisk(self.folder, disk_mib) if disk_mib else None
        self.server = Server(
            self.folder / "data", runtime, failpoints, {**ROOMY, **SELF_MADE[own_ca], **(environment or {})},
            _log_file(self.folder.name),
        )
        if own_ca:  # that it makes at its first start, in its data folder
            self.server.trusted = self.server.data_dir / "tls" / "ca.pem"
        self.leftovers = Leftovers(self.server)
        self.api = None

    def __enter__(self):
        try:
            if self.disk:
                self.disk.open()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def export(self):
        """Gives notebooks in the pool `team-a` a folder of this machine, as `nas:/export`. Before the first start."""
        self.root.mkdir()
        self.root.chmod(0o777)
        self.server.data_dir.mkdir(mode=0o700)
        (self.server.data_dir / "atelier.toml").write_text(TEAM.format(root=self.root), encoding="utf-8")

    def start(self, environment=None):
        """Starts the server, again or for the first time; the caller logs in anew."""
        self.server.start(environment)
        self.api = Api(self.server)

    def restart(self, environment=None):
        """Drains the server and starts it again."""
        code = self.server.stop()
        assert code == 0, f"the server drained with exit status {code}:\n{self.server.text()}"
        self.start(environment)

    def notebook(self, shown, form=PATH):
        """The way into a running notebook."""
        return Notebook(self.server, shown, form)

    def was_forked(self, notebook):
        """Whether the notebook's events say that its server was forked."""
        return any("was forked from the zygote" in why for why in self.api.events(notebook, "create.done"))

    def first_process(self, notebook):
        """The first process of the notebook's container, as the machine numbers it."""
        record = self.server.data_dir / "notebooks" / notebook / "state.json"
        return json.loads(record.read_text(encoding="utf-8"))["first"]["pid"]

    def volume_of(self, notebook):
        """The file that the notebook's volume is on the local runtime."""
        return self.server.data_dir / "notebooks" / notebook / "volume.img"

    def shares(self):
        """The files of the volumes that notebooks share."""
        return sorted((self.server.data_dir / "shares").glob("*.img"))

    def create_forked(self, **fields):
        """A running notebook whose server was forked; the first ones do not wait for the zygote."""

        def made():
            shown = self.api.create_running(**fields)
            if self.was_forked(shown["id"]):
                return shown
            self.api.remove(shown["id"])
            return None

        return wait_until(made, "a notebook server is forked", 240, 0.2)

    def __exit__(self, kind, error, trace):
        try:
            problem = self._take_down()
        finally:
            children.end_all({p for p in children.descendants() if str(self.folder) in p.command})
            if self.server.process is not None and self.server.is_running():
                self.server.kill()
            self._sweep()
            if self.disk:
                self.disk.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        # A test that failed has said what matters; one that passed must not leave anything.
        if problem and kind is None:
            raise AssertionError(problem)

    def _take_down(self):
        """Deletes every notebook as a user would; what then still runs is said."""
        if self.server.process is None:
            return None
        try:
            if not self.server.is_running():
                self.start()
            for notebook in self.api.list():
                self.api.delete(notebook["id"])
            for notebook in self.api.list():
                self.api.wait_for(notebook["id"], GONE)
            code = self.server.stop()
        except (AssertionError, OSError, RefusedError) as trouble:
            return f"the notebooks could not be taken down: {trouble}"
        if code != 0:
            return f"the server ended with {code}:\n{self.server.text()}"
        left = sorted(str(process) for process in self.leftovers.processes())
        return f"still running after all was deleted: {left}" if left else None

    def _sweep(self):
        """The last resort after a failure: ends what is left and removes what a broken server cannot."""
        children.end_all(self.leftovers.running())
        for path in sorted(self.leftovers.cgroups_of_server(), key=len, reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                continue
        for path in self.leftovers.run_folders():
            shutil.rmtree(path, ignore_errors=True)


def _log_file(name):
    """Logs are kept beside the reports, so that a failure can be read after everything is gone."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parents[2] / "target"))
    folder = target / "reports" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"
