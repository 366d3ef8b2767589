"""Reads a query with PostgreSQL's own parser and refuses what Marina does not run: the second layer of safety.

The first layer is the role's privileges and a read-only transaction; this one runs nothing and asks no
server. It denies by default: statement kinds, node kinds and functions are lists of what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from pglast import ast

from core.errors import SourceError
from servers.execution.backends.postgres.functions import (
    ALLOWED_FUNCTIONS,
    CATALOG_NAME_TYPES,
    is_never_allowed,
)
from servers.execution.backends.postgres.placeholders import Rewritten, find_placeholders, rewrite
from servers.execution.backends.postgres.syntax import Unreadable, parse_statements, scan_tokens
from servers.execution.backends.postgres.tables import Part, TableUse, locate_tables, offset_before

MAX_QUERY_BYTES: Final = 65_536
MAX_DEPTH: Final = 400
"""Deepest nesting of the parse tree. A chain ``a + b + c …`` nests once for each operator."""

_NODE_NAMES: Final = """
    A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star Alias BitString BoolExpr Boolean BooleanTest
    CTECycleClause CTESearchClause CaseExpr CaseWhen CoalesceExpr CollateClause ColumnDef ColumnRef
    CommonTableExpr Float FuncCall GroupingFunc GroupingSet Integer JoinExpr JsonAggConstructor
    JsonArgument JsonArrayAgg JsonArrayConstructor JsonArrayQueryConstructor JsonBehavior JsonFormat
    JsonFuncExpr JsonIsPredicate JsonKeyValue JsonObjectAgg JsonObjectConstructor JsonOutput
    JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTable JsonTableColumn
    JsonTablePathSpec JsonValueExpr MinMaxExpr NamedArgExpr NullTest ParamRef RangeFunction
    RangeSubselect RangeTableSample RangeVar ResTarget RowExpr SQLValueFunction SelectStmt SortBy String
    SubLink TypeCast TypeName WindowDef WithClause
"""
ALLOWED_NODES: Final[frozenset[str]] = frozenset(_NODE_NAMES.split())
"""Classes of pglast's tree that may occur anywhere in a query."""

_NESTED: Final = (
    f"The query is nested more than {MAX_DEPTH} levels deep. Simplify it: fewer parentheses, sub-queries, "
    "UNIONs and operators in one chain. IN (…) holds long lists."
)
SYSTEM_SCHEMAS: Final = ("pg_catalog", "information_schema")
_SAMPLING: Final = frozenset({"system", "bernoulli"})
_EXPLAIN_OPTIONS: Final = frozenset({"verbose", "costs", "format", "summary"})

