{#-
    Schemas carry the plain names of dbt_project.yml, without a prefix. On Postgres marts are
    written to `build`; the tables of `marts` belong to the publisher (docs/decisions.md 6).
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ adapter.dispatch('schema_name', 'tidemark')((custom_schema_name or target.schema) | trim) }}
{%- endmacro %}

{% macro default__schema_name(name) -%}
    {{ name }}
{%- endmacro %}

{% macro postgres__schema_name(name) -%}
    {{ 'build' if name == 'marts' else name }}
{%- endmacro %}
