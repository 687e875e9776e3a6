{#- Where the engines differ. Nothing outside this folder asks which engine it runs on. -#}

{#- Whole milliseconds from one timestamp to another. -#}
{% macro milliseconds_between(earlier, later) -%}
    {{ adapter.dispatch('milliseconds_between', 'tidemark')(earlier, later) }}
{%- endmacro %}

{% macro duckdb__milliseconds_between(earlier, later) -%}
    (epoch_ms({{ later }}) - epoch_ms({{ earlier }}))
{%- endmacro %}

{% macro postgres__milliseconds_between(earlier, later) -%}
    cast(extract(epoch from ({{ later }}) - ({{ earlier }})) * 1000 as bigint)
{%- endmacro %}

{#- In a select list: one row per date from the first to the last, both included. -#}
{% macro each_date(first_date, last_date) -%}
    {{ adapter.dispatch('each_date', 'tidemark')(first_date, last_date) }}
{%- endmacro %}

{% macro duckdb__each_date(first_date, last_date) -%}
    cast(unnest(generate_series(
        cast({{ first_date }} as timestamp), cast({{ last_date }} as timestamp), interval '1 day'
    )) as date)
{%- endmacro %}

{% macro postgres__each_date(first_date, last_date) -%}
    cast(generate_series(
        cast({{ first_date }} as timestamp), cast({{ last_date }} as timestamp), interval '1 day'
    ) as date)
{%- endmacro %}

{#- Text in the order of its bytes. DuckDB has no other; Postgres sorts by locale unless told. -#}
{% macro byte_order(expression) -%}
    {{ adapter.dispatch('byte_order', 'tidemark')(expression) }}
{%- endmacro %}

{% macro duckdb__byte_order(expression) -%}
    {{ expression }}
{%- endmacro %}

{% macro postgres__byte_order(expression) -%}
    {{ expression }} collate "C"
{%- endmacro %}

{#-
    Value of the config `indexes`: one b-tree per list of columns. DuckDB gets none: it finds rows
    by the ranges of its row groups, and an index would slow every append.
-#}
{% macro btree(column_lists) -%}
    {{ return(adapter.dispatch('btree', 'tidemark')(column_lists)) }}
{%- endmacro %}

{% macro duckdb__btree(column_lists) -%}
    {{ return([]) }}
{%- endmacro %}

{% macro postgres__btree(column_lists) -%}
    {%- set indexes = [] -%}
    {%- for columns in column_lists -%}
        {%- do indexes.append({'columns': columns, 'type': 'btree'}) -%}
    {%- endfor -%}
    {{ return(indexes) }}
{%- endmacro %}

{#-
    Post-hook of intermediate models: the models that follow in the same run would otherwise be
    planned as if the table were still empty. A day that is added to a year tells the planner
    nothing new, and reading a sample of a table costs what many a model does.
-#}
{% macro refresh_statistics() -%}
    {{ adapter.dispatch('refresh_statistics', 'tidemark')() }}
{%- endmacro %}

{% macro duckdb__refresh_statistics() -%}
{%- endmacro %}

{% macro postgres__refresh_statistics() -%}
    do $statistics$
    begin
        if (
            select
                reltuples < 0
                or pg_stat_get_mod_since_analyze(oid)
                + pg_stat_get_xact_tuples_inserted(oid)
                + pg_stat_get_xact_tuples_deleted(oid) > 0.1 * reltuples
            from pg_class
            where oid = to_regclass('{{ this }}')
        ) then
            analyze {{ this }};
        end if;
    end
    $statistics$
{%- endmacro %}

{#- A whole number that stands for a key of some type: 60 bits of their md5, the same everywhere. -#}
{% macro key_hash(type, key) -%}
    {{ adapter.dispatch('key_hash', 'tidemark')(type, key) }}
{%- endmacro %}

{% macro duckdb__key_hash(type, key) -%}
    cast('0x' || left(md5({{ type }} || ':' || {{ key }}), 15) as bigint)
{%- endmacro %}

{% macro postgres__key_hash(type, key) -%}
    cast(cast('x' || left(md5({{ type }} || ':' || {{ key }}), 15) as bit(60)) as bigint)
{%- endmacro %}
