"""Programs beside Marina give way to those who are answered, and know nothing of its environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STARTS = "from core.programs import start_program; p = start_program('tests.core.telling'); "


@pytest.mark.parametrize(("own", "its"), [(0, 5), (5, 5), (15, 15)])
def test_a_program_is_no_nicer_than_who_has_to_wait_for_it_anyway(own: int, its: int) -> None:
    base = os.nice(0)
    code = f"import os; os.setpriority(os.PRIO_PROCESS, 0, {max(own, base)}); {STARTS}"
    said = subprocess.run(
        [sys.executable, "-c", f"{code} print(p.communicate()[0].decode())"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "MARINA_MASTER_KEY": "secret"},
    )
    assert said.stdout.split() == [str(max(its, base)), "True", "LC_CTYPE,PYTHONPATH"]
