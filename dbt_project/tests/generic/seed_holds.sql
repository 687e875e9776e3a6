{#- Each expression is true (not false, not null) for every row of a seed. -#}
{% test seed_holds(model, expressions) %}

select *
from {{ model }}
where
    not coalesce(
        {%- for expression in expressions %}
        ({{ expression }}){{ ' and' if not loop.last }}
        {%- endfor %},
        false
    )

{% endtest %}
