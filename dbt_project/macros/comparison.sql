{#- Doubles are compared to 1e-9, among each other and with thresholds. -#}
{% macro tolerance() -%}
    cast(1e-9 as double precision)
{%- endmacro %}

{% macro is_above(value, other) -%}
    ({{ value }} > {{ other }} + {{ tolerance() }})
{%- endmacro %}

{% macro is_at_least(value, other) -%}
    ({{ value }} >= {{ other }} - {{ tolerance() }})
{%- endmacro %}
