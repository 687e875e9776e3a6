{#- The value of the column of a row whose name is data, as a double; null when there is none. -#}
{% macro number_named(alias, name) -%}
    {{ adapter.dispatch('number_named', 'tidemark')(alias, name) }}
{%- endmacro %}

{% macro duckdb__number_named(alias, name) -%}
    cast(json_extract_string(to_json({{ alias }}), {{ name }}) as double precision)
{%- endmacro %}

{% macro postgres__number_named(alias, name) -%}
    cast(to_jsonb({{ alias }}) ->> {{ name }} as double precision)
{%- endmacro %}
