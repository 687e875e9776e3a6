{#- Wall-clock time of a UTC timestamp in the business time zone. -#}
{% macro business_time(timestamp_utc) -%}
    {%- set zone = env_var('TIDEMARK_TIMEZONE', 'UTC') | replace("'", "''") -%}
    timezone('{{ zone }}', timezone('UTC', {{ timestamp_utc }}))
{%- endmacro %}
