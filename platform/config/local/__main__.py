"""``python -m config.local``: run Marina here; with ``--erase``, remove all that such runs have stored."""

from __future__ import annotations

import os
import signal
import sys

from config.local.embedded import erase_home
from config.local.failure import StartError
from config.local.options import read_options
from config.local.output import Console
from config.local.plan import make_plan
from config.local.process import end_with_parent
from config.local.run import run_marina


def main() -> int:
    """Returns the exit code. Raises ``BadEnvironment``, which ends the process with its own line."""
    environ = dict(os.environ)
    options = read_options(environ)
    if sys.argv[1:] == ["--erase"]:
        try:
            erase_home(options.home)
        except StartError as refusal:
            print(refusal, file=sys.stderr)
            return 1
        return 0
    if "MAKELEVEL" in environ:
        # A killed `make` cannot tell us; then nobody is left whom Marina runs for.
        end_with_parent(signal.SIGTERM)
    colour = sys.stdout.isatty() and not environ.get("NO_COLOR")
    return run_marina(
        options, make_plan(options), inherited=environ, console=Console(sys.stdout, colour=colour)
    )


if __name__ == "__main__":
    sys.exit(main())
