"""Kernels from the container's own zygote (`kernels.py`), for the notebook server.

A kernel provisioner like the usual one, which it is in everything but the start. Whenever the zygote is not there, does
not answer or says that a fresh kernel would be another one, the kernel is started as usual. Either way it has a control
group of its own, and memory that runs out is taken from a kernel and not from the notebook server.

It is a package of the image's, so that every notebook server has it, whichever way it came to life.
"""

import asyncio
import json
import os
import shutil
import signal
import socket

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

SOCKET = "/run/atelier/nb/kernels.sock"
# How long a forked kernel may take until its sockets are bound.
PATIENCE = 10.0
# Gets a group for itself and becomes the kernel.
INTO_A_GROUP = ["/run/atelier/bin/init", "kernel"]


class ForkedKernel:
    """What the usual provisioner expects of a process, over the kernel's connection."""

    stdin = stdout = stderr = None

    def __init__(self, connection):
        self.connection = connection
        self.pid = None
        self.returncode = None
        self.bound = False

    def take(self, answer):
        if "refused" in answer:
            raise OSError(answer["refused"])
        if "pid" in answer:
            self.pid = answer["pid"]
        self.bound = self.bound or "bound" in answer
        if "status" in answer:
            self.ended(answer["status"])

    def ended(self, code):
        self.returncode = code
        self.connection.close()

    def poll(self):
        while self.returncode is None:
            try:
                text = self.connection.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                text = b""
            if text:
                self.take(json.loads(text))
            else:
                # The zygote has ended and took the kernel along.
                self.ended(-signal.SIGKILL)
        return self.returncode

    def wait(self, timeout=None):
        """It is asked only when `poll` has said that the kernel has ended."""
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None and self.pid is not None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


async def fork(argv, env, cwd):
    """A kernel whose sockets are bound."""
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    kernel = ForkedKernel(connection)
    try:
        connection.connect(SOCKET)
        request = json.dumps({"argv": argv, "env": env, "cwd": str(cwd)}).encode()
        socket.send_fds(connection, [request], [1, 2])
        async with asyncio.timeout(PATIENCE):
            while not kernel.bound:
                text = await loop.sock_recv(connection, 65536)
                if not text:
                    raise OSError("the zygote has ended")
                kernel.take(json.loads(text))
                if kernel.returncode is not None:
                    raise OSError(f"the kernel ended with {kernel.returncode}")
    except BaseException:
        # The zygote kills a kernel whose connection is closed.
        connection.close()
        raise
    return kernel


class ForkingProvisioner(LocalProvisioner):
    """Forks a kernel when that is as good as starting one."""

    async def launch_kernel(self, cmd, **kwargs):
        env, cwd = kwargs.get("env"), kwargs.get("cwd") or os.getcwd()
        known = {"env", "cwd", "extra_arguments", "kernel_id"}
        if env is None or not known.issuperset(kwargs):
            return await self.start(cmd, **kwargs)
        try:
            self.process = await fork(cmd, {k: v for k, v in env.items() if k != "JPY_PARENT_PID"}, cwd)
        except (OSError, TimeoutError, ValueError) as error:
            self.log.info("Kernel %s is started, not forked: %s", self.kernel_id, error)
            return await self.start(cmd, **kwargs)
        # It has a session, and so a group, of its own.
        self.pid = self.pgid = self.process.pid
        self.cwd = cwd
        return self.connection_info

    async def start(self, cmd, **kwargs):
        """As usual, but for the group. What is not there says so as usual, too."""
        env, cwd = kwargs.get("env") or os.environ, kwargs.get("cwd") or os.getcwd()
        named = os.path.join(cwd, cmd[0]) if os.path.dirname(cmd[0]) else cmd[0]
        program = shutil.which(named, path=env.get("PATH"))
        return await super().launch_kernel([*INTO_A_GROUP, *cmd] if program else cmd, **kwargs)
