{#- Each expression is true (not false, not null) for every row of the run's window. -#}
{% test holds(model, expressions, window_column) %}

select *
from {{ model }}
where
    {{ in_window(window_column) }}
    and not coalesce(
        {%- for expression in expressions %}
        ({{ expression }}){{ ' and' if not loop.last }}
        {%- endfor %},
        false
    )

{% endtest %}
