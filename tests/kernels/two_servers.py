"""Runs in the root of an image: makes a notebook server in two ways and prints what it is then, one line of JSON each.

Two children go on with a prepared server, the third forgets it and makes one of its own. What a server is, are the
values of all that can be configured, its settings, its routes, its signals, its environment and the files that it wrote.
"""

import asyncio
import datetime
import importlib
import json
import os
import re
import shutil
import signal
import sys

PLAN = json.loads(sys.argv[1])
os.environ.update(PLAN["env"])

import prepared
from jupyter_server.serverapp import ServerApp
from jupyterlab.labapp import LabApp
from traitlets import HasTraits

HOME = dict(PLAN["env"])["HOME"]
TOKEN = "/tmp/token"
ARGUMENTS = [*PLAN["argv"][PLAN["program"] :], "--allow-root"]


def shown(value, seen):
    """A value as something that can be compared with one of another process."""
    if isinstance(value, HasTraits):
        if id(value) in seen:
            return type(value).__name__
        seen.add(id(value))
        # Asking for any other would make it, which is more than a server does.
        return {"": type(value).__name__, **{name: shown(one, seen) for name, one in sorted(value._trait_values.items())}}
    if isinstance(value, dict):
        named = sorted(((str(key), one) for key, one in value.items()), key=lambda pair: pair[0])
        return {key: shown(moment(one) if key == "version_hash" else one, seen) for key, one in named}
    if isinstance(value, (list, tuple)):
        return [shown(one, seen) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(without_addresses(one) for one in value)
    if isinstance(value, bytes):
        return "own" if value == ServerApp.instance().cookie_secret else value.hex()
    if isinstance(value, datetime.datetime):
        return "now" if abs(value.timestamp() - datetime.datetime.now().timestamp()) < 60 else str(value)
    return without_addresses(value)


def moment(mark):
    """When a mark of addresses was made."""
    return datetime.datetime.strptime(f"{mark}+0000", "%Y%m%d%H%M%S%z")


def without_addresses(value):
    """Where an object is in memory and when a timer rings, say nothing."""
    return re.sub(r"0x[0-9a-f]+|\.\.\.[0-9a-f]*|when=[0-9.]+", "", str(value))


def tell(server):
    """What the server is at the moment when it would begin to serve."""
    import tornado.ioloop

    loop = asyncio.get_event_loop()
    files = {
        os.path.join(folder, name): oct(os.lstat(os.path.join(folder, name)).st_mode)
        for folder, folders, names in os.walk(HOME)
        for name in folders + names
    }
    seen = set()
    text = json.dumps({
        "server": shown(server, seen),
        "settings": shown(server.web_app.settings, seen),
        "extensions": shown({name: points for name, points in server.extension_manager.extension_apps.items()}, seen),
        "routes": [str(rule.matcher.regex.pattern) + str(rule.target) for router in server.web_app.default_router.rules
                   for rule in getattr(router.target, "rules", []) if hasattr(rule.matcher, "regex")],
        "signals": {name: str(getattr(signal.getsignal(number), "__name__", signal.getsignal(number)))
                    for name, number in (("term", signal.SIGTERM), ("usr1", signal.SIGUSR1), ("int", signal.SIGINT))},
        "environment": dict(os.environ),
        "files": files,
        "loop": [server.io_loop is tornado.ioloop.IOLoop.current(), loop is server.io_loop.asyncio_loop,
                 sorted(without_addresses(handle) for handle in [*loop._ready, *loop._scheduled])],
        "cookies": server.cookie_secret.hex(),
    })
    print(text, flush=True)
    sys.stdout.flush()
    os._exit(0)


def child(make):
    shutil.rmtree(HOME)
    os.makedirs(PLAN["cwd"])
    for folder in (HOME, PLAN["cwd"]):
        os.chown(folder, 1000, 100)
    pid = os.fork()
    if pid == 0:
        os.setgid(100)
        os.setuid(1000)
        os.environ.clear()
        os.environ.update(PLAN["env"])
        os.environ[prepared.SECRET_VARIABLE] = TOKEN
        os.chdir(PLAN["cwd"])
        ServerApp.start = tell
        make()
    assert os.waitpid(pid, 0)[1] == 0


with open(TOKEN, "w", encoding="ascii") as file:
    file.write("the-secret")
os.makedirs(PLAN["cwd"], exist_ok=True)
ready = prepared.prepare(PLAN, ARGUMENTS)
assert ready is not None
child(ready.serve)
child(ready.serve)


def make():
    """As in a zygote's child that finds files of configuration."""
    prepared.forget()
    sys.argv = ["jupyterlab", *ARGUMENTS]
    importlib.import_module("jupyterlab.labapp").main()


child(make)
