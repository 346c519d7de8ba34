"""What whole processes take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def peak_memory(code: str, *args: str) -> int:
    """Peak resident bytes of a Python process that runs the code.

    It is started by a small process: to a process's peak counts that of the one that started it.
    """
    start = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
    )
    tail = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    command = [sys.executable, "-c", start, code + tail, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return int(done.stdout.split()[-1])
