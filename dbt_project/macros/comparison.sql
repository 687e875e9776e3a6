{#- Doubles are compared to 1e-9, among each other and with thresholds. -#}
{% macro tolerance() -%}
    1e-9
{%- endmacro %}

{% macro is_above(value, other) -%}
    ({{ value }} > {{ other }} + {{ tolerance() }})
{%- endmacro %}

{% macro is_at_least(value, other) -%}
    ({{ value }} >= {{ other }} - {{ tolerance() }})
{%- endmacro %}

{#- The value, or the bound it passes. Null becomes the upper bound: ask before. -#}
{% macro held_within(lower, upper, value) -%}
    greatest({{ lower }}, least({{ upper }}, {{ value }}))
{%- endmacro %}
