{#- How `metric_anomalies` reads the marts that monitored_metrics names, and what it compares with. -#}

{#- Names of the values that one is compared with: 1 is that of the week before. -#}
{% macro anomaly_past_values() -%}
    {%- set names = [] -%}
    {%- for place in range(var('anomaly_weeks') | int) -%}
        {%- do names.append('past_value_' ~ (place + 1)) -%}
    {%- endfor -%}
    {{ return(names) }}
{%- endmacro %}

{#-
    One row per metric of the CTE `metrics` and row of its mart, from the window on: the metric of
    the row, and its weight, which is 1 where the metric names none.
-#}
{% macro monitored_rows() -%}
    {%- for relation, spec in var('alert_relations').items() %}
    select
        mart.{{ spec.date_column }} as metric_date,
        metrics.relation,
        metrics.metric,
        metrics.aggregate,
        {{ number_named('mart', 'metrics.metric') }} as value,
        case
            when metrics.weight is null then 1
            else {{ number_named('mart', 'metrics.weight') }}
        end as weight
    from {{ ref(relation) }} as mart
    inner join metrics on metrics.relation = '{{ relation }}'
    where {{ from_window('mart.' ~ spec.date_column) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{#- A list: a pattern for each name, which stands for {name} in it. -#}
{% macro each_name(names, pattern) -%}
    {%- set found = [] -%}
    {%- for name in names -%}
        {%- do found.append(pattern | replace('{name}', name)) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{#- How many of some expressions are not null. -#}
{% macro number_known(expressions) -%}
    ({%- for expression in expressions -%}
        case when {{ expression }} is null then 0 else 1 end{{ ' + ' if not loop.last }}
    {%- endfor -%})
{%- endmacro %}

{#-
    A query over the CTEs `metrics` and `span`: the state of each metric and weekday before the first
    date, from the model's own rows: value and verdict of the last such weekday, and the values that
    count of those before it.
-#}
{% macro anomaly_starts(past_values) -%}
    select
        metrics.relation,
        metrics.metric,
        span.first_date - weekdays.days_before as metric_date,
        {%- if is_incremental() %}
        max(past.value) filter (where past.metric_date = span.first_date - weekdays.days_before)
            as value,
        {%- for name in past_values %}
        max(past.value) filter (
            where
                past.metric_date = span.first_date - weekdays.days_before - {{ 7 * loop.index }}
                and not past.is_anomaly
        ) as {{ name }},
        {%- endfor %}
        {%- else %}
        {{ listed(['value'] + past_values, 'cast(null as double precision) as {name}') }},
        {%- endif %}
        cast(0 as bigint) as values_compared,
        {{ listed(['expected', 'spread', 'deviation'], 'cast(null as double precision) as {name}') }},
        {%- if is_incremental() %}
        count(*) filter (
            where
                past.metric_date = span.first_date - weekdays.days_before
                and past.is_anomaly
        ) > 0 as is_anomaly
        {%- else %}
        false as is_anomaly
        {%- endif %}
    from metrics
    cross join span
    cross join (values (1), (2), (3), (4), (5), (6), (7)) as weekdays (days_before)
    {%- if is_incremental() %}
    left join {{ this }} as past
        on
            metrics.relation = past.relation
            and metrics.metric = past.metric
            and {{ before_window('past.metric_date') }}
            and past.metric_date >= span.first_date - {{ 7 * (past_values | length + 1) }}
    {%- endif %}
    where span.first_date is not null
    {%- if is_incremental() %}
    group by metrics.relation, metrics.metric, span.first_date, weekdays.days_before
    {%- endif %}
{%- endmacro %}

{#-
    A query over the CTEs `measured`, `span` and a relation of weeks: the next week of each, judged.
    The value of the week before joins the past values unless it is an anomaly.

    spread = 1.4826 x the median absolute deviation, the standard deviation of normal values, and no
    less than least_spread of the metric and var anomaly_least_spread_share of what is expected:
    among values that hardly differ a small change is none. |deviation| above var anomaly_threshold
    (3.5: Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).
-#}
{% macro anomaly_step(weeks, past_values) -%}
    {%- set columns = ['relation', 'metric', 'metric_date', 'value'] + past_values -%}
    select
        {{ listed(columns, 'judged.{name}') }},
        judged.values_compared,
        judged.expected,
        judged.spread,
        judged.deviation,
        coalesce({{ is_above('abs(judged.deviation)', var('anomaly_threshold') | float) }}, false)
            as is_anomaly
    from (
        select
            spread_out.*,
            {{ rate('(spread_out.value - spread_out.expected)', 'spread_out.spread') }} as deviation
        from (
            select
                centred.*,
                case
                    when centred.expected is not null
                        then greatest(
                            1.4826 * {{ median_of(
                                each_name(past_values, 'abs(centred.{name} - centred.expected)')
                            ) }},
                            {{ var('anomaly_least_spread_share') | float }} * abs(centred.expected),
                            centred.least_spread
                        )
                end as spread
            from (
                select
                    next_week.*,
                    case
                        when next_week.values_compared >= {{ var('anomaly_minimum_values') | int }}
                            then {{ median_of(each_name(past_values, 'next_week.{name}')) }}
                    end as expected
                from (
                    select
                        shifted.*,
                        cast({{ number_known(each_name(past_values, 'shifted.{name}')) }} as bigint) as values_compared
                    from (
                        select
                            {{ weeks }}.relation,
                            {{ weeks }}.metric,
                            {{ weeks }}.metric_date + 7 as metric_date,
                            measured.value,
                            measured.least_spread,
                            case when not {{ weeks }}.is_anomaly then {{ weeks }}.value end
                                as past_value_1
                            {%- for name in past_values[1:] %},
                            {{ weeks }}.{{ past_values[loop.index0] }} as {{ name }}
                            {%- endfor %}
                        from {{ weeks }}
                        cross join span
                        left join measured
                            on
                                {{ weeks }}.relation = measured.relation
                                and {{ weeks }}.metric = measured.metric
                                and {{ weeks }}.metric_date + 7 = measured.metric_date
                        where {{ weeks }}.metric_date + 7 <= span.last_date
                    ) as shifted
                ) as next_week
            ) as centred
        ) as spread_out
    ) as judged
{%- endmacro %}
