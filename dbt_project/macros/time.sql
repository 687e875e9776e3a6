{#-
    The business time zone: from UTC to what clocks on the wall show, and back. Both engines call
    the function `timezone` and read a wall-clock time that clocks repeat as the second one, and
    one that they skip as if they had not been put forward yet.
-#}

{% macro business_zone() -%}
    '{{ env_var("TIDEMARK_TIMEZONE", "UTC") | replace("'", "''") }}'
{%- endmacro %}

{#- Wall-clock timestamp of a UTC timestamp. -#}
{% macro business_time(timestamp_utc) -%}
    timezone({{ business_zone() }}, timezone('UTC', {{ timestamp_utc }}))
{%- endmacro %}

{#- UTC timestamp of a wall-clock timestamp. -#}
{% macro utc_time(wall_clock) -%}
    timezone('UTC', timezone({{ business_zone() }}, {{ wall_clock }}))
{%- endmacro %}

{#- Minutes since midnight of a text HH:MM. -#}
{% macro minutes_of(clock) -%}
    cast(substr({{ clock }}, 1, 2) as integer) * 60 + cast(substr({{ clock }}, 4, 2) as integer)
{%- endmacro %}
