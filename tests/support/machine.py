"""What the machine has left, for tests that need much of it."""

import shutil
from pathlib import Path


def has_room(notebooks, memory_gib, disk_gib):
    """Fails, with both numbers, when so many notebooks cannot be here."""
    memory, disk = memory_available() >> 30, shutil.disk_usage("/var/tmp").free >> 30
    assert memory >= memory_gib, f"{notebooks} notebooks need {memory_gib} GiB of memory; {memory} are free"
    assert disk >= disk_gib, f"{notebooks} notebooks need {disk_gib} GiB below /var/tmp; {disk} are free"


def memory_available():
    """What could be used without swapping, in bytes."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
