"""A notebook server that has done all but serve, from before there is a notebook.

What a server makes before its loop runs follows from its command line, its environment and the files of configuration.
The first two are known beforehand, and all servers of an image have the same; the image's files are here too. So the
zygote makes a server once, and its children go on from there, which is a third of the work. What a user can add are files
of configuration: where there are any, the child forgets what was prepared and makes a server of its own (`is_for`,
`forget`).

A child shares nothing with its siblings that one of them could be known by, or disturbed through:

- The event loop has no descriptor until it begins.
- The secret is read, and the key of the cookies made, by the child (`serve`). So are the folders and files that are
  made on the way, and the times that say since when the server runs; configuration that is a program is run again.
- Whatever is prepared opens no descriptor and starts no thread, or it is not used, and its signals are the zygote's.
"""

import asyncio
import contextlib
import datetime
import os
import secrets
import selectors
import signal
import sys
import traceback

from jupyter_core.paths import jupyter_config_path
from jupyter_core.utils import ensure_dir_exists
from jupyter_server.serverapp import ServerApp
from jupyterlab.labapp import LabApp
from traitlets.config import PyFileConfigLoader, SingletonConfigurable

# Where the server reads its secret, which nothing is prepared with.
SECRET_VARIABLE = "JUPYTER_TOKEN_FILE"
# What servers leave in the user's folder of configuration, and read only when they are asked for it.
OF_SERVERS = {"lab", "migrated"}
# What a server listens to.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Loop(asyncio.SelectorEventLoop):
    """An event loop that has no descriptor before it begins."""

    def __init__(self):
        super().__init__(selectors.SelectSelector())

    def _make_self_pipe(self):
        self._ssock = self._csock = None

    def begin(self):
        self._selector = selectors.DefaultSelector()
        super()._make_self_pipe()


class Prepared:
    """A server that is made and does not run."""

    def __init__(self, plan, arguments):
        """`plan` says how the server would be started; its `arguments` are those after the program."""
        self.plan = plan
        before = held()
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        asked = dict(os.environ)
        os.environ.clear()
        os.environ.update(plan["env"])
        # In the place of the secret.
        os.environ["JUPYTER_TOKEN"] = secrets.token_hex()
        # As for a user who does not own the server's files, which this one does.
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "0"
        try:
            os.chdir(plan["cwd"])
            self.loop = Loop()
            asyncio.set_event_loop(self.loop)
            with noting_programs() as self.programs:
                self.app = LabApp.initialize_server(argv=arguments)
            self.keys = self.find_keys()
            self.users = [path for path in jupyter_config_path() if path.startswith(f"{os.environ['HOME']}/")]
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.chdir("/")
            os.environ.clear()
            os.environ.update(asked)
        if held() != before:
            raise RuntimeError("a descriptor stays open, or a thread runs")

    def is_for(self, request):
        """Whether what was prepared is what would be made for this request, where this process is now."""
        environment = [pair for pair in request["env"] if pair[0] != SECRET_VARIABLE]
        return (
            request["argv"] == self.plan["argv"]
            and environment == self.plan["env"]
            and request["cwd"] == self.plan["cwd"]
            and not self.is_configured()
        )

    def is_configured(self):
        """Whether the user has files that a server may read while it is made."""
        try:
            return any(set(os.listdir(path)) - OF_SERVERS for path in self.users if os.path.isdir(path))
        except OSError:
            return True

    def serve(self):
        """Makes what has to be this process's own, and runs the server."""
        app, now = self.app, datetime.datetime.now(tz=datetime.timezone.utc)
        self.loop.begin()
        for path in dict.fromkeys(self.programs):
            try:
                PyFileConfigLoader(path).load_config()
            except Exception:
                app.log.exception("Exception while loading config file %s", path)
        ensure_dir_exists(app.runtime_dir, mode=0o700)
        self.replace_keys(now)
        app.web_app.settings["started"] = now
        app.kernel_manager.last_kernel_activity = now
        app.init_metrics()
        app.init_signal()
        # A page for a browser of this machine, which has none, with the token in it.
        app.no_browser_open_file = True
        app.start()

    def find_keys(self):
        """Where the server has keys that it was prepared with, and the mark in the addresses of what browsers keep: in which
        settings, by which name, and which of the three it is."""
        app = self.app
        prepared = [app.identity_provider.token, app.cookie_secret, app.web_app.settings["version_hash"]]
        extensions = [one for several in app.extension_manager.extension_apps.values() for one in several]
        settings = [app.web_app.settings, app.tornado_settings, *(one.settings for one in extensions)]
        return [place for some in settings for place in places(some, prepared)]

    def replace_keys(self, now):
        """The server has its own of them in all these places."""
        app, provider = self.app, self.app.identity_provider
        provider.token = provider.trait_defaults("token")
        app.cookie_secret = app.trait_defaults("cookie_secret")
        own = provider.token, app.cookie_secret, now.strftime("%Y%m%d%H%M%S")
        for settings, name, which in self.keys:
            settings[name] = own[which]


@contextlib.contextmanager
def noting_programs():
    """The files of configuration that are programs and run meanwhile."""
    load, noted = PyFileConfigLoader.load_config, []

    def load_and_note(self):
        try:
            return load(self)
        finally:
            if self.full_filename:
                noted.append(self.full_filename)

    PyFileConfigLoader.load_config = load_and_note
    try:
        yield noted
    finally:
        PyFileConfigLoader.load_config = load


def places(settings, values):
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from places(value, values)
        elif isinstance(value, (str, bytes)) and value in values:
            yield settings, name, values.index(value)


def held():
    """What a child would share: descriptors and threads."""
    return os.listdir("/proc/self/fd"), len(os.listdir("/proc/self/task"))


def forget():
    """A server can be made as if none had been prepared."""
    singletons = [SingletonConfigurable]
    for kind in singletons:
        singletons.extend(kind.__subclasses__())
        if kind.initialized():
            kind.clear_instance()
    asyncio.set_event_loop(None)


def prepare(plan, arguments):
    """A prepared server, or none: then each child makes its own."""
    try:
        return Prepared(plan, arguments)
    except (Exception, SystemExit):
        print("no server is prepared:", file=sys.stderr)
        traceback.print_exc()
        forget()
        return None
