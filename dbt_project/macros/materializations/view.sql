{#-
    How a view is stored, in place of dbt's own: what has its name goes and it is made, in one
    transaction. dbt would make it beside, rename both and drop the old one: six statements.
-#}

{% materialization view, adapter='duckdb' -%}
    {{ return(replaced_view()) }}
{%- endmaterialization %}

{% materialization view, adapter='postgres' -%}
    {{ return(replaced_view()) }}
{%- endmaterialization %}

{% macro replaced_view() -%}
    {%- set target = this.incorporate(type='view') -%}
    {%- set existing = load_cached_relation(this) -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- call statement('main') -%}
        {%- if existing is not none -%}
            drop {{ 'view' if existing.is_view else 'table' }} {{ existing }} cascade;
        {% endif -%}
        {{ get_create_view_as_sql(target, sql) }}
    {%- endcall -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do adapter.commit() -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmacro %}
