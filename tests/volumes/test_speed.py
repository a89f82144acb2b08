"""How fast a notebook may use its disks is limited, so that it does not take the machine's from the others."""

import pytest
from support.world import World

pytestmark = pytest.mark.local

MIB_IN_A_SECOND = 4
MIB = 12
SLOW = {"ATELIER_LOCAL__DISK_READ_MIB": f"{MIB_IN_A_SECOND}", "ATELIER_LOCAL__DISK_WRITE_MIB": f"{MIB_IN_A_SECOND}"}
# Past the machine's memory, so that the disk itself is asked.
WRITE = "dd if=/dev/zero of={file} bs=1M count={mib} oflag=direct"
READ = "dd if={file} of=/dev/null bs=1M iflag=direct"
SECONDS = """(lambda begun, done: (done, __import__('time').monotonic() - begun))(
    __import__('time').monotonic(), __import__('subprocess').run({command!r}, shell=True, capture_output=True).returncode)"""


def test_a_notebook_reads_and_writes_no_faster_than_it_may():
    """On both of its disks. However slow the machine is, nothing may be faster than the limit."""
    with World("local", environment=SLOW) as world:
        with world.notebook(world.api.create_running()).new_kernel() as kernel:
            for folder in ("/home/ma-user/work", "/home/ma-user"):
                for command in (WRITE, READ):
                    command = command.format(file=f"{folder}/zeros", mib=MIB)
                    status, seconds = kernel.value(SECONDS.format(command=command))
                    print(f"{command}: {seconds:.2f} s")
                    assert status == 0
                    assert seconds > 0.8 * MIB / MIB_IN_A_SECOND
