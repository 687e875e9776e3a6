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

{#- The median of expressions of one row, those that are null left out; null when all are. -#}
{% macro median_of(expressions) -%}
    {{ adapter.dispatch('median_of', 'tidemark')(expressions) }}
{%- endmacro %}

{% macro duckdb__median_of(expressions) -%}
    list_median([{{ expressions | join(', ') }}])
{%- endmacro %}

{% macro postgres__median_of(expressions) -%}
    (
        select percentile_cont(0.5) within group (order by listed.value)
        from unnest(array[{{ expressions | join(', ') }}]) as listed (value)
    )
{%- endmacro %}
