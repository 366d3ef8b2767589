"""The words of the tools that are SQLite's own. Pure data."""

from __future__ import annotations

from typing import Final

from servers.execution.sql.dialect import Dialect

DIALECT: Final = Dialect(
    title="SQLite",
    types="declared",
    reads="SELECT, VALUES, WITH and EXPLAIN",
    writes="INSERT, UPDATE, DELETE and REPLACE",
    shorten="substr()",
    values="Values of the type BLOB come as hexadecimal text after \\x.",
    estimated="Of a large table it is an estimate, or null.",
    index_sizes_known=False,
)
