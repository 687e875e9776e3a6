{#- What the models of conversations and agents share. -#}

{#- Properties of a conversation as the producer sends them, in the order of the contract. -#}
{% macro conversation_properties() -%}
    {{ return([
        'start_time', 'end_time', 'message_count', 'customer_messages', 'agent_responses',
        'response_time_avg_ms', 'customer_satisfaction_score', 'completed', 'conversion_type',
        'conversion_value_cents', 'sentiment', 'sentiment_confidence', 'emotions', 'intents',
        'escalation_required', 'escalation_reason', 'follow_up_required', 'follow_up_actions',
        'tags', 'journey_stage',
    ]) }}
{%- endmacro %}

{#- Columns of agent_performance that agent_areas may judge. -#}
{% macro agent_area_metrics() -%}
    {{ return([
        'average_duration_seconds', 'average_response_time_ms', 'completion_rate',
        'customer_satisfaction_avg', 'escalation_rate', 'conversion_rate',
        'average_order_value_cents', 'appointment_completion_rate', 'no_show_rate',
    ]) }}
{%- endmacro %}

{#- Mean of the values that are not null, each with its weight; null when all are. -#}
{% macro mean_of_known(weighted_values) -%}
    {%- set products = [] -%}
    {%- set weights = [] -%}
    {%- for value, weight in weighted_values -%}
        {%- do products.append('coalesce(' ~ value ~ ' * ' ~ weight ~ ', 0)') -%}
        {%- do weights.append('case when ' ~ value ~ ' is null then 0 else ' ~ weight ~ ' end') -%}
    {%- endfor -%}
    {{ rate('(' ~ products | join(' + ') ~ ')', '(' ~ weights | join(' + ') ~ ')') }}
{%- endmacro %}

{#- A comparison whose name is data. -#}
{% macro compares(comparison, value, threshold) -%}
    case {{ comparison }}
        when 'above' then {{ is_above(value, threshold) }}
        when 'below' then {{ is_above(threshold, value) }}
        when 'at_least' then {{ is_at_least(value, threshold) }}
        when 'at_most' then {{ is_at_least(threshold, value) }}
    end
{%- endmacro %}

{#- Codes of the areas of the relation `area_values` that are a strength, or an improvement. -#}
{% macro codes_of_areas(judgement) -%}
    string_agg(area_values.code, ',' order by area_values.position) filter (
        where {{ compares(
            'area_values.' ~ judgement ~ '_comparison', 'area_values.value',
            'area_values.' ~ judgement ~ '_threshold'
        ) }}
    )
{%- endmacro %}

{%- macro conversations_of_window() -%}
    select conversation_days.conversation_id
    from {{ ref('int_conversation_days') }} as conversation_days
    where {{ in_window('conversation_days.event_date') }}
{%- endmacro %}

{#-
    `conversations` shows the end of the last date run. Before the window is written, what it will
    replace goes; a conversation recorded after the window keeps its later row, so that running an
    interior date again changes nothing. What then still stands in the window has lost its record:
    the model falls back to the one before, and the post-hook takes the lost one away.
-#}
{% macro delete_replaced_conversations() -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where
            record_date < {{ window_end() }}
            and conversation_id in ({{ conversations_of_window() }})
    {%- endif -%}
{%- endmacro %}

{% macro delete_lost_conversations() -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where
            {{ in_window('record_date') }}
            and conversation_id not in ({{ conversations_of_window() }})
    {%- endif -%}
{%- endmacro %}
