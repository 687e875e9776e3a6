{#-
    Parts add up: `part` summed over the rows of `parts` that share `keys` is `total` of the model's
    row, to 1e-6, for every row of the run's window.
-#}
{% test adds_up(model, window_column, parts, keys, total, part) %}

with wholes as (
    select * from {{ model }}
    where {{ in_window(window_column) }}
),

sums as (
    select
        {{ keys | join(', ') }},
        sum({{ part }}) as part_sum
    from {{ parts }}
    where {{ in_window(window_column) }}
    group by {{ keys | join(', ') }}
)

select
    wholes.*,
    sums.part_sum
from wholes
left join sums
    on
    {%- for key in keys %}
        wholes.{{ key }} = sums.{{ key }}{{ ' and' if not loop.last }}
    {%- endfor %}
where coalesce(abs(wholes.{{ total }} - sums.part_sum), 1) > 1e-6

{% endtest %}
