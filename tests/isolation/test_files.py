"""Files of the machine and of other tenants: by path, link, process, descriptor, mount, device, handle, namespace."""

import ctypes
import hashlib
import os
from pathlib import Path

import pytest
from support.attempts import READ, Attempt, calls, names

pytestmark = pytest.mark.local

READ_DIGEST = """
import hashlib
brought = hashlib.sha256(open({path!r}, 'rb').read()).hexdigest()
"""

READ_DEVICE = """
with open({path!r}, 'rb') as device:
    brought = device.read(4).decode(errors='replace')
"""

# Both an absolute link and one that climbs.
THROUGH_LINKS = """
import os, tempfile
folder, brought = tempfile.mkdtemp(dir='.'), ''
for number, target in enumerate([{path!r}, '../' * 40 + {path!r}[1:]]):
    link = os.path.join(folder, str(number))
    os.symlink(target, link)
    try:
        brought += open(link).read()
    except OSError:
        pass
    os.unlink(link)
os.rmdir(folder)
"""

BELOW_PROCESSES = """
import glob
brought = ''
for root in glob.glob('/proc/[0-9]*/root') + glob.glob('/proc/[0-9]*/cwd'):
    try:
        brought += open(root + {path!r}).read()
    except OSError:
        continue
"""

# A folder that was opened outside leads there, whatever the root is now.
BY_DESCRIPTORS = """
import glob, os
brought, climb = '', '../' * 40 + {path!r}[1:]
for descriptor in range(256):
    try:
        brought += os.read(os.open(climb, os.O_RDONLY, dir_fd=descriptor), 4096).decode()
    except OSError:
        continue
for link in glob.glob('/proc/[0-9]*/fd/*'):
    try:
        brought += open(link + '/' + climb).read()
    except OSError:
        continue
"""

# What is imported is found outside only.
JAIL = """
import glob, os, tempfile
jail = tempfile.mkdtemp()
{held}
os.chroot(jail)
os.chdir('/')
"""

OUT_OF_A_JAIL = """
import os, tempfile
inner = tempfile.mkdtemp(dir='.')
above = os.open('.', os.O_RDONLY)
os.chroot(inner)
os.fchdir(above)
for _ in range(64):
    os.chdir('..')
os.chroot('.')
brought = open({path!r}).read()
"""

MOUNT = """
import tempfile
place = tempfile.mkdtemp()
if libc.mount(b'none', place.encode(), {kind!r}, 0, {options!r}) != 0:
    raise OSError(ctypes.get_errno(), 'mount')
brought = 'mounted'
"""

CLONE_A_MOUNT = "brought = f'cloned as {{call(428, -100, b\"/\", 1) > 0}}'"

MAKE_A_DEVICE = """
import os, stat, tempfile
path = os.path.join(tempfile.mkdtemp(dir='.'), 'device')
os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev({major}, {minor}))
with open(path, 'rb') as device:
    brought = device.read(4).decode(errors='replace')
os.unlink(path)
os.rmdir(os.path.dirname(path))
"""

BY_HANDLE = """
handle = ctypes.create_string_buffer(bytes.fromhex({handle!r}))
beside = os.open({beside!r}, os.O_RDONLY)
brought = os.read(call(304, beside, handle, os.O_RDONLY), 4096).decode()
"""

# By the old call and by the new one, in which a filter cannot see the flags.
IN_A_USER_NAMESPACE = """
import tempfile
call(272, 0x10020000)
place = tempfile.mkdtemp()
if libc.mount(b'none', place.encode(), b'tmpfs', 0, None) != 0:
    raise OSError(ctypes.get_errno(), 'mount')
brought = 'mounted'
"""

CLONE_INTO_A_USER_NAMESPACE = """
import signal, struct
arguments = struct.pack('11Q', 0x10000000, 0, 0, 0, signal.SIGCHLD, *[0] * 6)
child = call(435, ctypes.create_string_buffer(arguments), len(arguments))
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
brought = 'cloned'
"""


