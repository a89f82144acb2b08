"""A data disk of its own, small enough to be filled: a file system in a file, mounted where the data folder will be."""

import os
import subprocess


class SmallDisk:
    """Mounted from `open` to `close`; what fills it up is one file."""

    def __init__(self, folder, mib, kind="ext4"):
        self.image = folder / "disk.img"
        self.point = folder / "data"
        self.ballast = self.point / "ballast"
        self.mib = mib
        self.kind = kind

    def open(self):
        """Makes the file system and mounts it."""
        with open(self.image, "wb") as image:
            image.truncate(self.mib << 20)
        # No share kept for root: the server is root, and full must mean full.
        subprocess.run([f"mkfs.{self.kind}", "-q", "-b", "4096", "-m", "0", self.image], check=True, capture_output=True)
        self.point.mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "loop", self.image, self.point], check=True, capture_output=True)

    def fill(self):
        """Nothing can be written afterwards."""
        with open(self.ballast, "ab") as ballast:
            for size in (1 << 20, 1 << 12, 1):
                block = bytes(size)
                try:
                    while True:
                        os.write(ballast.fileno(), block)
                except OSError:
                    continue

    def free(self):
        """As much can be written as before."""
        self.ballast.unlink(missing_ok=True)

    def close(self):
        """Unmounts; whoever still has a file open there keeps it until it ends."""
        if os.path.ismount(self.point):
            subprocess.run(["umount", "--lazy", self.point], check=True, capture_output=True)
