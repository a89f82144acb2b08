"""The machine's kernel: settings that would run programs outside, and calls that are known to lead there."""

import pytest
from support.attempts import Attempt, calls, names

pytestmark = pytest.mark.local

# What is written is what stands there already, so that the control run changes nothing.
REWRITE = """
path = {path!r}
was = open(path).read()
with open(path, 'w') as file:
    file.write(was)
brought = 'written'
"""

# The settings of handlers stand in file systems of their own.
REWRITE_MOUNTED = """
import tempfile
place = tempfile.mkdtemp()
if libc.mount(b'none', place.encode(), {kind!r}, 0, {options!r}) != 0:
    raise OSError(ctypes.get_errno(), 'mount')
path = place + {path!r}
was = open(path).read()
with open(path, 'w') as file:
    file.write({text})
brought = 'written'
"""

IN_32_BITS = """
import mmap
# mov eax, 20 (getpid of the other table); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')
run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
brought = f'the other table answered: {{run() == os.getpid()}}'
"""

OPEN = """
import os
brought = ''
for path in {paths!r}:
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    brought += 'opened'
"""

SOCKET = "import socket\nsocket.socket({family}, {kind}, {protocol}).close()\nbrought = 'opened'"

TRANSPARENT = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forging:
    forging.setsockopt(socket.IPPROTO_IP, 19, 1)
    brought = 'transparent'
"""

# Another address for an interface: RTM_NEWADDR, in a network namespace of its own where it may succeed.
ADD_AN_ADDRESS = """
import socket, struct
with socket.socket(16, socket.SOCK_RAW, 0) as netlink:
    netlink.bind((0, 0))
    address = struct.pack('BBBBI', 2, 32, 0, 0, socket.if_nametoindex('lo'))
    address += struct.pack('HH4s', 8, 2, socket.inet_aton('198.51.100.99'))
    netlink.send(struct.pack('IHHII', 16 + len(address), 20, 0x405, 1, 0) + address)
    answer = netlink.recv(4096)
    brought = 'added' if struct.unpack('i', answer[16:20])[0] == 0 else 'refused'
"""

FREEZE = """
import fcntl, os
place = os.open({place!r}, os.O_RDONLY)
fcntl.ioctl(place, 0xC0045877, 0)
fcntl.ioctl(place, 0xC0045878, 0)
brought = 'frozen'
"""

SHUT_DOWN = """
import fcntl, os
fcntl.ioctl(os.open({place!r}, os.O_RDONLY), 0x8004587D, (0).to_bytes(4, 'little'))
brought = 'shut down'
"""

WORK = "/home/ma-user/work"


def core_pattern(_stage):
    return Attempt(REWRITE.format(path="/proc/sys/kernel/core_pattern"), "written")


def other_settings(_stage):
    return Attempt(REWRITE.format(path="/proc/sys/vm/overcommit_memory"), "written")


def release_agent(stage):
    where = {"kind": b"cgroup", "options": b"none,name=systemd", "path": "/release_agent", "text": "was"}
    if stage.unified:
        where = {"kind": b"cgroup2", "options": None, "path": "/cgroup.subtree_control", "text": "''"}
    return Attempt(calls(REWRITE_MOUNTED, **where), "written", through=("unshare", "--mount"))


def binary_formats(_stage):
    # Writing 1 switches on what is on.
    program = calls(REWRITE_MOUNTED, kind=b"binfmt_misc", options=None, path="/status", text="'1'")
    return Attempt(program, "written", through=("unshare", "--mount"))


def keys(_stage):
    return Attempt(calls("brought = f'a keyring: {{call(250, 1, 0) > 0}}'"), "a keyring: True")


def added_key(_stage):
    program = calls("brought = f'a key: {{call(248, b\"user\", b\"test\", b\"x\", 1, -1) > 0}}'")
    return Attempt(program, "a key: True")


def io_uring(_stage):
    return Attempt(calls("brought = f'a ring: {{call(425, 4, ctypes.create_string_buffer(120)) > 0}}'"), "a ring: True")


def kernel_programs(_stage):
    # A map of one element: BPF_MAP_CREATE.
    body = "import struct\nabout = struct.pack('5I', 2, 4, 4, 1, 0).ljust(72, b'\\0')"
    return Attempt(calls(body + "\nbrought = f'a map: {{call(321, 0, about, 72) > 0}}'"), "a map: True")


def performance_events(_stage):
    # The processor's clock, for this very process.
    body = "import struct\nevent = struct.pack('IIQ', 1, 112, 0).ljust(112, b'\\0')"
    return Attempt(calls(body + "\nbrought = f'an event: {{call(298, event, 0, -1, -1, 0) > 0}}'"), "an event: True")


def page_faults(_stage):
    return Attempt(calls("brought = f'a handler: {{call(323, 0) > 0}}'"), "a handler: True")


def asynchronous_input(_stage):
    # One small number for the whole machine says how much of this everyone together may have.
    body = "context = ctypes.c_long()\nbrought = f'set up: {{call(206, 64, ctypes.byref(context)) == 0}}'"
    return Attempt(calls(body), "set up: True")


def message_queues(_stage):
    # So many bytes for all queues of everybody who is root somewhere.
    body = "brought = f'a queue: {{call(240, b\"test\", 0o102, 0o600, 0) > 0}}'\ncall(241, b'test')"
    return Attempt(calls(body), "a queue: True", through=("unshare", "--ipc"))


def file_watches_of_the_machine(_stage):
    return Attempt(calls("brought = f'a group: {{call(300, 0, 0) > 0}}'"), "a group: True")


def kernels_log(_stage):
    body = "text = ctypes.create_string_buffer(4096)\nbrought = f'lines: {{call(103, 3, text, 4096) > 0}}'"
    return Attempt(calls(body), "lines: True")


def calls_of_32_bits(_stage):
    return Attempt(calls(IN_32_BITS), "the other table answered: True")


def devices(_stage):
    return Attempt(OPEN.format(paths=["/dev/kmsg", "/dev/loop-control"]), "opened")


def raw_packets(_stage):
    return Attempt(SOCKET.format(family="socket.AF_PACKET", kind="socket.SOCK_RAW", protocol=0), "opened")


def machine_below(_stage):
    # What a virtual machine uses to talk to the one that it runs on.
    return Attempt(SOCKET.format(family="socket.AF_VSOCK", kind="socket.SOCK_STREAM", protocol=0), "opened")


def forged_addresses(_stage):
    return Attempt(TRANSPARENT, "transparent")


def further_addresses(_stage):
    return Attempt(ADD_AN_ADDRESS, "added", through=("unshare", "--net"))


def frozen_volume(stage):
    return Attempt(FREEZE.format(place=WORK), "frozen", control=FREEZE.format(place=str(stage.unprotected_volume())))


def volume_shut_down(stage):
    outside = SHUT_DOWN.format(place=str(stage.unprotected_volume()))
    return Attempt(SHUT_DOWN.format(place=WORK), "shut down", control=outside)


ATTEMPTS = [
    core_pattern,
    other_settings,
    release_agent,
    binary_formats,
    keys,
    added_key,
    io_uring,
    kernel_programs,
    performance_events,
    page_faults,
    asynchronous_input,
    message_queues,
    file_watches_of_the_machine,
    kernels_log,
    calls_of_32_bits,
    devices,
    raw_packets,
    machine_below,
    forged_addresses,
    further_addresses,
    frozen_volume,
    volume_shut_down,
]


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_kernel(stage, kernel, attempt):
    attempt(stage).check(kernel)
