{#-
    What the tables of attribution share: their vars, checked, who belonged to whom and when, and
    how much of a conversion a session is credited with.
-#}

{#- How long before a conversion the sessions begin that it may be due to, both ends included. -#}
{% macro attribution_window() -%}
    interval '{{ attribution_days('attribution_window_days') * 24 }} hours'
{%- endmacro %}

{#- Calendar dates that the window can reach back: clocks and the date line move by one at most. -#}
{% macro attribution_reach() -%}
    {{ return(attribution_days('attribution_window_days') + 2) }}
{%- endmacro %}

{#- A year at most: with a half-life of a day the weight of a session does not underflow. -#}
{% macro attribution_days(name) -%}
    {%- set days = var(name) -%}
    {%- if days is not integer or days is boolean or days < 1 or days > 366 -%}
        {{ exceptions.raise_compiler_error(
            "var " ~ name ~ " must be a whole number from 1 to 366, got '" ~ days ~ "'"
        ) }}
    {%- endif -%}
    {{ return(days) }}
{%- endmacro %}

{#- Weight of a session in time_decay: it halves with every half-life up to the conversion. -#}
{% macro decayed_weight(began_at, converted_at) -%}
    power(
        cast(0.5 as double precision),
        {{ rate(
            milliseconds_between(began_at, converted_at),
            attribution_days('attribution_half_life_days') * 86400000
        ) }}
    )
{%- endmacro %}

{% macro attribution_model_names() -%}
    {{ return([
        'first_touch', 'last_touch', 'last_non_direct', 'linear', 'position_based', 'time_decay'
    ]) }}
{%- endmacro %}

{#- The six models, as rows. -#}
{% macro attribution_models() -%}
    {%- for model_name in attribution_model_names() -%}
        select cast('{{ model_name }}' as text) as model
        {{- ' union all\n    ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- Share of a conversion that a model gives a row of int_attribution_touches, from 0 to 1. -#}
{% macro attribution_credit(model_name, touch) -%}
    {%- set end_share = var('attribution_end_share') -%}
    {%- if end_share is not number or end_share is boolean or end_share < 0 or end_share > 0.5 -%}
        {{ exceptions.raise_compiler_error(
            "var attribution_end_share must be a number from 0 to 0.5, got '" ~ end_share ~ "'"
        ) }}
    {%- endif -%}
    {%- set position, touches = touch ~ '.touch_position', touch ~ '.touch_count' -%}
    cast(case {{ model_name }}
        when 'first_touch' then case when {{ position }} = 1 then 1 else 0 end
        when 'last_touch' then case when {{ position }} = {{ touches }} then 1 else 0 end
        when 'last_non_direct'
            then case when {{ position }} = {{ touch }}.last_non_direct_position then 1 else 0 end
        when 'linear' then {{ rate(1, touches) }}
        when 'position_based' then
            case
                when {{ touches }} <= 2 then {{ rate(1, touches) }}
                when {{ position }} in (1, {{ touches }}) then {{ end_share }}
                else {{ rate('1 - 2 * ' ~ end_share, touches ~ ' - 2') }}
            end
        when 'time_decay' then {{ touch }}.decayed_share
    end as double precision)
{%- endmacro %}

{#- Campaign keys of a row: what is missing is `unknown`. -#}
{% macro campaign_columns() -%}
    {{ return(['utm_source', 'utm_medium', 'utm_campaign']) }}
{%- endmacro %}

{#-
    A query: which person identifiers belonged to, from a date (`since`) to before another
    (`until`). `persons` is int_identity_persons; an identifier without a row is its own person.
-#}
{% macro person_spans(identifiers) -%}
    select
        persons.identifier_type,
        persons.identifier,
        persons.smallest_type,
        persons.smallest_identifier,
        persons.event_date as since,
        lead(persons.event_date, 1, cast('9999-12-31' as date)) over (
            partition by persons.identifier_type, persons.identifier order by persons.event_date
        ) as until
    from persons
    where
        persons.event_date < {{ window_end() }}
        and persons.identifier in ({{ identifiers }})
{%- endmacro %}
