{#-
    Every column lies between minimum and maximum, both included, in every row of the run's window;
    null passes, and so does a bound that is left out.
-#}
{% test between(model, columns, window_column, minimum=none, maximum=none) %}

select *
from {{ model }}
where
    {{ in_window(window_column) }}
    and (
        {%- for column in columns %}
        {%- set or_next = ' or' if not loop.last else '' %}
        {%- if minimum is not none and maximum is not none %}
        {{ column }} < {{ minimum }} or {{ column }} > {{ maximum }}{{ or_next }}
        {%- elif minimum is not none %}
        {{ column }} < {{ minimum }}{{ or_next }}
        {%- else %}
        {{ column }} > {{ maximum }}{{ or_next }}
        {%- endif %}
        {%- endfor %}
    )

{% endtest %}