_STATEMENT_WORDS: Final[Mapping[str, str]] = {
    "InsertStmt": "INSERT",
    "UpdateStmt": "UPDATE",
    "DeleteStmt": "DELETE",
    "MergeStmt": "MERGE",
    "TruncateStmt": "TRUNCATE",
    "CopyStmt": "COPY",
    "DoStmt": "DO",
    "CallStmt": "CALL",
    "VariableSetStmt": "SET",
    "VariableShowStmt": "SHOW",
    "TransactionStmt": "a transaction command",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "ExplainStmt": "EXPLAIN inside another statement",
    "PrepareStmt": "PREPARE",
    "ExecuteStmt": "EXECUTE",
    "DeclareCursorStmt": "DECLARE",
    "LockStmt": "LOCK",
    "NotifyStmt": "NOTIFY",
    "ListenStmt": "LISTEN",
    "VacuumStmt": "VACUUM or ANALYZE",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a source allows beyond the built-in rules.

    ``schemas`` empty: every schema but PostgreSQL's own. ``functions``: additional ones, ``name`` or
    ``schema.name``; None: any that is not forbidden for good (used when a tool is saved, before its
    source's settings are known). ``confined``: which tables a query names is to be found out, as not all of
    them may be read as they are.
    """

    schemas: tuple[str, ...] = ()
    functions: frozenset[str] | None = frozenset()
    confined: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """What is bound to one ``$n``: the parameter ``key``; ``typed`` when PostgreSQL cannot infer its type."""

    key: str | int
    typed: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A checked query, ready to run. ``explain`` statements run as they are, others through a cursor.

    ``attributes`` holds the names used as ``x.name``: PostgreSQL reads them as function calls when there
    is no such column, so they are compared with the functions of the source's server before it runs. ``tables`` are
    those that a confined source's query names; ``replaced`` are parts of ``sql`` that are Marina's own.
    """

    sql: str
    explain: bool
    slots: tuple[Slot, ...]
    attributes: frozenset[str]
    rewritten: Rewritten | None = None
    tables: tuple[TableUse, ...] = ()
    replaced: tuple[Part, ...] = ()

    def locate(self, position: int) -> int | None:
        """The 1-based position in the caller's text of a 1-based position in ``sql``; None when outside."""
        if not 1 <= position <= len(self.sql) + 1:  # PostgreSQL points behind the last character at times
            return None
        if self.replaced:
            position = offset_before(self.replaced, position - 1) + 1
        if self.rewritten is None:
            return position
        return self.rewritten.original_offset(position - 1) + 1


def read_statement(
    sql: str, policy: Policy, *, names: Collection[str] | None = None, walk: type[Walk] | None = None
) -> Statement:
    """Parse and check one query, by the rules of ``walk`` (those of a query that reads).

    With ``names``, ``:name`` placeholders of these names are its parameters, otherwise ``$1``, ``$2`` … are.

    Raises ``SourceError``: ``query_invalid`` for a syntax error, ``query_refused`` with ``data.rule``.
    """
    _check_text(sql)
    walk = walk or Walk
    if names is None:
        try:
            checked = _check(sql, walk(policy, lambda offset: offset))
        except Unreadable as fault:
            raise _translate(fault, lambda offset: offset) from None
        count = max(checked.parameters.values(), default=0)
        slots = tuple(Slot(index) for index in range(count))
        return Statement(
            _without_semicolon(sql),
            checked.explain,
            slots,
            frozenset(checked.attributes),
            tables=locate_tables(sql) if policy.confined else (),
        )
    try:
        occurrences = find_placeholders(sql, declared=names)
    except Unreadable as fault:
        raise _translate(fault, lambda offset: offset) from None
    # Each occurrence gets a number of its own at first, so that the tree can tell them apart.
    draft = rewrite(sql, occurrences, lambda index: index + 1)
    try:
        checked = _check(draft.sql, walk(policy, draft.original_offset))
    except Unreadable as fault:
        if fault.rule is None:
            _refuse_missing(sql, names)
        raise _translate(fault, draft.original_offset) from None
    for offset in checked.parameters.keys() - set(draft.starts):
        refuse(
            "sql.parameters",
            "The query mixes $n with named parameters. Use :name for all of them.",
            draft.original_offset(offset),
        )
    wanted = [
        Slot(occurrence.name, typed=start in checked.lonely)
        for occurrence, start in zip(occurrences, draft.starts, strict=True)
    ]
    slots = tuple(dict.fromkeys(wanted))
    final = rewrite(sql, occurrences, lambda index: slots.index(wanted[index]) + 1)
    return Statement(
        _without_semicolon(final.sql),
        checked.explain,
        slots,
        frozenset(checked.attributes),
        final,
        tables=locate_tables(final.sql) if policy.confined else (),
    )


def _without_semicolon(sql: str) -> str:
    """The text of a single statement up to its semicolon, so that it can stand inside parentheses."""
    if ";" not in sql:
        return sql
    return next((sql[: token.start] for token in scan_tokens(sql) if token.name == "ASCII_59"), sql)


def refuse_attribute(name: str) -> NoReturn:
    """Refuse ``x.name`` where ``name`` is a function of the server that queries may not call."""
    refuse(
        "sql.function",
        f"PostgreSQL may read .{name} as a call of the function {name}, which is not allowed here. "
        f"If {name} is a column, write it without the table's name before it.",
        None,
    )


@dataclass(slots=True)
class Checked:
    """What one walk over a tree found. ``parameters``: offset → number; ``lonely``: offsets of ``$n IS NULL``."""

    explain: bool = False
    attributes: set[str] = field(default_factory=set)
    parameters: dict[int, int] = field(default_factory=dict)
    lonely: set[int] = field(default_factory=set)


def _check_text(sql: str) -> None:
    if "\x00" in sql or any("\ud800" <= character <= "\udfff" for character in sql if character > "\ud7ff"):
        refuse(
            "sql.text", "The query holds a character that PostgreSQL cannot take (NUL or half a pair).", None
        )
    if len(sql.encode()) > MAX_QUERY_BYTES:
        refuse("sql.length", f"The query is longer than {MAX_QUERY_BYTES} bytes. Make it shorter.", None)


def _check(sql: str, walk: Walk) -> Checked:
    statements = parse_statements(sql)
    if not statements:
        raise SourceError("The query is empty. Write one SELECT statement.", code="query_invalid")
    if len(statements) > 1:
        refuse(
            "sql.single",
            "The query holds more than one statement. Send one at a time.",
            walk.original(statements[1].stmt_location),
        )
    walk.run(walk.begin(statements[0].stmt))
    return walk.found


def _explained(statement: Any) -> Any:
    for option in statement.options or ():
        if option.defname not in _EXPLAIN_OPTIONS:
            refuse(
                "sql.explain",
                f"EXPLAIN with {option.defname.upper()} is not allowed. Use plain EXPLAIN, which runs nothing.",
                None,
            )
    return statement.query


class Walk:
    """Visits every node of a tree without recursion: a deep tree must not exhaust Python's stack."""

    def __init__(self, policy: Policy, original: Callable[[int], int]) -> None:
        self.policy = policy
        self.original = original
        self.found = Checked()
        self.as_text: set[int] = set()
        """The ids of calls that stand in a cast to text. A node is visited before those below it."""

    def begin(self, root: Any) -> Any:
        """The node to walk from, of a statement that may run at all."""
        if isinstance(root, ast.ExplainStmt):
            self.found.explain = True
            root = _explained(root)
        if not isinstance(root, ast.SelectStmt):
            _refuse_statement(root, 0)
        return root

    def run(self, root: Any) -> None:
        waiting: list[tuple[Any, int]] = [(root, 1)]
        while waiting:
            node, depth = waiting.pop()
            if isinstance(node, tuple):
                waiting.extend((child, depth) for child in node)
            elif isinstance(node, ast.Node):
                if depth > MAX_DEPTH:
                    refuse("sql.nesting", _NESTED, self.place(node))
                self.visit(node)
                waiting.extend((child, depth + 1) for child in _children(node))

    def place(self, node: Any) -> int | None:
        location = getattr(node, "location", None)
        return self.original(location) if isinstance(location, int) and location >= 0 else None

    def visit(self, node: Any) -> None:
        kind = type(node).__name__
        check = _CHECKS.get(kind)
        if check is not None:
            check(self, node)
        elif kind not in ALLOWED_NODES:
            if kind.endswith("Stmt"):
                _refuse_statement(node, self.place(node))
            refuse("sql.construct", f"This SQL construct is not allowed here ({kind}).", self.place(node))

    def select(self, node: Any) -> None:
        if node.intoClause is not None:
            refuse(
                "sql.into", "SELECT INTO creates a table. Leave INTO out.", self.place(node.intoClause.rel)
            )
        if node.lockingClause:
            refuse("sql.locking", "FOR UPDATE and FOR SHARE lock rows. Leave the clause out.", None)

    def function(self, node: Any) -> None:
        names = [part.sval for part in node.funcname]
        name = names[-1]
        if name in CATALOG_NAME_TYPES:
            self.refuse_catalog_name(name, node)
        if name == "pg_typeof" and id(node) not in self.as_text:
            self.refuse_bare_typeof(node)
        if name in ALLOWED_FUNCTIONS and (len(names) == 1 or names[:-1] == ["pg_catalog"]):
            return
        if name == "pg_collation_for" or (name == "system_user" and len(names) == 2):
            return
        extra = self.policy.functions
        if not is_never_allowed(name) and (extra is None or name in extra or ".".join(names) in extra):
            return
        shown = ".".join(names)
        refuse(
            "sql.function",
            f"The function {shown} is not on the list of functions that queries may call. Use PostgreSQL's "
            "functions that only compute, or ask an admin to allow a function of your own database.",
            self.place(node),
        )

    def type_name(self, node: Any) -> None:
        name = node.names[-1].sval
        if name in CATALOG_NAME_TYPES:
            self.refuse_catalog_name(name, node)

    def cast(self, node: Any) -> None:
        type_, argument = node.typeName, node.arg
        plain_text = [part.sval for part in type_.names] in (["text"], ["pg_catalog", "text"])
        if plain_text and not type_.arrayBounds and isinstance(argument, ast.FuncCall):
            self.as_text.add(id(argument))

    def refuse_catalog_name(self, name: str, node: Any) -> NoReturn:
        refuse(
            "sql.construct",
            f"{name} would show names from PostgreSQL's catalog. Leave the cast out, or use list_tables "
            "and describe_table in its place.",
            self.place(node),
        )

    def attribute(self, name: str, node: Any) -> None:
        if name in CATALOG_NAME_TYPES:  # PostgreSQL reads (10).regrole as a cast
            self.refuse_catalog_name(name, node)
        if name == "pg_typeof":
            self.refuse_bare_typeof(node)
        self.found.attributes.add(name)

    def refuse_bare_typeof(self, node: Any) -> NoReturn:
        # It gives a regtype: beside one, in an array or a CASE, PostgreSQL makes numbers names of types too.
        refuse("sql.construct", "Write pg_typeof(…)::text, not pg_typeof(…) alone.", self.place(node))

    def table(self, node: Any) -> None:
        allowed = self.policy.schemas
        schema = node.schemaname
        if node.catalogname:
            refuse("sql.schema", "Leave the database name out: write schema.table.", self.place(node))
        if schema is None:
            if node.relname.startswith("pg_") and "pg_catalog" not in allowed:
                self.refuse_schema("pg_catalog", node)
        elif schema in SYSTEM_SCHEMAS or schema.startswith("pg_"):
            if schema not in allowed:
                self.refuse_schema(schema, node)
        elif allowed and schema not in allowed:
            self.refuse_schema(schema, node)

    def refuse_schema(self, schema: str, node: Any) -> NoReturn:
        allowed = ", ".join(self.policy.schemas)
        advice = f"Allowed: {allowed}." if allowed else "Use list_tables and describe_table in its place."
        refuse(
            "sql.schema", f"Tables of the schema {schema} may not be read here. {advice}", self.place(node)
        )

    def column(self, node: Any) -> None:
        last = node.fields[-1]
        if len(node.fields) > 1 and isinstance(last, ast.String):
            self.attribute(str(last.sval), node)

    def indirection(self, node: Any) -> None:
        for part in node.indirection:
            if isinstance(part, ast.String):
                self.attribute(str(part.sval), node)

    def operator(self, node: Any) -> None:
        for attribute in ("name", "operName", "useOp"):
            names = getattr(node, attribute, None) or ()
            if isinstance(names, tuple) and len(names) > 1 and names[0].sval != "pg_catalog":
                refuse("sql.operator", "OPERATOR(…) of another schema is not allowed here.", self.place(node))

    def null_test(self, node: Any) -> None:
        if isinstance(node.arg, ast.ParamRef):
            self.found.lonely.add(int(node.arg.location or 0))

    def parameter(self, node: Any) -> None:
        if not 1 <= node.number <= 100:
            refuse("sql.parameters", "Number the parameters from $1 to at most $100.", self.place(node))
        self.found.parameters[node.location] = node.number

    def sample(self, node: Any) -> None:
        if [part.sval for part in node.method][-1] not in _SAMPLING or len(node.method) > 1:
            refuse("sql.construct", "TABLESAMPLE takes SYSTEM or BERNOULLI only.", self.place(node))


_CHECKS: Final[Mapping[str, Callable[[Walk, Any], None]]] = {
    "SelectStmt": Walk.select,
    "FuncCall": Walk.function,
    "TypeCast": Walk.cast,
    "TypeName": Walk.type_name,
    "RangeVar": Walk.table,
    "ColumnRef": Walk.column,
    "A_Indirection": Walk.indirection,
    "A_Expr": Walk.operator,
    "SubLink": Walk.operator,
    "SortBy": Walk.operator,
    "NullTest": Walk.null_test,
    "ParamRef": Walk.parameter,
    "RangeTableSample": Walk.sample,
}


def _children(node: Any) -> Iterator[Any]:
    for attribute in node:
        child = getattr(node, attribute)
        if isinstance(child, tuple | ast.Node):
            yield child


def _refuse_statement(node: Any, offset: int | None) -> NoReturn:
    word = _STATEMENT_WORDS.get(type(node).__name__, "This statement")
    refuse(
        "sql.statement",
        f"{word[0].upper()}{word[1:]} is not allowed: queries here only read. Use SELECT, VALUES, TABLE or WITH.",
        offset,
    )


def refuse(rule: str, message: str, offset: int | None) -> NoReturn:
    """Raise ``SourceError`` for what is against a rule. ``offset``: 0-based, in the caller's text."""
    data: dict[str, Any] = {"rule": rule}
    if offset is not None:
        data["position"] = offset + 1
    raise SourceError(message, code="query_refused", data=data)


def _refuse_missing(sql: str, names: Collection[str]) -> None:
    """Name the placeholders without a parameter, if they are all that is wrong with the text."""
    occurrences = find_placeholders(sql)
    missing = {found.name: found.start for found in reversed(occurrences) if found.name not in names}
    if not missing:
        return
    try:
        parse_statements(rewrite(sql, occurrences, lambda index: index + 1).sql)
    except Unreadable:
        return
    shown = _join_names(f":{name}" for name in sorted(missing))
    given = f"params holds {_join_names(sorted(names))}" if names else "params is empty"
    raise SourceError(
        f"The query uses {shown}, but {given}. Give params a value for each :name of the query.",
        code="query_invalid",
        data={"rule": "sql.parameters", "missing": sorted(missing), "position": min(missing.values()) + 1},
    )


def _join_names(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:10]) + (" …" if len(listed) > 10 else "")


def _translate(fault: Unreadable, original: Callable[[int], int]) -> SourceError:
    if fault.rule is not None:
        message = _NESTED if fault.rule == "sql.nesting" else fault.message
        return SourceError(message, code="query_refused", data={"rule": fault.rule})
    text = fault.message[:500]
    data: dict[str, Any] = {"sqlstate": "42601"}
    message = f"PostgreSQL: {text}"
    if fault.offset is not None:
        data["position"] = original(fault.offset) + 1
        message += f" (at character {data['position']} of the query)"
    message += "."
    if text.endswith('near ":"'):
        message += " For :name give params as an object that holds the name."
    return SourceError(message, code="query_invalid", data=data)
