"""What people outside Marina use: the plugin author's API and the stdio bridge. Imports nothing else of ours."""

from typing import Final

ENTRY_POINTS: Final = "marina.plugins"
"""The entry-point group that Marina looks in for plugins."""
