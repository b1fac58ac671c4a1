"""What is freed between arrays that stay goes back to the system."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from dystab_jax.runtime.free_memory import give_back

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024

blocks = [np.ones(100_000, np.uint8) for _ in range(2000)]  # small enough for glibc's heap
last = blocks[-1]
blocks = blocks[1::20]
before = resident()
give_back()
print(before, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_holes_between_arrays_go_back(pytestconfig):
    program = [sys.executable, "-c", PROGRAM, str(pytestconfig.rootpath)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert after < before - 100  # of 190 MB that are free


ARENAS = """
import ctypes, sys, threading
sys.path.insert(0, sys.argv[1])
from dystab_jax.runtime.free_memory import allocate_from_few_arenas

if sys.argv[2] == "few":
    allocate_from_few_arenas()
libc, all_there = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = ctypes.c_void_p

def hold():
    libc.malloc(1000)
    all_there.wait()

threads = [threading.Thread(target=hold) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fopen(sys.argv[3].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize("asked", ["few", "many"])
def test_threads_share_heaps(pytestconfig, tmp_path, asked):
    told = tmp_path / "told.xml"
    program = [sys.executable, "-c", ARENAS, str(pytestconfig.rootpath), asked, str(told)]
    subprocess.run(program, check=True)
    heaps = told.read_text().count("<heap ")
    assert heaps <= 2 if asked == "few" else heaps > 2
