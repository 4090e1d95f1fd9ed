# SPDX-FileCopyrightText: 2026 The enginery authors
# SPDX-License-Identifier: Apache-2.0
"""The library that says how many processors there are: loaded for real, and preloaded."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stages.backends import processors

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("count", [1, 4, 1000])
def test_each_function_answers(tmp_path: Path, count: int) -> None:
    path = tmp_path / "libprocessors.so"
    path.write_bytes(processors.library(count))
    library = ctypes.CDLL(str(path))
    assert [getattr(library, name)() for name in processors.SYMBOLS] == [count] * 3
    assert path.stat().st_size < 1024


def test_preloaded_it_answers_for_the_c_and_the_c_plus_plus_library(tmp_path: Path) -> None:
    path = tmp_path / "libprocessors.so"
    path.write_bytes(processors.library(77))
    code = """if True:
        import ctypes
        lib = ctypes.CDLL("libstdc++.so.6")
        print(ctypes.CDLL(None).get_nprocs(), lib._ZNSt6thread20hardware_concurrencyEv())
        print([line.split()[1] for line in open("/proc/self/maps") if "[stack]" in line])
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "LD_PRELOAD": str(path)},
        capture_output=True,
        check=True,
        text=True,
    )
    # Nor does it make the stack executable.
    assert done.stdout == "77 77\n['rw-p']\n"
    assert not done.stderr
