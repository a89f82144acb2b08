"""Taking all there is of something: processes, memory, disk, descriptors, and what the kernel counts for everybody together.

Without any protection, the control gets all that it wants; a notebook gets less. What the kernel counts for root and all
notebooks together, or for the whole machine, the machine's root and the neighbour get all the same while a notebook
holds what it got. Whatever is held, the API and the neighbour answer meanwhile.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.attempts import SCRATCH, hold_in_a_cell, hold_on_the_machine, in_the_cell, on_the_machine
from support.disks import change, volume_device, written
from support.stage import OUTSIDE

pytestmark = pytest.mark.local

FEW = 5
# Bytes that a neighbour has changed.
CHANGED = 8 << 20

# In MiB. The file has no name, and goes with the process.
RESERVE = """
import os, tempfile
held, part, file = 0, {part}, tempfile.TemporaryFile(dir={folder!r})
try:
    while held < {wanted}:
        os.posix_fallocate(file.fileno(), held << 20, part << 20)
        held += part
except OSError:
    pass
"""

INODES = """
import os
os.mkdir({folder!r})
for number in range({wanted}):
    os.close(os.open(os.path.join({folder!r}, str(number)), os.O_CREAT))
held = {wanted}
"""

THREADS = """
import _thread, threading
threading.stack_size(65536)
wait, held = _thread.allocate_lock(), 0
wait.acquire()
try:
    while held < {wanted}:
        _thread.start_new_thread(wait.acquire, ())
        held += 1
except RuntimeError:
    pass
"""

# They share their memory, so that the number of them is what ends first; each waits on a small stack of its own.
PROCESSES = """
import ctypes, mmap, signal
libc, held, size = ctypes.CDLL(None), 0, 8192
libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
stacks = mmap.mmap(-1, {wanted} * size)
first, wait = ctypes.addressof(ctypes.c_char.from_buffer(stacks)), ctypes.cast(libc.pause, ctypes.c_void_p)
while held < {wanted}:
    if libc.clone(wait, first + (held + 1) * size - 64, 0x100 | signal.SIGCHLD, None) < 0:
        break
    held += 1
"""

MEMORY = """
import mmap
kept, held = [], 0
while held < {wanted}:
    kept.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE))
    kept[-1].write(b'x' * (1 << 20))
    held += 1
"""

TERMINALS = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
held = 0
try:
    while held < {wanted}:
        os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY)
        held += 1
except OSError:
    pass
"""

# Bytes on the way that nobody reads, in MiB.
BYTES_ON_THE_WAY = """
import socket
listener, kept, sent, block = socket.create_server(('127.0.0.1', 0)), [], 0, bytes(1 << 20)
for _ in range({wanted}):
    here = socket.create_connection(listener.getsockname())
    kept += [here, listener.accept()[0]]
    here.setblocking(False)
    try:
        while sent < {wanted} << 20:
            sent += here.send(block)
    except OSError:
        pass
    if sent >= {wanted} << 20:
        break
held = sent >> 20
"""

WATCHERS = """
import ctypes
libc, held = ctypes.CDLL(None), 0
while held < {wanted} and libc.inotify_init() >= 0:
    held += 1
"""

SIGNALS = """
import ctypes, os, signal
libc, me, held = ctypes.CDLL(None), os.getpid(), 0
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
while held < {wanted} and libc.sigqueue(me, int(signal.SIGRTMIN), None) == 0:
    held += 1
"""

OPEN_FILES = """
import os, resource, signal
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
read, write = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        count = 0
        try:
            while count < {wanted} // 4:
                os.eventfd(0)
                count += 1
        except OSError:
            pass
        os.write(write, count.to_bytes(8, 'little'))
        signal.pause()
held = sum(int.from_bytes(os.read(read, 8), 'little') for _ in range(4))
"""

CONNECTIONS = """
import socket
held = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    for port in range(1, {wanted} + 1):
        try:
            asking.sendto(b'x', ({address!r}, port))
        except OSError:
            pass
        held += 1
"""

