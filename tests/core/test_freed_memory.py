from __future__ import annotations

import platform
import subprocess
import sys

import pytest

RUN = """
import numpy as np
from multirecall.freed_memory import return_freed_memory

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024

del (first := [np.ones(30 * 2**17)])[:]  # from now on glibc keeps freed arrays of less than 30 MiB
large, small = [], []
for _ in range(100):
    large.append(np.ones(2**18))
    small.append(np.ones(2**12))
del large
kept = resident()
return_freed_memory()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")
def test_freed_arrays_between_small_ones_go_back_to_the_system() -> None:
    """A hundred arrays of 2 MiB, freed while arrays that stay lie between them."""
    shown = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=60, check=True).stdout
    assert int(shown) > 150
