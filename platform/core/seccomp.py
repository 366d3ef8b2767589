"""A filter of system calls for sandboxed programs, as the kernel takes it (seccomp(2), classic BPF). Pure.

It takes away what programs do not need and what the kernel was broken by: looking into other processes, keyrings, BPF,
io_uring, mounts, namespaces, modules, memory that no bound counts (memfd), and sockets that no network namespace holds
(vsock). All else is the sandbox's.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1
"""With EPERM."""
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_AT_NUMBER, _AT_MACHINE, _AT_FIRST = 0, 4, 16
"""Where in ``struct seccomp_data`` these stand; of an argument, its lower half."""
_OTHER_ABI: Final = 0x4000_0000
"""From this number on: the x32 calls of x86-64."""

_FAMILIES: Final = (1, 2, 10, 16)
"""Of sockets: unix, IPv4, IPv6, netlink. A network namespace holds all of them."""

_MACHINES: Final[Mapping[str, tuple[int, int, int]]] = {
    "x86_64": (0xC000_003E, 41, 0),
    "aarch64": (0xC000_00B7, 198, 1),
}
"""AUDIT_ARCH, the number of ``socket``, and which of the numbers below are its."""

_REFUSED: Final[Mapping[str, tuple[int, int]]] = {
    # name: x86-64, generic
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}


def make_filter(machine: str) -> bytes | None:
    """The filter for this kind of machine (``platform.machine()``); ``None`` where its calls are not known here."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    arch, socket, column = known
    numbers = sorted(each[column] for each in _REFUSED.values())
    steps = [
        _step(_LOAD, 0, 0, _AT_MACHINE),
        _step(_JUMP_EQUAL, 1, 0, arch),
        _step(_RETURN, 0, 0, _REFUSE),
        _step(_LOAD, 0, 0, _AT_NUMBER),
        _step(_JUMP_AT_LEAST, 0, 1, _OTHER_ABI),
        _step(_RETURN, 0, 0, _REFUSE),
    ]
    for number in numbers:
        steps += [_step(_JUMP_EQUAL, 0, 1, number), _step(_RETURN, 0, 0, _REFUSE)]
    steps += [_step(_JUMP_EQUAL, 1, 0, socket), _step(_RETURN, 0, 0, _ALLOW), _step(_LOAD, 0, 0, _AT_FIRST)]
    for family in _FAMILIES:
        steps += [_step(_JUMP_EQUAL, 0, 1, family), _step(_RETURN, 0, 0, _ALLOW)]
    return b"".join([*steps, _step(_RETURN, 0, 0, _REFUSE)])


def _step(code: int, when: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, when, otherwise, value)
