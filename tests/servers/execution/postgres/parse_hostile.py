"""Run by ``test_parser_limits.py`` in a process of its own: reads texts that are nested too deep, and tells the rules.

Argument: ``main``, or the stack of a thread in KiB (0: Python's default). Prints one line a text, as it goes, so
that a process that dies shows where.
"""

from __future__ import annotations

import sys
import threading

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.backends.postgres.parsing import MAX_QUERY_BYTES, Policy, read_statement

CHAINS = {
    "plus": ("SELECT ", "1+", "1"),
    "power": ("SELECT ", "1^", "1"),
    "minus sign": ("SELECT ", "- ", "x"),
    "plus sign": ("SELECT ", "+ ", "1"),
    "other sign": ("SELECT ", "!! ", "1"),
    "qualified operator": ("SELECT x", " OPERATOR(pg_catalog.+) 1", ""),
    "not": ("SELECT ", "NOT ", "true"),
    "concat": ("SELECT ", "a||", "a"),
    "parameters": ("SELECT ", "$1+", "1"),
    "union": ("", "SELECT 1 UNION ", "SELECT 1"),
    "short union": ("", "SELECT UNION ALL ", "SELECT"),
    "table union": ("", "TABLE a UNION ", "TABLE a"),
    "values union": ("", "VALUES(1)UNION ", "VALUES(1)"),
    "intersect": ("", "SELECT INTERSECT ", "SELECT"),
    "cross join": ("SELECT * FROM a", " CROSS JOIN a", ""),
    "cast": ("SELECT x", "::int", ""),
    "collate": ("SELECT x", ' COLLATE "C"', ""),
    "time zone": ("SELECT x", " AT TIME ZONE 'u'", ""),
    "local time": ("SELECT x", " AT LOCAL", ""),
    "is null": ("SELECT x", " IS NULL", ""),
    "is true": ("SELECT x", " IS TRUE", ""),
    "is json": ("SELECT x", " IS JSON", ""),
    "not in": ("SELECT 1", " NOT IN (1)", ""),
    "many at once": ("SELECT ", "(a).b[1]::int+", "1"),
}
"""Before, what is repeated, after."""

UNFINISHED = {
    "open parentheses": ("SELECT ", "(", ""),
    "joins without ON": ("SELECT * FROM ", "a JOIN ", "a"),
}
"""The same, of texts that end too early: the parser gives up before it sees that."""

NESTS = {
    "parentheses around an addition": ("SELECT ", "1+(", "1", ")", ""),
    "parentheses around a comparison": ("SELECT ", "1=(", "1", ")", ""),
    "and on the right": ("SELECT ", "a AND(b OR(", "a", "))", ""),
    "joined tables": ("SELECT * FROM ", "(", "a", " JOIN a ON true)", ""),
    "joins on the right": ("SELECT * FROM ", "a JOIN ", "a", " ON true", ""),
    "case then": ("SELECT ", "CASE WHEN a THEN ", "1", " END", ""),
    "case else": ("SELECT ", "CASE WHEN a THEN 1 ELSE ", "1", " END", ""),
    "case of": ("SELECT ", "CASE ", "1", " WHEN 1 THEN 1 END", ""),
    "sub-select": ("", "SELECT (", "SELECT 1", ")", ""),
    "sub-select of FROM": ("", "SELECT * FROM (", "SELECT 1", ") x", ""),
    "exists": ("", "SELECT EXISTS(", "SELECT 1", ")", ""),
    "in sub-select": ("", "SELECT 1 IN (", "SELECT 1", ")", ""),
    "array of sub-select": ("", "SELECT ARRAY(", "SELECT 1", ")", ""),
    "limit": ("", "SELECT 1 LIMIT (", "SELECT 1", ")", ""),
    "values": ("", "VALUES((", "VALUES(1)", "))", ""),
    "with": ("", "WITH a AS (", "SELECT 1", ") SELECT 1", ""),
    "in": ("SELECT ", "1 IN (", "1", ")", ""),
    "cast function": ("SELECT ", "CAST(", "1", " AS int)", ""),
    "type modifier": ("SELECT x::", "abs(", "1", ")", ""),
    "subscript": ("SELECT ", "x[", "1", "]", ""),
    "field": ("SELECT ", "(", "x", ").a", ""),
    "function": ("SELECT ", "abs(", "1", ")", ""),
    "coalesce": ("SELECT ", "coalesce(", "1", ")", ""),
    "nullif": ("SELECT ", "nullif(", "1", ",1)", ""),
    "row": ("SELECT ", "ROW(", "1", ")", ""),
    "array": ("SELECT ARRAY", "[", "1", "]", ""),
    "window": ("SELECT ", "rank()OVER(ORDER BY ", "1", ")", ""),
    "filter": ("SELECT ", "count(*)FILTER(WHERE ", "1", ")", ""),
    "grouping sets": ("SELECT 1 GROUP BY ", "GROUPING SETS(", "a", ")", ""),
    "json object": ("SELECT ", "JSON_OBJECT('a':", "1", ")", ""),
    "json value": ("SELECT ", "JSON_VALUE(", "1", ",'$')", ""),
    "json table": ("SELECT * FROM JSON_TABLE(a,'$' COLUMNS(", "NESTED '$' COLUMNS(", "a int", ")", "))"),
    "trim": ("SELECT ", "trim(", "x", ")", ""),
}
"""Before, what opens, the core, what closes, after."""

JUST_BELOW_THE_PARSERS_OWN_BOUND = 4_200


def build_texts() -> list[tuple[str, str]]:
    texts = []
    for most in (JUST_BELOW_THE_PARSERS_OWN_BOUND, MAX_QUERY_BYTES):
        chains = CHAINS if most < MAX_QUERY_BYTES else CHAINS | UNFINISHED
        for name, (before, unit, after) in chains.items():
            count = min(most, (MAX_QUERY_BYTES - len(before + after)) // len(unit))
            texts.append((name, before + unit * count + after))
        for name, (before, opening, core, closing, after) in NESTS.items():
            count = min(most, (MAX_QUERY_BYTES - len(before + core + after)) // len(opening + closing))
            texts.append((name, before + opening * count + core + closing * count + after))
    return texts


def name_rule(text: str, names: tuple[str, ...] | None) -> str:
    try:
        read_statement(text, Policy(), names=names)
    except SourceError as fault:
        return str(fault.data.get("rule", fault.code))
    return "accepted"


def name_tool_fault(text: str) -> str:
    try:
        PostgresBackend().compile("sql", {"sql": text})
    except InvalidInput as fault:
        return "sql.nesting" if "nested" in fault.errors[0]["message"] else fault.errors[0]["message"]
    return "accepted"


def read_all() -> None:
    for name, text in build_texts():
        rules = {name_rule(text, None)}
        if name in CHAINS and len(text) > MAX_QUERY_BYTES - 100:
            rules |= {name_rule(text, ("a",)), name_tool_fault(text)}
        print(f"{name}, {len(text)} bytes:", *sorted(rules), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "main":
        read_all()
    else:
        threading.stack_size(int(sys.argv[1]) * 1024)
        reading = threading.Thread(target=read_all)
        reading.start()
        reading.join()
