{#- Names that several models of the advisor health score share. -#}

{#- Components, in the order in which people read them: columns of advisor_health_scores. -#}
{% macro advisor_components() -%}
    {{ return([
        'content_creation_consistency', 'delivery_performance', 'client_engagement_effectiveness',
        'platform_utilization',
    ]) }}
{%- endmacro %}

{#- Counts of int_advisor_windows that come from days: each enters on a date and leaves 30 later. -#}
{% macro advisor_daily_counts() -%}
    {{ return([
        'advisory_events', 'content_days', 'contents_created', 'messages_sent',
        'messages_delivered', 'responses', 'tickets', 'quality_high_days', 'quality_rated_days',
    ]) }}
{%- endmacro %}

{#- Counts of int_advisor_windows that come from int_advisor_spans, by its name for them. -#}
{% macro advisor_span_counts() -%}
    {{ return([
        'content_types', 'contents_decided', 'contents_approved', 'contents_due',
        'contents_on_time', 'delivered_of_sent', 'read_of_delivered', 'messages_forwarded',
        'features_adopted', 'dashboard_views',
    ]) }}
{%- endmacro %}

{#- Mean health score of the scored dates from `first` to `last` dates before the current one. -#}
{% macro mean_health_score(first, last) -%}
    {%- set window = dates_before('scores', 'advisor_id_hash', 'as_of_date', first, last) -%}
    {{ rate('sum(scores.health_score) over (' ~ window ~ ')', 'count(*) over (' ~ window ~ ')') }}
{%- endmacro %}
