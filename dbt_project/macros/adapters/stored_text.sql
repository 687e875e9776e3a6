{#-
    A text of raw.events as tables of dbt hold it. On Postgres raw.events sorts by bytes and they by
    the default; a comparison of the two would leave the index of a table of dbt unused.
-#}
{% macro stored_text(expression) -%}
    {{ adapter.dispatch('stored_text', 'tidemark')(expression) }}
{%- endmacro %}

{% macro duckdb__stored_text(expression) -%}
    {{ expression }}
{%- endmacro %}

{% macro postgres__stored_text(expression) -%}
    {{ expression }} collate "default"
{%- endmacro %}