def admin_file(stage):
    path = stage.world.server.data_dir / "admin.json"
    return Attempt(READ.format(path=str(path)), stage.world.server.admin()["secret_key"])


def master_key(stage):
    path = stage.world.server.data_dir / "master.key"
    return Attempt(READ_DIGEST.format(path=str(path)), hashlib.sha256(path.read_bytes()).hexdigest())


def open_file_of_the_machine(stage):
    return Attempt(READ.format(path=str(stage.open_file)), stage.word)


def passwords_of_the_machine(_stage):
    shadow = Path("/etc/shadow")
    return Attempt(READ_DIGEST.format(path=str(shadow)), hashlib.sha256(shadow.read_bytes()).hexdigest())


def through_links(stage):
    return Attempt(THROUGH_LINKS.format(path=str(stage.open_file)), stage.word)


def below_processes(stage):
    return Attempt(BELOW_PROCESSES.format(path=str(stage.open_file)), stage.word)


def by_descriptors(stage):
    program = BY_DESCRIPTORS.format(path=str(stage.open_file))
    jail = JAIL.format(held="held = os.open('/', os.O_RDONLY)")
    return Attempt(program, stage.word, control=f"{jail}{program}")


def out_of_the_root(stage):
    program = OUT_OF_A_JAIL.format(path=str(stage.open_file))
    return Attempt(program, stage.word, control=f"{JAIL.format(held='')}{program}")


def by_a_mount(_stage):
    return Attempt(calls(MOUNT, kind=b"tmpfs", options=None), "mounted", through=("unshare", "--mount"))


def by_an_overlay(_stage):
    program = calls(MOUNT, kind=b"overlay", options=b"lowerdir=/etc:/usr")
    return Attempt(program, "mounted", through=("unshare", "--mount"))


def by_a_cloned_mount(_stage):
    return Attempt(calls(CLONE_A_MOUNT), "cloned as True")


def by_a_device_node(stage):
    number = os.stat(stage.neighbour_device()).st_rdev
    program = MAKE_A_DEVICE.format(major=os.major(number), minor=os.minor(number))
    return Attempt(program, "XFSB")


def by_a_handle(stage):
    # The notebook has a folder of the same file system: that of its log.
    folder = stage.open_file.parent
    handle = handle_of(stage.open_file)
    inside, outside = (calls(BY_HANDLE, handle=handle, beside=at) for at in ("/run/atelier/log", str(folder)))
    return Attempt(inside, stage.word, control=outside)


def handle_of(path):
    """What `open_by_handle_at` takes instead of a path."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle, mount = ctypes.create_string_buffer((128).to_bytes(4, "little"), 136), ctypes.c_int()
    assert libc.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0) == 0, ctypes.get_errno()
    return handle.raw.hex()


def in_a_user_namespace(_stage):
    return Attempt(calls(IN_A_USER_NAMESPACE), "mounted")


def cloned_into_a_user_namespace(_stage):
    return Attempt(calls(CLONE_INTO_A_USER_NAMESPACE), "cloned")


def neighbours_file(stage):
    return Attempt(BELOW_PROCESSES.format(path="/home/ma-user/work/secret.txt"), stage.neighbour_word)


def neighbours_volume(stage):
    volume = stage.world.volume_of(stage.neighbour["id"])
    return Attempt(READ_DEVICE.format(path=str(volume)), "XFSB")


def neighbours_loop_device(stage):
    return Attempt(READ_DEVICE.format(path=stage.neighbour_device()), "XFSB")


ATTEMPTS = [
    admin_file,
    master_key,
    open_file_of_the_machine,
    passwords_of_the_machine,
    through_links,
    below_processes,
    by_descriptors,
    out_of_the_root,
    by_a_mount,
    by_an_overlay,
    by_a_cloned_mount,
    by_a_device_node,
    by_a_handle,
    in_a_user_namespace,
    cloned_into_a_user_namespace,
    neighbours_file,
    neighbours_volume,
    neighbours_loop_device,
]


@pytest.mark.parametrize("attempt", **names(ATTEMPTS))
def test_file(stage, kernel, attempt):
    attempt(stage).check(kernel)
