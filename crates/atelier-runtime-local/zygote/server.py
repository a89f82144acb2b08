"""The notebook server's zygote: it has imported JupyterLab, and what a JupyterLab imports while it serves.

What that is, is learnt when the zygote starts: a child that is thrown away runs the server in an empty folder, asks it
for the pages and lists that a browser asks for first, and tells which modules it has then. So the list follows the
image, whatever versions it holds.

Then it makes a server, as far as one can be made before it is known whose it is (`prepared.py`).
"""

import asyncio
import gc
import importlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
# How the servers will be started, but for their secrets.
with open(os.path.join(HERE, "plan.json")) as plan:
    PLAN = json.load(plan)
# Where a server's folders are is asked once, by the imports.
os.environ.update(PLAN["env"])
sys.path.insert(0, HERE)
import descent  # noqa: E402
import prepared  # noqa: E402

sys.path.remove(HERE)


# What a browser asks for, and what the gateway and an idle lease ask for.
QUESTIONS = [
    "/api/status",
    "/lab",
    "/api/contents?content=1",
    "/api/kernelspecs",
    "/api/kernels",
    "/api/sessions",
    "/api/terminals",
    "/lab/api/settings",
    "/lab/api/workspaces",
    "/lab/api/translations",
]
# None of them starts a kernel, so this is not learnt.
PROVISIONER = "atelier_provisioner"
# A server that does not answer in this time teaches nothing.
LESSON_SECONDS = 30
# When a server looks for language servers.
LANGUAGE_SERVERS_SECONDS = 3


def learn():
    """The modules that a server has after its first answers, in the order of their import, and the regular expressions
    that it has compiled."""
    read, write = os.pipe()
    zygote = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            descent.end_with(zygote)
            take_the_lesson(write)
        finally:
            os._exit(1)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"modules": [], "expressions": []}


def take_the_lesson(write):
    signal.alarm(LESSON_SECONDS)
    folder = tempfile.mkdtemp()
    os.environ.update(
        HOME=folder,
        JUPYTER_CONFIG_DIR=f"{folder}/config",
        JUPYTER_DATA_DIR=f"{folder}/data",
        JUPYTER_RUNTIME_DIR=f"{folder}/runtime",
        JUPYTER_TOKEN="lesson",
    )
    path = f"{folder}/s"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(path)
    listener.listen()
    threading.Thread(target=ask_and_tell, args=(path, folder, write), daemon=True).start()
    run(["jupyterlab", "--allow-root", "--no-browser", f"--ServerApp.sock={path}", f"--ServerApp.root_dir={folder}"], listener)


def ask_and_tell(path, folder, write):
    for question in QUESTIONS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(path)
            text = f"GET {question} HTTP/1.0\r\nHost: localhost\r\nAuthorization: token lesson\r\n\r\n"
            connection.sendall(text.encode())
            while connection.recv(65536):
                pass
    names = [name for name in list(sys.modules) if not name.startswith("__")]
    expressions = [(key[1], int(key[2])) for key in list(re._cache) if isinstance(key[1], str)]
    with open(write, "w") as pipe:
        json.dump({"modules": names, "expressions": expressions}, pipe)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def put_off(seconds):
    """Looking for language servers keeps a thread busy; a notebook that is just being opened comes first."""
    try:
        extension = importlib.import_module("jupyter_lsp.serverextension")
    except ImportError:
        return
    look = extension.initialize

    async def look_later(*given):
        await asyncio.sleep(seconds)
        await look(*given)

    extension.initialize = look_later


def run(arguments, listener):
    """Makes a server and runs it on a socket that listens already."""
    listen_at(listener)
    sys.argv = arguments
    return importlib.import_module("jupyterlab.labapp").main()


def listen_at(listener):
    """The server that is run next listens there."""
    from jupyter_server import serverapp

    serverapp.unix_socket_in_use = lambda _path: False

    def bound(_path, mode=0):
        # The first thing that is done in the loop: everything has been made, and nothing of it is to be thrown away.
        gc.enable()
        return listener

    serverapp.bind_unix_socket = bound
    gc.disable()


def warm():
    """Imports everything, and returns a prepared server, if there is one."""
    learnt = learn()
    for name in [*learnt["modules"], PROVISIONER]:
        try:
            importlib.import_module(name)
        except Exception:  # It could be imported there for a reason that does not hold here.
            pass
    for expression, flags in learnt["expressions"]:
        re.compile(expression, flags)
    put_off(LANGUAGE_SERVERS_SECONDS)
    return prepared.prepare(PLAN, arguments(PLAN))


def arguments(plan):
    """What follows the program's name."""
    return plan["argv"][plan["program"] :]


def be_the_server(request, server):
    descent.entitle(" ".join(request["argv"]))
    if server and server.is_for(request):
        listen_at(request["listener"])
        descent.run_to_the_end(server.serve)
    prepared.forget()
    descent.run_to_the_end(lambda: run(["jupyterlab", *arguments(request)], request["listener"]))


be_the_server(*descent.wait(warm))
