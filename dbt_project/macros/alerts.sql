{#- How `alerts` and what is made of the same rules read marts that reference data names. -#}

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
    True from the window on, however late: for what goes on from date to date without a bound. What
    a run changes on a date may change every date after it, so that it writes all of them again.
-#}
{% macro from_window(column, reach=0) -%}
    {{ column }} >= {{ window_start() }}{{ ' - ' ~ reach if reach else '' }}
{%- endmacro %}

{% macro delete_from_window(column) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where {{ from_window(column) }}
    {%- endif -%}
{%- endmacro %}

{#-
    One row per rule of the CTE `rules`, date and subject of the relation that the rule names, with
    the value of its metric. Which marts there are, by which date and which other key columns, is
    var alert_relations and nothing else.

    Args:
        from_on: also dates after those whose alerts the run writes, without a bound.
        sample: name of the column of `rules` that names the metric of a sample; none for no sample.
-#}
{% macro alert_values(from_on=false, sample=none) -%}
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
        {%- if sample %}
        {{ number_named('mart', 'rules.' ~ sample) }} as sample,
        {%- endif %}
        {{ number_named('mart', 'rules.metric') }} as value
    from {{ ref(relation) }} as mart
    inner join rules on rules.relation = '{{ relation }}'
    where
        {{ from_window('mart.' ~ spec.date_column, reach=alert_reach()) if from_on
            else in_alert_window('mart.' ~ spec.date_column, reach=alert_reach()) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#-
    CTEs over the CTE `rules`: `compared` has the value of each rule, subject and date, and what it is
    compared with beside the threshold: the value of the date before, or the mean of the seven dates
    before; null for above and below. Dates are those of the calendar, however many of them have a
    row: the mean is over the values there are.
-#}
{% macro alert_comparisons(from_on=false, sample=none) -%}
subject_values as (
    {{ alert_values(from_on, sample) }}
),

known as (
    select
        subject_values.*,
        max(subject_values.value) over date_before as previous_value,
        avg(subject_values.value) over week_before as usual_value
    from subject_values
    window
        date_before as (
            partition by subject_values.rule, subject_values.subject_id
            order by subject_values.metric_date
            range between interval '1 day' preceding and interval '1 day' preceding
        ),
        week_before as (
            partition by subject_values.rule, subject_values.subject_id
            order by subject_values.metric_date
            range between interval '7 days' preceding and interval '1 day' preceding
        )
),

compared as (
    select
        known.metric_date,
        known.subject_type,
        known.subject_id,
        {%- if sample %}
        known.sample,
        {%- endif %}
        known.value,
        rules.*,
        case rules.comparison
            when 'below_share_of_previous_date' then known.previous_value
            when 'below_share_of_mean_of_7_dates' then known.usual_value
        end as compared_to
    from known
    inner join rules on known.rule = rules.rule
    where {{ from_window('known.metric_date') if from_on else in_alert_window('known.metric_date') }}
)
{%- endmacro %}

{#- Whether the value of a row is on the bad side of a threshold; null without what it needs. -#}
{% macro is_alert(alias, threshold) -%}
    case {{ alias }}.comparison
        when 'above' then {{ is_above(alias ~ '.value', threshold) }}
        when 'below' then {{ is_above(threshold, alias ~ '.value') }}
        else {{ is_above(threshold ~ ' * ' ~ alias ~ '.compared_to', alias ~ '.value') }}
    end
{%- endmacro %}

{#-
    A query: the latest own row before the window of each subject of a relation: where its episode
    stood, however long ago. One index look-up for a subject on Postgres.
-#}
{% macro latest_episode_days(of) -%}
    select latest.*
    from (select distinct {{ of }}.rule, {{ of }}.subject_id from {{ of }}) as subjects
    cross join lateral (
        select past.*
        from {{ this }} as past
        where
            past.rule = subjects.rule
            and past.subject_id = subjects.subject_id
            and {{ before_window('past.metric_date') }}
        order by past.metric_date desc
        limit 1
    ) as latest
{%- endmacro %}
