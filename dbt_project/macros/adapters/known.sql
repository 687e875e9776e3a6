{#-
    The first (last) value that is not null among the rows of a window of events of `alias`, which
    is ordered by the order of events. Postgres cannot leave out nulls: there the place of the
    event stands in front of the value, and the smallest (largest) text has it.
-#}
{% macro first_known(value, alias, window) -%}
    {{ adapter.dispatch('first_known', 'tidemark')(value, alias, window) }}
{%- endmacro %}

{% macro duckdb__first_known(value, alias, window) -%}
    first_value({{ value }} ignore nulls) over {{ window }}
{%- endmacro %}

{% macro postgres__first_known(value, alias, window) -%}
    {{ postgres_behind_place('min', value, alias, window) }}
{%- endmacro %}

{% macro last_known(value, alias, window) -%}
    {{ adapter.dispatch('last_known', 'tidemark')(value, alias, window) }}
{%- endmacro %}

{% macro duckdb__last_known(value, alias, window) -%}
    last_value({{ value }} ignore nulls) over {{ window }}
{%- endmacro %}

{% macro postgres__last_known(value, alias, window) -%}
    {{ postgres_behind_place('max', value, alias, window) }}
{%- endmacro %}

{% macro postgres_behind_place(function, value, alias, window) -%}
    {%- set placed -%}
        {{ function }}(({{ event_place(alias) }} || '|' || {{ value }}) collate "C") over {{ window }}
    {%- endset -%}
    substr({{ placed }}, strpos({{ placed }}, '|') + 1)
{%- endmacro %}
