"""Writes YAML that reads well and always the same: the bytes follow from the value alone. Reads nothing.

What is written is read by ``core.strictyaml``, and by readers of YAML 1.1 and 1.2 alike: texts that either of them
would take for something else stand in quotes. Texts of several lines stand as lines.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_LINES: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]*")
_NUMBERS: Final = (
    r"[-+]?[0-9]+(?:[eE][-+]?[0-9]+)?",
    r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?",
)
"""Of YAML 1.2; those of 1.1 the library knows."""


class _Dumper(yaml.CSafeDumper):
    """Never an anchor: what stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    lines = "\n" in text and _LINES.fullmatch(text) and not text[0].isspace()
    node: yaml.Node = dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if lines else None)
    return node


_Dumper.add_representer(str, _represent_text)
for _number in _NUMBERS:
    _Dumper.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(rf"^(?:{_number})$"), list("-+.0123456789")
    )


def write_yaml(value: Any) -> str:
    """The text of a value that JSON can say, its members in the order that they have."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000_000
    )
    return text
