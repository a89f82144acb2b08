"""The kernels' zygote: it has imported ipykernel and IPython, and nothing that a user's settings could change.

It goes into a notebook's container once, as ma-user, and stays: the notebook server asks it for kernels
(`atelier_provisioner.py`). There it is a process of the notebook like any other, within its limits and without any right.

What an import reads from the environment or from the user's files is not imported beforehand: numpy and matplotlib do
that, so the first `import` of them in a kernel means what it always means. A kernel is forked only when a fresh one would
be the same: the image's packages are as they were when they were imported, nothing in the environment on top of them
takes their place or runs at a start, and no `PYTHON…` variable is set. Otherwise the answer says why not, and the notebook
server starts a plain kernel.

One connection for each kernel. It carries, in this order: the request, with the two descriptors that the kernel writes
to; `pid` or `refused`; `bound`, from the kernel itself, when its sockets can be connected to; `status`, when it has
ended. When the notebook server closes it, or ends, the kernel is killed, as a plain kernel ends that has lost its parent.
"""

import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import site
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# What a script finds in place of it, and what a kernel's own start-up removes again.
sys.path[0] = HERE
import descent  # noqa: E402

del sys.path[0]

MODULES = [
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "ipykernel.embed",
    "ipykernel.comm.manager",
    "ipykernel.debugger",
    "IPython.core.completer",
    "IPython.core.display_functions",
    "IPython.core.magics",
    "IPython.core.pylabtools",
    "IPython.lib.pretty",
    "comm",
    "jedi",
    "multiprocessing",
    "concurrent.futures",
    "zmq.eventloop.zmqstream",
]
# Modules in these have read what a user may change.
NEVER = ("numpy", "matplotlib", "pandas")
# More than the notebook server's; `protocol.rs` of the init has it too.
OOM_SCORE = "900"
# Where a kernel gets a control group of its own, and how long it waits for that (`groups.rs`).
GROUPS_SOCKET = "/run/atelier/groups.sock"
GROUP_SECONDS = 5.0
LAUNCHER = ["/usr/bin/env", "python", "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f"]
# The environment on top of the image's. Here it is what it begins as; in a container it lies in the volume, and has what
# the user has installed. The second file is what it begins with.
PACKAGES = f"{sys.prefix}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
IMAGE = "00-image.pth"


class Kernel:
    """A kernel that has been asked for."""

    def __init__(self, connection):
        self.connection = connection
        self.pid = None


