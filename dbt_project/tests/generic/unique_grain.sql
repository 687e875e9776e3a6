{#- No two rows of the run's window share these columns. -#}
{% test unique_grain(model, columns, window_column) %}

select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ model }}
where {{ in_window(window_column) }}
group by {{ columns | join(', ') }}
having count(*) > 1

{% endtest %}
