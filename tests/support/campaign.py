"""Killing the server in the middle of its work, and what must be true afterwards.

The plan of a case: a server that dies at a chosen point, an operation that gets there, its death, a server that does
not die, and the questions. Beside it all a *bystander* runs: a notebook that nobody touches, with a value in the memory
of its kernel.
"""

import contextlib
import itertools
import time

import requests

from .api import GONE, RefusedError
from .world import World

# What each kind of operation ends in, and what it starts from.
ENDS = {"create": "RUNNING", "start": "RUNNING", "stop": "STOPPED", "delete": GONE}
STEPS = {
    "create": ["prepare-storage", "prepare-compute", "configure-network", "initialize-instance"],
    "start": ["prepare-storage", "prepare-compute", "configure-network", "initialize-instance"],
    "stop": ["stop-instance"],
    "delete": ["stop-instance", "remove-storage"],
}
PHASES = ["effect", "record"]
# `abort` ends a process by this signal; its exit status is the negative number.
ABORTED = -6

_numbers = itertools.count(1)


class Campaign:
    """One data folder for many cases."""

    def __init__(self, runtime, disk_mib=None):
        # A server that starts anew imports a notebook server of its own; here hundreds of them start.
        without = {"ATELIER_LOCAL__ZYGOTE": "false"}
        self.world = World(runtime, failpoints=True, environment=without, disk_mib=disk_mib)
        self.disk = self.world.disk
        self.runtime = runtime
        self.bystander = None
        self.kernel_id = None
        self.before = None

    def __enter__(self):
        self.world.__enter__()
        try:
            self._settle()
        except BaseException as error:
            self.world.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, *error):
        return self.world.__exit__(*error)

    @contextlib.contextmanager
    def one_failure_is_one_failure(self, session):
        """Around each case: one that fails must not make the next ones fail."""
        failed = session.testsfailed
        yield
        if session.testsfailed > failed or not self.world.server.is_running():
            self.recover()

    def _settle(self):
        """The bystander, one notebook that came and went (so that what the first one ever leaves for the next is
        there), and the list of what the machine holds."""
        self.bystander = self.world.api.create_running("bystander")
        if self.runtime == "local":
            kernel = self.world.notebook(self.bystander).start_kernel()
            kernel.run("import os\nremembered = ['kept', os.getpid()]")
            self.remembered = kernel.value("remembered")
            self.kernel_id = kernel.id
            kernel.close()
        self.world.api.remove(self.world.api.create_running("settling")["id"])
        self.world.leftovers.kept = {self.bystander["id"]}
        self.before = self.world.leftovers.take()

    def begin(self, failpoints=None):
        """Kills the server that runs and starts one that dies at the given points."""
        self.world.server.kill()
        self.world.start({"FAILPOINTS": failpoints} if failpoints else None)

    def prepare(self, kind):
        """A notebook that the operation can be asked of: its name, and its id unless it is still to be made."""
        name = f"case-{next(_numbers)}"
        if kind == "create":
            return name, None
        notebook = self.world.api.create_running(name)["id"]
        if kind == "start":
            self.world.api.stop(notebook)
            self.world.api.wait_for(notebook, "STOPPED")
        return name, notebook

    def ask(self, kind, name, notebook):
        """Asks for the operation. The server may die before its answer is out."""
        api = self.world.api
        try:
            if kind == "create":
                api.create(name)
            else:
                getattr(api, kind)(notebook)
            return True
        except requests.exceptions.ConnectionError:
            return False

    def await_death(self):
        """The server must die at the point; a point that is never reached proves nothing."""
        code = self.world.server.wait_for_death()
        assert code == ABORTED, f"the server ended with {code}:\n{self.world.server.text()}"

    def find(self, name):
        """The id of the notebook of this name, or `None`."""
        return next((item["id"] for item in self.world.api.list() if item["name"] == name), None)

    def check(self, name, notebook, answered, ends):
        """Starts a server that does not die; the case must converge, the bystander must not have noticed, and after the
        notebook is deleted nothing may be left."""
        self.world.server.process.wait(10)
        self.world.start()
        self.must_be_well(name, notebook or self.find(name), answered, ends)

    def must_be_well(self, name, notebook, answered, ends):
        """The questions, of a server that runs."""
        api = self.world.api
        if notebook is None:
            assert not answered, f"the server had answered the request for {name}, and does not know of it any more"
            assert "RUNNING" in ends or GONE in ends
        else:
            status = api.wait_until_stable(notebook)
            reason = api.show(notebook).get("fail_reason") if status != GONE else None
            assert status in ends, f"the notebook rests as {status} ({reason}), not as {ends}"
            if status == "RUNNING":
                self.must_serve(notebook)
        self.check_bystander()
        if notebook is not None:
            api.remove(notebook)
        self.world.leftovers.wait_until_equal(self.before)

    def must_serve(self, notebook):
        """A notebook that says RUNNING answers."""
        answer = self.world.notebook(self.world.api.show(notebook)).request("GET", "/api/status")
        assert answer.status_code == 200, f"RUNNING, and answers {answer.status_code} {answer.text[:200]}"

    def check_bystander(self):
        """Same token, same process, same memory."""
        shown = self.world.api.show(self.bystander["id"])
        assert shown["status"] == "RUNNING", f"the bystander is {shown['status']}"
        assert shown["token"] == self.bystander["token"], "the bystander has another token"
        self.must_serve(self.bystander["id"])
        if self.kernel_id:
            kernel = self.world.notebook(self.bystander).kernel(self.kernel_id)
            try:
                assert kernel.value("[remembered[0], os.getpid()]") == self.remembered
            finally:
                kernel.close()

    def die_at(self, point, kind, fault=None, ends=None):
        """One case with a named point; with `fault` a step that fails, so that the work is taken back."""
        points = [f"{point}=return"] + ([f"fault::{kind}::{fault}=return"] if fault else [])
        self.begin(";".join(points))
        name, notebook = self.prepare(kind)
        answered = self.ask(kind, name, notebook)
        self.await_death()
        self.check(name, notebook, answered, ends or {ENDS[kind]})

    def die_after(self, kind, seconds):
        """One case at a moment instead of a point."""
        self.begin()
        name, notebook = self.prepare(kind)
        answered = self.ask(kind, name, notebook)
        # Not a wait for anything: the moment itself is what is tried.
        time.sleep(seconds)
        self.world.server.kill()
        self.check(name, notebook, answered, {ENDS[kind]})

    def recover(self):
        """After a failed case: whatever is there but the bystander is removed, so that the next case stands alone."""
        if not self.world.server.is_running():
            self.world.start()
        for item in self.world.api.list():
            if item["id"] != self.bystander["id"]:
                try:
                    self.world.api.remove(item["id"])
                except (AssertionError, RefusedError):
                    continue
        self.before = self.world.leftovers.take()
