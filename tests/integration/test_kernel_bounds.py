"""The kernel reads and writes only inside of its arrays: numba checks that only where it is asked."""

import os
import subprocess
import sys
from pathlib import Path

TABLE = Path(__file__).parents[1] / "unit" / "test_kernel_table.py"


def test_the_flow_table_never_leaves_its_arrays(tmp_path: Path) -> None:
    checked = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NETFLIGHT_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TABLE)]
    done = subprocess.run(command, env=checked, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-3_000:]
