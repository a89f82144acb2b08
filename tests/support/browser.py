"""A browser as a person has one: Chromium of this machine, without a window, driven through what its pages show.

It has a home of its own, and with it a profile and a list of authorities that start empty: what it trusts, a test has
said. It finds no host but this machine's own names, so that a page that asks for more is seen and not served. When it
is closed nothing of it is left, neither a process nor a file, however the test has ended.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Error, sync_playwright

from . import children
from .deadline import DeadlineError, wait_until

CHROMIUM = "/usr/bin/chromium"
NO_HOST_BUT_THIS = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1"


class Browser:
    """One window with one tab, and what went on in it: `requests` are addresses, also of those that were not let
    through and of WebSockets; `errors` are what the console shows in red."""

    def __init__(self, trusted=None):
        self.trusted = trusted  # the root of an authority, as a file
        self.requests = []
        self.errors = []
        self.grace = 10.0  # seconds in which everything has to end after it was closed
        self.page = None
        self.folder = None
        self._driver = None
        self._playwright = None
        self._context = None

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="atelier-browser-", dir="/var/tmp"))
        try:
            if self.trusted:
                self._trust()
            self._open()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _trust(self):
        """Imports the root as a person would in the settings: into the list that Chromium reads from its home."""
        database = self.folder / ".pki" / "nssdb"
        database.mkdir(parents=True)
        for arguments in (
            ["-N", "--empty-password"],
            ["-A", "-n", "a root of this test", "-t", "C,,", "-i", str(self.trusted)],
        ):
            subprocess.run(["certutil", "-d", f"sql:{database}", *arguments], check=True, capture_output=True)

    def _open(self):
        before = children.descendants()
        self._playwright = sync_playwright().start()
        self._driver = next(new for new in children.descendants() - before if "playwright" in new.command)
        self._context = self._playwright.chromium.launch_persistent_context(
            self.folder / "profile",
            executable_path=CHROMIUM,
            args=[NO_HOST_BUT_THIS],
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )
        self._context.set_default_timeout(60_000)
        self._context.on("request", lambda request: self.requests.append(request.url))
        self.page = self._context.pages[0]
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def hosts(self):
        """Where requests went to, or wanted to."""
        return {urlsplit(url).netloc for url in self.requests if not url.startswith("data:")}

    def security(self, url):
        """Opens a page and returns what the address bar says of its connection."""
        said = []
        session = self._context.new_cdp_session(self.page)
        session.on("Security.visibleSecurityStateChanged", lambda event: said.append(event["visibleSecurityState"]))
        session.send("Security.enable")
        self.page.goto(url)
        settled = wait_until(lambda: self._after_a_while(said), "the address bar says something", 20)
        session.detach()
        return settled["securityState"]

    def _after_a_while(self, said):
        # The driver's events arrive only while it is asked for something.
        self.page.wait_for_timeout(100)
        return said and said[-1]

    def processes(self):
        """Every process of the browser and of what drives it, those among them that have detached themselves."""
        mine = children.descendants(self._driver.pid) if self._driver else set()
        return mine | {process for process in children.descendants() if process == self._driver or self._bears_mark(process)}

    def _bears_mark(self, process):
        try:
            return os.fsencode(self.folder) in Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            return False

    def __exit__(self, kind, error, trace):
        mine = self.processes()
        problem = None
        try:
            self._close()
            wait_until(lambda: not (mine & children.descendants() or self.processes()), "the browser is gone", self.grace)
        except (DeadlineError, Error) as trouble:
            problem = f"{trouble}: {sorted(str(process) for process in mine & children.descendants())}"
        finally:
            children.end_all((mine & children.descendants()) | self.processes())
            shutil.rmtree(self.folder, ignore_errors=True)
        if problem and kind is None:
            raise AssertionError(problem)

    def _close(self):
        try:
            if self._context:
                self._context.close()
        finally:
            if self._playwright:
                self._playwright.stop()
