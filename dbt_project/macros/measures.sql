{#-
    What marts count, add, divide and average, with the types that both engines share: counts and
    sums are bigint and 0 where there is nothing; everything divided is a double and null where
    there is nothing.
-#}

{% macro count_where(condition) -%}
    count(*) filter (where {{ condition }})
{%- endmacro %}

{% macro count_distinct_where(column, condition) -%}
    count(distinct {{ column }}) filter (where {{ condition }})
{%- endmacro %}

{#-
    A sum of integers; both engines widen sums, each to a type of its own. One that passes 64 bits
    is held at their end: a single event with an absurd amount must not stop every run.
-#}
{% macro as_total(widened) -%}
    cast(
        {{ held_within('-9223372036854775807', '9223372036854775807', 'coalesce(' ~ widened ~ ', 0)') }}
        as bigint
    )
{%- endmacro %}

{% macro total(expression) -%}
    {{ as_total('sum(' ~ expression ~ ')') }}
{%- endmacro %}

{% macro total_where(expression, condition) -%}
    {{ as_total('sum(' ~ expression ~ ') filter (where ' ~ condition ~ ')') }}
{%- endmacro %}

{#- What the groups of a window add up to so far. -#}
{% macro running_total(expression, window) -%}
    {{ as_total('sum(sum(' ~ expression ~ ')) over ' ~ window) }}
{%- endmacro %}

{#- The only division of the project. -#}
{% macro rate(numerator, denominator) -%}
    cast({{ numerator }} as double precision)
    / nullif(cast({{ denominator }} as double precision), 0)
{%- endmacro %}

{#-
    Continuous percentile (linear interpolation); nulls are left out. The 50th and the 95th, which
    tables show together, are taken of one list, so that both engines order the values once.
-#}
{% macro percentile(expression, fraction) -%}
    {%- set together = [0.5, 0.95] -%}
    {%- if fraction in together -%}
    cast((
        percentile_cont(array{{ together }}) within group (order by {{ expression }})
    )[{{ together.index(fraction) + 1 }}] as double precision)
    {%- else -%}
    cast(
        percentile_cont({{ fraction }}) within group (order by {{ expression }}) as double precision
    )
    {%- endif -%}
{%- endmacro %}

{#-
    Durations are kept in whole milliseconds until the last step: sums of integers do not depend on
    the order of rows, so that a rebuild gives the same average to the last bit.
-#}
{% macro average_seconds(milliseconds) -%}
    {{ rate('sum(' ~ milliseconds ~ ')', 'count(' ~ milliseconds ~ ') * 1000') }}
{%- endmacro %}

{% macro percentile_seconds(milliseconds, fraction) -%}
    {{ rate(percentile(milliseconds, fraction), 1000) }}
{%- endmacro %}
