"""A worker that makes one export and is killed by itself, with SIGKILL, at a moment that its test chose.

Arguments: the team's id, the export's, the moment's name, and which time it is that it comes to it.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any
from uuid import UUID

import django

django.setup()

from tenants.exports import making, spool
from tests.tenants.exports.small import make_small

MOMENTS = {
    # Bytes are in the file, and nothing says so.
    "written": (spool.Spool, "write"),
    # A part is durable, and the row does not know.
    "part": (spool.Spool, "close_part"),
    # What a predecessor left is copied in half.
    "copied": (spool.Spool, "_copy"),
    # The file has its name, and there is no manifest.
    "named": (making, "write_file"),
    # All is there but the end of the row.
    "manifest": (making, "write_manifest"),
}


def die_after(moment: str, times: int) -> None:
    """Let this process be killed once the moment has come so often."""
    place, name = MOMENTS[moment]
    original = getattr(place, name)
    left = [times]

    def then_die(*args: Any, **values: Any) -> Any:
        result = original(*args, **values)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, then_die)


if __name__ == "__main__":
    make_small(setattr)
    die_after(sys.argv[3], int(sys.argv[4]))
    making.make_export(int(sys.argv[1]), UUID(sys.argv[2]))
