"""What `sync` does in a notebook: it returns when what the notebook has changed is written, whoever calls it there."""

from pathlib import Path

import pytest
from support.disks import change, flushed, volume_device, written
from support.world import World

pytestmark = pytest.mark.local

CHANGED, TRIES = 8 << 20, 10
IN_A_PROGRAM = "import subprocess; subprocess.run(['sync'], check=True)"
OVER_AND_OVER = """
import os, threading
threads = [threading.Thread(target=lambda: [os.sync() for _ in range(20)]) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
# Nobody waits for its answer.
KILLED = """
import subprocess, sys
CALL = "import os; print('begins', flush=True); [os.sync() for _ in iter(int, 1)]"
for _ in range(20):
    caller = subprocess.Popen([sys.executable, '-ISc', CALL], stdout=-1)
    caller.stdout.readline()
    caller.kill()
    caller.wait()
"""
INTERRUPTED = """
import os, signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
os.sync()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
WITHOUT_ANOTHER_PROCESS = """
import _thread, os, threading
threading.stack_size(65536)
ends = _thread.allocate_lock()
ends.acquire()
begun = 0
try:
    while True:
        _thread.start_new_thread(lambda: ends.acquire() and ends.release(), ())
        begun += 1
except RuntimeError:
    pass
os.sync()
ends.release()
assert begun > 1000
"""
STATUS = "print(open('/proc/self/status').read())"


@pytest.fixture(scope="module", params=["true", "false"], ids=["forked", "started"])
def notebook(request):
    """A notebook whose server was forked, and one whose was started by its command line."""
    with World("local", environment={"ATELIER_LOCAL__ZYGOTE": request.param}) as world:
        made = world.create_forked() if request.param == "true" else world.api.create_running()
        with world.notebook(made).new_kernel() as kernel:
            yield world, made["id"], kernel


def has_written(notebook, call):
    """Whether all that was changed before a call is written when it returns."""
    _, name, kernel = notebook
    device = volume_device(name)
    before = written(device)
    change(kernel, CHANGED)
    call()
    return written(device) - before >= CHANGED


def filters(status):
    return int(status.split("Seccomp_filters:")[1].split()[0])


def test_a_cell_and_its_programs(notebook):
    kernel = notebook[2]
    assert has_written(notebook, lambda: kernel.run("import os; os.sync()"))
    assert has_written(notebook, lambda: kernel.run(IN_A_PROGRAM))


def test_a_command_beside_the_server(notebook):
    world, name, _ = notebook
    assert has_written(notebook, lambda: world.server.atelier("notebook", "exec", name, "--", "sync"))


def test_the_disk_is_asked_to_keep_it(notebook):
    """Also when all has been written before."""
    _, name, kernel = notebook
    kernel.run("import os; os.sync()")
    device = volume_device(name)
    before = flushed(device)
    kernel.run("os.sync()")
    assert flushed(device) > before


def test_many_at_once(notebook):
    """Each is answered, and who does not wait for the answer is in nobody's way."""
    kernel = notebook[2]
    assert has_written(notebook, lambda: kernel.run(OVER_AND_OVER))
    kernel.run(KILLED)
    assert has_written(notebook, lambda: kernel.run("import os; os.sync()"))


def test_who_is_interrupted(notebook):
    """A signal that its program handles neither makes `sync` return before it has written nor keeps it from that, unless it
    comes before the init has heard of the call."""
    kernel = notebook[2]
    assert any(has_written(notebook, lambda: kernel.run(INTERRUPTED)) for _ in range(TRIES))


def test_who_has_all_processes(notebook):
    """Nothing can be started to write, so the kernel does."""
    kernel = notebook[2]
    assert has_written(notebook, lambda: kernel.run(WITHOUT_ANOTHER_PROCESS))


def test_after_another_start(notebook):
    """The volume is nobody else's to look into meanwhile."""
    world, name, kernel = notebook
    kernel.run("import os; os.chmod('/home/ma-user/work', 0o700)")
    world.api.stop(name)
    world.api.wait_for(name, "STOPPED")
    world.api.start(name)
    with world.notebook(world.api.wait_for_running(name)).new_kernel() as kernel:
        outside = Path("/proc/self/status").read_text(encoding="utf-8")
        assert filters(kernel.run(STATUS)) == filters(outside) + 3, "two of the server's, and the init's"
        assert has_written((world, name, kernel), lambda: kernel.run("import os; os.sync()"))
