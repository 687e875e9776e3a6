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

{#-
    In a window of numbered events that ends before the current one: is something open, because the
    latest event that opens it came after the latest event that closes it?
-#}
{% macro is_open(event_number, opens, closes, window) -%}
    coalesce(max(case when {{ opens }} then {{ event_number }} end) over {{ window }}, 0)
    > coalesce(max(case when {{ closes }} then {{ event_number }} end) over {{ window }}, 0)
{%- endmacro %}

{#-
    The value of the latest of numbered events for which a condition holds and that have one, in a
    window of events up to the current one: the largest number stands in front of it.
-#}
{% macro latest_value(event_number, value, condition, window) -%}
    substr(max(
        case when {{ condition }} then lpad(cast({{ event_number }} as text), 12, '0') || {{ value }} end
    ) over {{ window }}, 13)
{%- endmacro %}

{#- The place of an event in the order of events as one text, for min and max over groups. -#}
{% macro event_place(alias) -%}
    lpad(cast({{ milliseconds_between(
        "timestamp '1970-01-01 00:00:00'", alias ~ '.occurred_at'
    ) }} as text), 15, '0') || {{ alias }}.event_id
{%- endmacro %}
