"""A program that makes a listener on the loopback of another process's network, hands it over, and ends.

``python joining.py PROCESS PORT SOCKET``: to enter a namespace of users, a process has to have one thread, and to have
the rights in it, to be of the user who made it. What goes wrong is written to the socket instead, in a few words.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import sys
import time
from pathlib import Path
from typing import Final

_NS_GET_USERNS: Final = 0xB701
_CLONE_NEWUSER: Final = 0x1000_0000
_CLONE_NEWNET: Final = 0x4000_0000
_WAIT_SECONDS: Final = 8.0
"""For the loopback, which whoever made the network sets up."""
_QUEUE: Final = 64
"""Of connections that nobody has accepted."""


def _become(user: int, group: int) -> None:
    if os.geteuid() == 0 and user != 0:
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)


def _enter(process: int) -> None:
    owner = Path(f"/proc/{process}").stat()
    libc = ctypes.CDLL(None, use_errno=True)
    _become(owner.st_uid, owner.st_gid)
    network = os.open(f"/proc/{process}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    # Not the process's own: that may have gone further down meanwhile.
    users = fcntl.ioctl(network, _NS_GET_USERNS)
    for namespace, kind in ((users, _CLONE_NEWUSER), (network, _CLONE_NEWNET)):
        if libc.setns(namespace, kind) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _listen(port: int) -> socket.socket:
    until = time.monotonic() + _WAIT_SECONDS
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    while True:
        try:
            made.bind(("127.0.0.1", port))
        except OSError as fault:
            if fault.errno != errno.EADDRNOTAVAIL or time.monotonic() > until:
                raise
            time.sleep(0.005)
        else:
            made.listen(_QUEUE)
            return made


def _main(process: int, port: int, number: int) -> None:
    with socket.socket(fileno=number) as way:
        try:
            _enter(process)
            with _listen(port) as made:
                socket.send_fds(way, [b"+"], [made.fileno()])
        except OSError as fault:
            way.sendall((fault.strerror or "it failed").encode()[:200])
        except Exception as fault:  # noqa: BLE001 - nobody sees what else is written here
            way.sendall(type(fault).__name__.encode()[:200])


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:4]))