SAY = """
import os
said, block = 0, b'x' * 65535 + b'\\n'
while said < {wanted} << 20:
    said += os.write({to}, block)
brought = 'said'
"""

# The kernel keeps the descriptor that it was started with: the notebook server's own output.
OUTPUT_OF_THE_SERVER = """
import glob, os
for name in glob.glob('/proc/[0-9]*/cmdline'):
    if b'--ServerApp.sock=' in open(name, 'rb').read():
        output = os.readlink(name.replace('cmdline', 'fd/1'))
        print(min(n for n in range(256) if os.path.lexists(f'/proc/self/fd/{n}') and os.readlink(f'/proc/self/fd/{n}') == output))
"""


@dataclass(frozen=True)
class Limited:
    """What a notebook has a limit of its own for."""

    program: str
    wanted: int
    folder: str = ""  # where a notebook takes it
    part: int = 0  # that is taken at once
    small: bool = False  # much of the machine, so that it is tried in the smaller notebook
    shared: bool = False  # counted by the kernel for all together

    def taking(self, folder="", wanted=None):
        """The program that takes it in a folder."""
        return self.program.format(wanted=wanted or self.wanted, folder=folder, part=self.part)


LIMITED = {
    "threads": Limited(THREADS, 4200),
    "processes": Limited(PROCESSES, 4200),
    "memory": Limited(MEMORY, 700, small=True),
    "volume": Limited(RESERVE, 5120, "/home/ma-user/work", 16),
    "own_layer": Limited(RESERVE, 20480, "/home/ma-user", 64),
    "shared_memory": Limited(RESERVE, 400, "/dev/shm", 16, small=True),
    "folder_of_the_door": Limited(RESERVE, 4, "/run/atelier/nb", 1),
    "terminals": Limited(TERMINALS, 600, shared=True),
    "bytes_on_the_way": Limited(BYTES_ON_THE_WAY, 128, small=True),
    "watchers": Limited(WATCHERS, 200, shared=True),
    "pending_signals": Limited(SIGNALS, 2000, shared=True),
}


@pytest.fixture
def others_answer(stage, kernel, neighbours_kernel):
    """Asked while something is held: the API lists, and other notebooks compute."""

    def ask(*_):
        assert len(stage.world.api.list()) >= 2
        for other in (kernel, neighbours_kernel):
            assert other.run("print(6 * 7)") == "42\n"

    return ask


@pytest.fixture(scope="module")
def roomy(stage):
    """A file system on the machine that seems to have more room than any limit; it is sparse."""
    return str(stage.unprotected_volume(gib=64))


@pytest.mark.parametrize("name", LIMITED)
def test_exhaustion(kernel, neighbours_kernel, others_answer, roomy, name):
    limited = LIMITED[name]
    with hold_on_the_machine(limited.taking(roomy)) as held:
        assert held.amount == limited.wanted, f"the control got {held.said} of {limited.wanted}, so it proves nothing"
    with hold_in_a_cell(neighbours_kernel if limited.small else kernel, limited.taking(limited.folder)) as held:
        others_answer()
        print(f"\n{name}: {held.said} of {limited.wanted}")
        assert held.amount < limited.wanted, f"a notebook took all {limited.wanted}"
        if limited.shared:
            few = limited.taking(wanted=FEW) + "\nbrought = held"
            assert int(on_the_machine(few)) == FEW, "the machine's root gets none any more"
            assert int(in_the_cell(neighbours_kernel, few)) == FEW, "the neighbour gets none any more"


def test_exhaustion_by_open_files(kernel, others_answer):
    """The kernel has a number of them for the whole machine; what ends first is the memory that they take."""
    files = OPEN_FILES.format(wanted=40_000)
    with hold_on_the_machine(files) as held:
        assert held.amount == 40_000
    with hold_in_a_cell(kernel, files) as held:
        assert held.amount == 40_000, "they are there, and charged to the notebook"
        others_answer()
    memory = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1]) * 1024
    assert int(Path("/proc/sys/fs/file-max").read_text(encoding="ascii")) >= memory // 128
    assert int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii")) > 1_000_000


