"""The functions that a query may call: PostgreSQL built-ins that only compute. Everything else is refused.

Left out on purpose, beside the plainly dangerous: ``ts_rewrite`` and ``ts_stat`` (they run a query given as
text), the XML family (``query_to_xml`` and the like), ``current_setting``, sequences, advisory locks,
and everything that begins with ``pg_`` apart from the few named below.
"""

from __future__ import annotations

import re
from typing import Final

_AGGREGATES: Final = """
any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp cume_dist
dense_rank every first_value json_agg json_agg_strict json_object_agg json_object_agg_strict
json_object_agg_unique json_object_agg_unique_strict jsonb_agg jsonb_agg_strict jsonb_object_agg
jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict lag last_value lead max min
mode nth_value ntile percent_rank percentile_cont percentile_disc range_agg range_intersect_agg rank
regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy row_number
stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance
"""

_MATHS: Final = """
abs acos acosd acosh asin asind asinh atan atan2 atan2d atand atanh cbrt ceil ceiling cos cosd cosh cot cotd
degrees div erf erfc exp factorial floor gamma gcd lcm lgamma ln log log10 min_scale mod pi pow power radians
random random_normal round scale sign sin sind sinh sqrt tan tand tanh trim_scale trunc width_bucket
"""

_STRINGS: Final = """
ascii bit_count bit_length btrim casefold char_length character_length chr concat concat_ws convert
convert_from convert_to crc32 crc32c decode encode format get_bit get_byte initcap is_normalized left length
like like_escape lower lpad ltrim md5 normalize notlike octet_length overlay parse_ident position
quote_ident quote_literal quote_nullable regexp_count regexp_instr regexp_like regexp_match regexp_matches
regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right rpad
rtrim set_bit set_byte sha224 sha256 sha384 sha512 similar_escape similar_to_escape split_part starts_with
string_to_array string_to_table strpos substr substring to_ascii to_bin to_hex to_oct translate
unicode_assigned unistr upper
"""

_DATES: Final = """
age clock_timestamp date_add date_bin date_part date_subtract date_trunc extract isfinite justify_days
justify_hours justify_interval make_date make_interval make_time make_timestamp make_timestamptz now overlaps
statement_timestamp timeofday timezone to_char to_date to_number to_timestamp transaction_timestamp
"""

_JSON: Final = """
array_to_json json_array_elements json_array_elements_text json_array_length json_build_array
json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object
json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
json_to_recordset json_typeof jsonb_array_elements jsonb_array_elements_text jsonb_array_length
jsonb_build_array jsonb_build_object jsonb_concat jsonb_contains jsonb_delete jsonb_delete_path jsonb_each
jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any jsonb_extract_path jsonb_extract_path_text
jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists jsonb_path_exists_tz jsonb_path_match
jsonb_path_match_tz jsonb_path_query jsonb_path_query_array jsonb_path_query_array_tz
jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record
jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax
jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
"""

_ARRAYS_AND_SETS: Final = """
array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position
array_positions array_prepend array_remove array_replace array_reverse array_sample array_shuffle array_sort
array_to_string array_upper cardinality enum_first enum_last enum_range generate_series generate_subscripts
num_nonnulls num_nulls trim_array unnest
"""

_RANGES: Final = """
datemultirange daterange int4multirange int4range int8multirange int8range isempty lower_inc lower_inf
multirange nummultirange numrange range_merge tsmultirange tsrange tstzmultirange tstzrange upper_inc
upper_inf
"""

_GEOMETRY_AND_NETWORK: Final = """
abbrev area bound_box box broadcast center circle diagonal diameter family height host hostmask inet_merge
inet_same_family isclosed ishorizontal isopen isparallel isperp isvertical line lseg macaddr8_set7bit masklen
netmask network npoints path pclose point polygon popen radius set_masklen slope width
"""

_TEXT_SEARCH: Final = """
array_to_tsvector json_to_tsvector jsonb_to_tsvector numnode phraseto_tsquery
plainto_tsquery querytree setweight strip to_tsquery to_tsvector ts_delete ts_filter ts_headline ts_rank
ts_rank_cd tsquery_phrase tsvector_to_array websearch_to_tsquery
"""

_CASTS: Final = """
bit bool bpchar bytea char cidr date float4 float8 int2 int4 int8 interval macaddr macaddr8
money name numeric oid text time timestamp timestamptz timetz varbit varchar
"""

_OTHERS: Final = """
current_database current_schema current_schemas current_user
gen_random_uuid hashtext hashtextextended inet_server_port pg_column_size pg_size_pretty pg_typeof
session_user uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7 version
"""

ALLOWED_FUNCTIONS: Final[frozenset[str]] = frozenset(
    " ".join(
        (
            _AGGREGATES,
            _MATHS,
            _STRINGS,
            _DATES,
            _JSON,
            _ARRAYS_AND_SETS,
            _RANGES,
            _GEOMETRY_AND_NETWORK,
            _TEXT_SEARCH,
            _CASTS,
            _OTHERS,
        )
    ).split()
)
"""Names as PostgreSQL stores them (lower case), valid unqualified or in ``pg_catalog``."""

_CATALOG_NAMES: Final = """
regclass regcollation regconfig regdatabase regdictionary regnamespace regoper regoperator regproc
regprocedure regrole regtype
"""
CATALOG_NAME_TYPES: Final[frozenset[str]] = frozenset(
    name for base in _CATALOG_NAMES.split() for name in (base, f"_{base}")
)
"""Types that turn a number into a name of the catalog (tables, roles, functions …), and their arrays."""

_NEVER: Final = re.compile(
    r"pg_.*|lo_.*|loread|lowrite|dblink.*|.*_to_xml.*|set_config|current_setting|setseed"
    r"|nextval|setval|currval|lastval|ts_stat|ts_rewrite|binary_upgrade_.*|current_query"
    rf"|(to_)?_?({'|'.join(_CATALOG_NAMES.split())})"
)


def is_never_allowed(name: str) -> bool:
    """Whether not even an admin's list of additional functions may hold this name."""
    return name not in ALLOWED_FUNCTIONS and _NEVER.fullmatch(name) is not None
