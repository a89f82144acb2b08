"""Where there is no Chromium, there is nothing to test with; a skip is said, and is not a pass."""

from pathlib import Path

import pytest
from support.browser import CHROMIUM


def pytest_collection_modifyitems(items):
    """For this folder's tests only: the hook is given those of every folder."""
    if Path(CHROMIUM).exists():
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"needs {CHROMIUM}, which Ubuntu has as a snap only"))
