{#-
    The order of events: (occurred_at, event_id), ids compared as lower-case text. First, latest,
    before and after mean this order everywhere.
-#}
{% macro event_order(alias) -%}
    {{ alias }}.occurred_at, {{ byte_order(alias ~ '.event_id') }}
{%- endmacro %}

{#- Window specification: the events of a key up to the current one, itself included. -#}
{% macro up_to_event(alias, key) -%}
    partition by {{ alias }}.{{ key }}
    order by {{ event_order(alias) }}
    rows between unbounded preceding and current row
{%- endmacro %}
