"""A listening socket that outlives the server."""

import os
import socket
from pathlib import Path

import pytest
from support import children
from support.world import World

pytestmark = pytest.mark.local


def test_while_no_server_is_there_a_socket_that_was_handed_over_keeps_who_comes():
    """As under systemd with `atelier.socket`, which holds the socket while one server goes and the next one comes."""
    world = World("local")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door:
        world.server.handed = door
        with world:
            assert world.server.port == door.getsockname()[1]
            notebook = world.api.create_running()
            inode = f"socket:[{os.fstat(door.fileno()).st_ino}]"
            assert holders(inode) == {os.getpid(), world.server.pid}, "the door is open in another process"
            assert world.server.stop() == 0
            with socket.create_connection(door.getsockname()) as early:
                early.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                world.start()
                early.settimeout(30)
                assert early.recv(12) == b"HTTP/1.1 200"
            assert world.notebook(notebook).request("GET", "/api/status").status_code == 200


def holders(inode):
    """The processes, of this one and those below it, that have the socket open."""
    found = set()
    for pid in [os.getpid(), *(process.pid for process in children.descendants())]:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if os.readlink(link) == inode:
                    found.add(pid)
            except OSError:
                continue  # closed meanwhile
    return found
