"""Finds installed plugins by their entry points and makes a kind of each. None of them can keep Marina from starting.

What cannot be loaded is a kind too, one that says why, so that its sources do not vanish without a word.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from marina import ENTRY_POINTS
from marina.plugin import DeclarationError, Plugin
from servers.execution.backends.plugins.backend import PluginBackend
from servers.execution.broken import BrokenBackend
from servers.execution.contract import Backend

logger = logging.getLogger(__name__)

_PROTOCOL: Final = (
    "kind",
    "title",
    "settings_schema",
    "secret_settings",
    "clean_settings",
    "describe_settings",
    "offered",
    "compile",
    "check",
    "execute",
    "complete",
    "close",
)


def load_plugins(*, taken: Collection[str]) -> list[Backend]:
    """A backend for each installed plugin and each kind that one brings. ``taken`` are Marina's own kinds."""
    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    for point in entry_points(group=ENTRY_POINTS):
        # A package may be listed twice, when its folder is on the path twice.
        found[point.name].setdefault(_package(point), point)
    backends: dict[str, Backend] = {}
    for name in sorted(found):
        packages = sorted(found[name])
        if name in taken:
            for package in packages:
                kind = f"{name}@{package}"
                backends[kind] = _broken(
                    kind, f"The package {package} brings a plugin {name}, but Marina has a kind of that name."
                )
        elif len(packages) > 1:
            # Neither: which of them got the sources' settings would be a matter of chance.
            listed = " and ".join(packages)
            backends[name] = _broken(
                name, f"Several packages bring a plugin {name}: {listed}. Remove all but one."
            )
        else:
            for backend in _load(name, found[name][packages[0]]):
                clash = backend.kind in taken or backend.kind in found or backend.kind in backends
                if clash and backend.kind != name:
                    kind = f"{backend.kind}@{name}"
                    backends[kind] = _broken(
                        kind,
                        f"The plugin {name} brings a kind {backend.kind}, but there is one of that name.",
                    )
                else:
                    backends[backend.kind] = backend
    return list(backends.values())


def _load(name: str, point: EntryPoint) -> Iterator[Backend]:
    try:
        plugin = point.load()
    except DeclarationError as fault:
        yield _misdeclared(name, fault)
        return
    except (Exception, SystemExit) as fault:  # noqa: BLE001 - importing foreign code may raise anything
        yield _broken(name, f"The plugin {name} could not be loaded: {type(fault).__name__}.", fault)
        return
    if not isinstance(plugin, Plugin):
        yield _broken(name, f"The entry point of {name} names a {type(plugin).__name__}, not a Plugin.")
        return
    if plugin.name != name:
        yield _broken(name, f"The plugin calls itself {plugin.name}, but its entry point is called {name}.")
        return
    try:
        yield PluginBackend(plugin)
    except DeclarationError as fault:
        yield _misdeclared(name, fault)
        return
    for factory in plugin.kinds:
        try:
            backend = factory()
        except Exception as fault:  # noqa: BLE001 - foreign code
            yield _broken(
                f"{name}@{name}",
                f"A kind of the plugin {name} could not be made: {type(fault).__name__}.",
                fault,
            )
            continue
        missing = [member for member in _PROTOCOL if not hasattr(backend, member)]
        if missing:
            yield _broken(f"{name}@{name}", f"A kind of the plugin {name} has no {', '.join(missing)}.")
        else:
            yield backend  # type: ignore[misc]


def _misdeclared(name: str, fault: DeclarationError) -> BrokenBackend:
    return _broken(name, f"The plugin {name} cannot be used: {fault}", fault)


def _broken(kind: str, cause: str, fault: BaseException | None = None) -> BrokenBackend:
    logger.error("a plugin is not usable", extra={"plugin": kind, "cause": cause}, exc_info=fault)
    return BrokenBackend(kind, f"{cause} Whoever runs Marina can mend this; its log says more.")


def _package(point: EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else str(point.dist.name)
