"""Puts an environment into the notebook's volume, where what pip installs survives a stop.

It lies on top of the image's environment and is a few small files. What is missing of it is added at each start of the
notebook server, so that it can be removed to begin anew, and so that a later image's Python finds a folder of its own.
Where it cannot be (no room is left, or something else has its name) the notebook starts all the same: the next programs
on the path are the image's.
"""

import os
import shutil
import sys

TEMPLATE = "/opt/atelier/environment"
ENVIRONMENT = "/home/ma-user/work/.environment"


def complete():
    """Adds what is missing. The interpreter is the last but the programs that need it."""
    files = []
    for folder, _, names in os.walk(TEMPLATE):
        files += [os.path.relpath(os.path.join(folder, name), TEMPLATE) for name in names]
    for name in sorted(files, reverse=True):
        path = os.path.join(ENVIRONMENT, name)
        if not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Whole, or not there; a start that was cut short may have left its own, and a link is never written over.
            new = f"{path}.new"
            if os.path.lexists(new):
                os.unlink(new)
            os.rename(shutil.copy2(os.path.join(TEMPLATE, name), new, follow_symlinks=False), path)


if os.environ.get("VIRTUAL_ENV") == ENVIRONMENT:
    try:
        complete()
    except OSError as error:
        print(f"packages that are installed now end with this run: {error}", file=sys.stderr)
