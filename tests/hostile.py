"""Hostile values: SQL, templates, shell, paths, options and signs that programs stumble over."""

from __future__ import annotations

SQL = (
    "'", '"', "''", "';", "'; drop table canary; --", '"; drop table canary; --', "' or '1'='1",
    "') or 1=1 --", "1; delete from canary", "x' union select * from canary --", "/* x */", "-- x",
    "'/**/or/**/1=1", "\\'; drop table canary; --", "\u2019; drop table canary; --",
    "\u02bc or 1=1 --", "\uff07; drop table canary; --", "%s", "%(x)s", "%%", "?", "? ?", "$1",
    ":x", "$$", "$t$x$t$", "`x`", "[x]", "\\copy canary to 'stolen'", "copy canary to 'stolen.csv'",
    "'; copy canary to 'stolen.csv'; --", "'; attach 'stolen.db' as s; --",
    "'; install httpfs; load httpfs; --", "'; export database 'stolen'; --",
    "'; set enable_external_access = true; --", "from read_text('canary.txt')",
    "read_csv('canary.txt')", "'; create table stolen (x int); --",
    "'; insert into canary values (9); --", "'; update canary set x = 9; --",
    "'; alter table canary add column y int; --", "'; select pg_sleep(9); --",
    "'; create role stolen superuser; --", "lo_import('canary.txt')", "x'; commit; drop schema ops; --",
)  # fmt: skip
TEMPLATES = (
    "{{ 7 * 7 }}", "{% set x = 1 %}", "{{ env_var('TIDEMARK_HASH_KEYS') }}",
    "{{ run_query('drop table canary') }}", "{# x #}", "{{", "}}", "{%", "{0}", "{x!r}",
    "{{ modules.os.system('touch stolen') }}", "{{ ''.__class__.__mro__ }}", "${x}",
)  # fmt: skip
SHELL = (
    "$(touch stolen)", "`touch stolen`", "; touch stolen", "| touch stolen", "&& touch stolen",
    "> stolen", "< canary.txt", "$HOME", "!!", "*", "~", "x\ntouch stolen", "x\r\ntouch stolen",
    "\\", "\\n", "a b", "--x", "-x", "--out=stolen", "--full-refresh", "@canary.txt",
)  # fmt: skip
PATHS = (
    "../canary.txt", "../../nowhere/x", "file:///nowhere", "http://127.0.0.1:9/x", "s3://x/y",
    "postgresql://x:y@127.0.0.1:9/z", "C:\\x", "\\\\host\\share", "x/../../canary.txt",
)  # fmt: skip
SIGNS = (
    "\u202ex", "\ufeffx", "x\u2028y", "\x1b[31mred", "\x07", "\t", " ", "\U0001d7d7", "\udcff",
    "a" * 10_000, "9" * 400, "null", "1e999", "NaN", "0x10", '{"x": 1}', "[]", "\x7f",
)  # fmt: skip
HOSTILE = (*SQL, *TEMPLATES, *SHELL, *PATHS, *SIGNS)

#: Some of each kind: where a number is wanted, few values come further than a parser.
FEW = HOSTILE[4::9]
