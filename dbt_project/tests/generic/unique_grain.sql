{#-
    No two rows of the run's window share these columns. One column that is never null is counted
    and not grouped by, which takes less time.
-#}
{% test unique_grain(model, columns, window_column) %}

{% if columns | length == 1 -%}
select
    count(*) as row_count,
    count(distinct {{ columns[0] }}) as distinct_count
from {{ model }}
where {{ in_window(window_column) }}
having count(*) > count(distinct {{ columns[0] }})
{%- else -%}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where {{ in_window(window_column) }}
group by {{ columns | join(', ') }}
having count(*) > 1
{%- endif %}

{% endtest %}