class Warm:
    """Serves kernels in a container, in one thread."""

    def __init__(self, listener, born):
        self.listener = listener
        self.born = born
        self.kernels = {}
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)

    def serve(self):
        """Returns in a child that is to become a kernel: with its request and its connection."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.poll.register(read, select.POLLIN)
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == read:
                    os.read(read, 4096)
                    self.reap()
                elif descriptor == self.listener.fileno():
                    self.accept()
                elif descriptor in self.kernels:
                    request = self.hear(self.kernels[descriptor])
                    if request:
                        signal.set_wakeup_fd(-1)
                        return request

    def accept(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self.kernels[connection.fileno()] = Kernel(connection)
        self.poll.register(connection, select.POLLIN)

    def hear(self, kernel):
        """A request, or the end of the connection."""
        try:
            text, descriptors, _, _ = socket.recv_fds(kernel.connection, 1 << 20, 2, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except OSError:
            text, descriptors = b"", []
        if not text or kernel.pid is not None or len(descriptors) != 2:
            self.forget(kernel)
            for descriptor in descriptors:
                os.close(descriptor)
            return None
        try:
            request = json.loads(text)
            why = self.why_not(request)
            if why is None:
                kernel.pid = os.fork()
                if kernel.pid == 0:
                    return request, descriptors, kernel.connection
            self.say(kernel, {"refused": why} if why else {"pid": kernel.pid})
        except (ValueError, KeyError, OSError) as error:
            self.say(kernel, {"refused": str(error)})
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def why_not(self, request):
        """Why a forked kernel would not be the same as a fresh one."""
        argv, env = request["argv"], request["env"]
        if argv[:-1] != LAUNCHER:
            return "the kernel has another command line"
        named = sorted(name for name in env if name.startswith("PYTHON"))
        if named:
            return f"`{named[0]}` is set"
        if shutil.which("python", path=env.get("PATH")) != sys.executable or picture() != self.born:
            return "the image's packages or the interpreter have changed"
        return in_the_way()

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for kernel in list(self.kernels.values()):
                if kernel.pid == pid:
                    kernel.pid = None
                    self.say(kernel, {"status": os.waitstatus_to_exitcode(status)})
                    self.forget(kernel)

    def say(self, kernel, answer):
        try:
            kernel.connection.send(json.dumps(answer).encode())
        except OSError:
            pass

    def forget(self, kernel):
        if kernel.pid is not None:
            # Not reaped yet, so the number is still its own; its session is.
            for kill in (os.killpg, os.kill):
                try:
                    kill(kernel.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.poll.unregister(kernel.connection)
        del self.kernels[kernel.connection.fileno()]
        kernel.connection.close()


def picture():
    """What the interpreter is, and when the files and folders that were imported, and the folders that Python looks into
    first, were changed. They are the image's, here and in every container; the zygote's own are here only."""
    paths = set(sys.path) - {PACKAGES}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and not path.startswith(HERE):
            paths |= {path, os.path.dirname(path)}
    begins = [read(f"{sys.prefix}/pyvenv.cfg"), read(f"{PACKAGES}/{IMAGE}")]
    return {path: when(path) for path in paths}, os.path.realpath(sys.executable), begins


def in_the_way():
    """What the user has installed that a fresh kernel would import instead of what was imported here, or would run."""
    imported = {name.partition(".")[0] for name in sys.modules} | {"sitecustomize"}
    for name in os.listdir(PACKAGES):
        if name.partition(".")[0] in imported:
            return f"`{name}` was installed, and takes the place of what was imported"
    for name in of_the_user():
        # Python runs the lines of such a file that begin like this.
        if b"import" in (read(f"{PACKAGES}/{name}") or b"import"):
            return f"`{name}` runs when a kernel starts"
    return None


def of_the_user():
    """The files by which installed packages name folders, in the order in which Python reads them."""
    return sorted(name for name in os.listdir(PACKAGES) if name.endswith(".pth") and name != IMAGE)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return None


def when(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def become_a_kernel(warm, request, descriptors, connection):
    os.setsid()
    descent.entitle(" ".join(request["argv"][1:]))
    # What would be closed with these objects later is something else's by then.
    warm.listener.detach()
    for kernel in warm.kernels.values():
        if kernel.connection is not connection:
            kernel.connection.detach()
    for descriptor, at in zip(descriptors, (1, 2)):
        os.dup2(descriptor, at)
        os.close(descriptor)
    held = connection.detach()
    saying = os.dup2(held, 3) if held != 3 else 3
    descent.libc.close_range(4, 0x7FFFFFFF, 0)
    descent.reset_signals()
    os.environ.clear()
    os.environ.update(request["env"])
    descent.time.tzset()
    os.chdir(request["cwd"])
    # Which kernel it is, for whoever reads process lists, or that it was killed: as much of the id as there is room for.
    with open("/proc/self/comm", "w") as file:
        file.write("kernel " + os.path.basename(request["argv"][-1]).removeprefix("kernel-")[:8])
    # Memory that runs out is taken from a kernel and from what it has started, not from the notebook server.
    asking = ask_for_a_group()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_SCORE)
    for name in of_the_user():
        site.addpackage(PACKAGES, name, None)
    importlib.invalidate_caches()
    argv = [sys.argv[0], *request["argv"][-2:], f"--IPKernelApp.parent_handle={os.getppid()}"]

    def bound():
        # No cell has run yet.
        wait_for_the_group(asking)
        tell(saying)

    run(argv, bound)


def ask_for_a_group():
    """It is given while this kernel goes on."""
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asking.settimeout(GROUP_SECONDS)
    try:
        asking.connect(GROUPS_SOCKET)
    except OSError:
        asking.close()
    return asking


def wait_for_the_group(asking):
    """Without one the kernel runs within the notebook's limits all the same."""
    with asking:
        try:
            asking.recv(16)
        except OSError:
            pass


def tell(saying):
    with socket.socket(fileno=saying) as connection:
        connection.send(b'{"bound": true}')


def run(argv, bound):
    from ipykernel.kernelapp import IPKernelApp

    write = IPKernelApp.write_connection_file

    def write_and_tell(self, **options):
        # Every socket is bound when this is called.
        write(self, **options)
        if bound_once:
            bound_once.pop()()

    bound_once = [bound]
    IPKernelApp.write_connection_file = write_and_tell
    sys.argv = argv
    descent.run_to_the_end(IPKernelApp.launch_instance)


def warm():
    """Imports; returns what the imports came from."""
    launcher = importlib.util.find_spec("ipykernel_launcher")
    sys.argv = [launcher.origin]
    for name in MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    loaded = [name for name in NEVER if name in sys.modules]
    if loaded:
        raise descent.Failed(f"`{loaded[0]}` was imported")
    return picture()


def main():
    request, born = descent.wait(warm)
    descent.entitle("kernels are forked from this")
    warmed = Warm(request["listener"], born)
    become_a_kernel(warmed, *warmed.serve())


main()
