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

{#-
    Window specification: the rows of a key dated `first` to `last` dates before the current one,
    however many there are.
-#}
{% macro dates_before(alias, key, date, first, last) -%}
    partition by {{ alias }}.{{ key }}
    order by {{ alias }}.{{ date }}
    range between interval '{{ first }} days' preceding and interval '{{ last }} days' preceding
{%- endmacro %}