def test_exhaustion_by_inodes(stage, kernel, others_answer):
    """A notebook's files take none of the machine's: they are inside of one file."""
    files, here = 3000, stage.world.folder / "many"
    with hold_on_the_machine(INODES.format(wanted=files, folder=str(here))) as held:
        assert held.amount == files
    taken = inodes()
    shutil.rmtree(here)
    assert taken - inodes() > files // 2, "the control took none, so it proves nothing"
    before = inodes()
    with hold_in_a_cell(kernel, INODES.format(wanted=files, folder="/home/ma-user/work/many")) as held:
        assert held.amount == files
        others_answer()
        assert inodes() - before < files // 2


def inodes():
    """How many are in use in the file system that the data folder is on."""
    stat = os.statvfs(SCRATCH)
    return stat.f_files - stat.f_ffree


@pytest.fixture
def kernel_of_its_own(stage):
    """That of a notebook that nothing else is tried in."""
    shown = stage.world.api.create_running()
    with stage.world.notebook(shown).new_kernel() as kernel:
        yield kernel
    stage.world.api.remove(shown["id"])


def test_exhaustion_by_connections(kernel_of_its_own, others_answer):
    """The kernel remembers so many in all. The notebook's turn is first: what it leaves is forgotten after a while, and
    until then it counts for this notebook."""
    kernel = kernel_of_its_own
    wanted, program = 20_000, CONNECTIONS + "\nbrought = held"
    before = remembered()
    assert int(in_the_cell(kernel, program.format(wanted=wanted, address=OUTSIDE))) == wanted
    others_answer()
    taken = remembered() - before
    before = remembered()
    assert int(on_the_machine(program.format(wanted=wanted, address=OUTSIDE))) == wanted
    assert remembered() - before > wanted // 2, "the control is not remembered, so it proves nothing"
    print(f"\nconnections: {taken} of {wanted}")
    assert taken < wanted // 2


def remembered():
    """How many connections the kernel knows."""
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text(encoding="ascii"))


def test_exhaustion_by_saying_much(stage, kernel, others_answer, tmp_path):
    """What a notebook server says is kept on the machine, in files of bounded size."""
    wanted, file = 40, tmp_path / "log"
    outside = f"import os\nlog = os.open({str(file)!r}, os.O_WRONLY | os.O_CREAT)\n{SAY.format(wanted=wanted, to='log')}"
    assert "said" in on_the_machine(outside)
    assert file.stat().st_size >= wanted << 20
    output = int(kernel.run(OUTPUT_OF_THE_SERVER).split()[0])
    assert "said" in kernel.run(f"{SAY.format(wanted=wanted, to=output)}\nprint(brought)")
    others_answer()
    logs = stage.world.server.data_dir / "notebooks" / stage.attacker["id"]
    kept = [path for path in logs.rglob("*log*") if path.is_file()]
    assert kept and sum(path.stat().st_size for path in kept) < (wanted << 20) // 2


def test_exhaustion_by_sync(stage, kernel, neighbours_kernel):
    """Having everybody's changes written, over and over. The machine's root does so by the same call."""
    device = volume_device(stage.neighbour["id"])

    def writes(call):
        """What a call has written of a neighbour's."""
        change(neighbours_kernel, CHANGED)
        before = written(device)
        call()
        return written(device) - before

    def attack():
        assert "written" in in_the_cell(kernel, "import os\nos.sync()\nbrought = 'written'")

    # Anything else on the machine may call it meanwhile.
    control = [writes(os.sync) for _ in range(FEW)]
    assert max(control) > CHANGED // 2, f"the control run has written nothing, so the attempt proves nothing: {control}"
    brought = [writes(attack) for _ in range(FEW)]
    assert min(brought) < CHANGED // 2, f"each time all that the neighbour had changed was written: {brought}"
