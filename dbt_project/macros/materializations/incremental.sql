{#-
    How a windowed model is stored, in place of dbt's own: after the pre-hook has emptied the
    window, its rows are inserted where they belong. dbt would write them twice (a temporary table
    first) and ask for the columns of both four times; half of what a small model costs.

    A model with a `unique_key` is replaced by key, over a temporary table, as dbt does it. New
    columns of the contract are added first; a table that is not there, and a full refresh, are created
    as the contract says. What follows the pre-hooks is one transaction.
-#}

{% materialization incremental, adapter='duckdb' -%}
    {{ return(windowed_materialization()) }}
{%- endmaterialization %}

{% materialization incremental, adapter='postgres' -%}
    {{ return(windowed_materialization()) }}
{%- endmaterialization %}

{% macro windowed_materialization() -%}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set made_anew = existing is none or existing.is_view or should_full_refresh() -%}
    {%- set by_key = config.get('unique_key') is not none -%}
    {%- if config.get('incremental_strategy') != ('delete+insert' if by_key else 'append') -%}
        {{ exceptions.raise_compiler_error(
            model.name ~ ": incremental_strategy is append, or delete+insert with a unique_key"
        ) }}
    {%- endif -%}
    {%- set dropped = [] -%}
    {%- set columns = none if made_anew else columns_to_fill(target) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if existing is none -%}
        {%- call statement('main') -%}{{ get_create_table_as_sql(False, target, sql) }}{%- endcall -%}
    {%- elif made_anew -%}
        {%- set fresh = make_intermediate_relation(target) -%}
        {%- set before = make_backup_relation(target, existing.type) -%}
        {%- do drop_relation_if_exists(load_cached_relation(fresh)) -%}
        {%- do drop_relation_if_exists(load_cached_relation(before)) -%}
        {%- call statement('main') -%}{{ get_create_table_as_sql(False, fresh, sql) }}{%- endcall -%}
        {%- do adapter.rename_relation(existing, before) -%}
        {%- do adapter.rename_relation(fresh, target) -%}
        {%- do dropped.append(before) -%}
    {%- else -%}
        {%- if by_key -%}
            {%- set rows = make_temp_relation(target) -%}
            {%- do run_query(get_create_table_as_sql(True, rows, sql)) -%}
            {%- set key = config.get('unique_key') -%}
            {%- call statement('deleted') -%}
                delete from {{ target }}
                where ({{ key | join(', ') }}) in (select {{ key | join(', ') }} from {{ rows }})
            {%- endcall -%}
            {%- call statement('main') -%}
                insert into {{ target }} ({{ columns }}) select {{ columns }} from {{ rows }}
            {%- endcall -%}
            {%- do adapter.drop_relation(rows) -%}
        {%- else -%}
            {%- call statement('main') -%}
                insert into {{ target }} ({{ columns }})
                select {{ columns }} from (
                    {{ sql }}
                ) as appended
            {%- endcall -%}
        {%- endif -%}
    {%- endif -%}

    {%- if made_anew -%}
        {%- do create_indexes(target) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {%- for relation in dropped -%}
        {%- do adapter.drop_relation(relation) -%}
    {%- endfor -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmacro %}

{#- Names of the columns to insert, those of the contract; adds to the table what it lacks. -#}
{% macro columns_to_fill(target) -%}
    {%- set there = get_columns_in_relation(target) | map(attribute='name') | list -%}
    {%- if not config.get('contract').enforced -%}
        {{ return(there | map('tojson') | join(', ')) }}
    {%- endif -%}
    {%- set lacking = model['columns'].values() | rejectattr('name', 'in', there) | list -%}
    {%- for column in lacking -%}
        {%- call statement('add_' ~ column['name']) -%}
            alter table {{ target }} add column "{{ column['name'] }}" {{ column['data_type'] }}
        {%- endcall -%}
    {%- endfor -%}
    {#- In a transaction of their own: DuckDB fills no table that the same one has altered. -#}
    {%- if lacking -%}
        {%- do adapter.commit() -%}
    {%- endif -%}
    {{ return(model['columns'].values() | map(attribute='name') | map('tojson') | join(', ')) }}
{%- endmacro %}
