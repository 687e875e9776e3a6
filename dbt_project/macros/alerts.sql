{#- How `alerts` reads marts that reference data names. -#}

{#- How many dates an alert looks back on: those of below_share_of_mean_of_7_dates. -#}
{% macro alert_reach() -%}
    7
{%- endmacro %}

{#-
    True for dates whose alerts a run writes; with `reach`, also for that many dates before them.
    The dates after the window look back on it: with them, the order of runs does not matter. Where
    their marts are stale so are their alerts, until both are run.
-#}
{% macro in_alert_window(column, reach=0) -%}
    {{ column }} >= {{ window_start() }}{{ ' - ' ~ reach if reach else '' }}
    and {{ column }} < {{ window_end() }} + {{ alert_reach() }}
{%- endmacro %}

{% macro delete_alert_window() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ in_alert_window('metric_date') }}
    {%- endif -%}
{%- endmacro %}

{#-
    One row per rule of the CTE `rules`, date and subject of the relation that the rule names, with
    the value of its metric. Which marts there are, by which date and which other key columns, is
    var alert_relations and nothing else.
-#}
{% macro alert_values() -%}
    {%- for relation, spec in var('alert_relations').items() %}
    select
        mart.{{ spec.date_column }} as metric_date,
        rules.rule,
        '{{ spec['keys'] | join('|') or 'platform' }}' as subject_type,
        {% for key in spec['keys'] -%}
        cast(mart.{{ key }} as text){{ " || '|' || " if not loop.last }}
        {%- else -%}
        ''
        {%- endfor %} as subject_id,
        {{ number_named('mart', 'rules.metric') }} as value
    from {{ ref(relation) }} as mart
    inner join rules on rules.relation = '{{ relation }}'
    where {{ in_alert_window('mart.' ~ spec.date_column, reach=alert_reach()) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
