"""The functions of SQLite that queries may call: those that compute. Runs nothing.

Left out on purpose are those that reach beyond the query (load_extension, fts3_tokenizer, sqlite_log), that change
something (optimize of full-text tables, rtreecheck reads all) or that tell of the library and the machine.
"""

from __future__ import annotations

from typing import Final

_CORE: Final = """
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil ceiling changes char coalesce concat concat_ws cos
    cosh count cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value
    floor format glob group_concat hex highlight if ifnull iif instr julianday lag last_insert_rowid last_value lead
    length like likelihood likely ln log log10 log2 lower ltrim match matchinfo max median min mod nth_value ntile
    nullif octet_length offsets percent_rank percentile percentile_cont percentile_disc pi pow power printf quote
    radians random randomblob rank regexp replace round row_number rtrim sign sin sinh snippet soundex sqrt
    string_agg strftime subtype substr substring sum tan tanh time timediff total total_changes trim trunc typeof
    unhex unicode unistr unistr_quote unixepoch unlikely upper zeroblob
"""
_JSON: Final = """
    json json_array json_array_insert json_array_length json_error_position json_extract json_group_array
    json_group_object json_insert json_object json_patch json_pretty json_quote json_remove json_replace json_set
    json_type json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object
    jsonb_insert jsonb_object jsonb_patch jsonb_remove jsonb_replace jsonb_set
"""
_SHAPES: Final = """
    geopoly_area geopoly_bbox geopoly_blob geopoly_ccw geopoly_contains_point geopoly_group_bbox geopoly_json
    geopoly_overlap geopoly_regular geopoly_svg geopoly_within geopoly_xform
"""

ALLOWED_FUNCTIONS: Final = frozenset(f"{_CORE} {_JSON} {_SHAPES}".split())

ALWAYS_THERE: Final = frozenset(
    {
        "bytecode",
        "carray",
        "completion",
        "dbstat",
        "fts3tokenize",
        "fts5vocab",
        "generate_series",
        "tables_used",
    }
)
"""Tables that the library has in every database, and that no query reads, besides ``sqlite_…`` and ``pragma_…``."""

TABLE_FUNCTIONS: Final = frozenset({"json_each", "json_tree", "jsonb_each", "jsonb_tree"})
"""Functions that stand for a table."""
