{#-
    The value of a group at its first (last) position among the rows where a condition holds; null
    where that row has null, and where there is no such row.
-#}
{% macro first_by(value, position, condition='true') -%}
    {{ adapter.dispatch('first_by', 'tidemark')(value, position, condition) }}
{%- endmacro %}

{% macro duckdb__first_by(value, position, condition) -%}
    arg_min_null({{ value }}, {{ position }}) filter (where {{ condition }})
{%- endmacro %}

{% macro postgres__first_by(value, position, condition) -%}
    (array_agg({{ value }} order by {{ position }}) filter (where {{ condition }}))[1]
{%- endmacro %}

{% macro last_by(value, position, condition='true') -%}
    {{ adapter.dispatch('last_by', 'tidemark')(value, position, condition) }}
{%- endmacro %}

{% macro duckdb__last_by(value, position, condition) -%}
    arg_max_null({{ value }}, {{ position }}) filter (where {{ condition }})
{%- endmacro %}

{% macro postgres__last_by(value, position, condition) -%}
    (array_agg({{ value }} order by {{ position }} desc) filter (where {{ condition }}))[1]
{%- endmacro %}
