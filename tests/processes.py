"""Code in a new process, for what depends on what a process has done before."""

import subprocess
import sys
import textwrap


def run(code):
    """What `code` prints in a new Python process."""
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
