{#-
    Two layers agree: for each date of the run's window, `expression` added up over the model is
    `other_expression` added up over the other relation. A date that one of them lacks counts as 0.
-#}
{% test same_daily_total(model, expression, window_column, other, other_expression, other_column) %}

with daily as (
    select
        {{ window_column }} as total_date,
        sum({{ expression }}) as total
    from {{ model }}
    where {{ in_window(window_column) }}
    group by {{ window_column }}
),

other_daily as (
    select
        {{ other_column }} as total_date,
        sum({{ other_expression }}) as total
    from {{ other }}
    where {{ in_window(other_column) }}
    group by {{ other_column }}
)

select
    coalesce(daily.total_date, other_daily.total_date) as total_date,
    daily.total,
    other_daily.total as other_total
from daily
full join other_daily on daily.total_date = other_daily.total_date
where coalesce(daily.total, 0) <> coalesce(other_daily.total, 0)

{% endtest %}
