"""Serves Marina in a fresh web process for each line on standard input, and prints that process's id.

Run by the fault tests as ``python -m tests.faults.preloaded PORT``. A web process spends most of its start on
imports; those are done once here and then forked, so that twenty kills take seconds. Nothing else is shared:
loop, connections, caches and the log's writer are made after the fork, in the server's own start.
"""

from __future__ import annotations

import os
import signal
import sys

from django.urls import get_resolver

from config.asgi import application
from config.env import get_env
from config.local.ports import LOOPBACK
from config.local.process import end_with_parent
from config.web import make_server


def main(port: int) -> None:
    """One server at a time: the next is started once the last has ended."""
    # The routes too: /health would import them anew in each process.
    _ = get_resolver().url_patterns
    child = 0
    for _ in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if child == 0:
            end_with_parent(signal.SIGTERM)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            _serve(port)
            os._exit(0)
        print(child, flush=True)
    if child:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def _serve(port: int) -> None:
    make_server(application, get_env(), host=LOOPBACK, port=port).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
