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

{#- A sum of integers; both engines widen sums, each to a type of its own. -#}
{% macro total(expression) -%}
    cast(coalesce(sum({{ expression }}), 0) as bigint)
{%- endmacro %}

{% macro total_where(expression, condition) -%}
    cast(coalesce(sum({{ expression }}) filter (where {{ condition }}), 0) as bigint)
{%- endmacro %}

{#- What the groups of a window add up to so far. -#}
{% macro running_total(expression, window) -%}
    cast(coalesce(sum(sum({{ expression }})) over {{ window }}, 0) as bigint)
{%- endmacro %}

{#- The only division of the project. -#}
{% macro rate(numerator, denominator) -%}
    cast({{ numerator }} as double precision)
    / nullif(cast({{ denominator }} as double precision), 0)
{%- endmacro %}

{#- Continuous percentile (linear interpolation); nulls are left out. -#}
{% macro percentile(expression, fraction) -%}
    cast(
        percentile_cont({{ fraction }}) within group (order by {{ expression }}) as double precision
    )
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
