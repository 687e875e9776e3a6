{#-
    From days to episodes: CTEs over a relation of days, one row per rule, subject and date, of which
    each is a break, good, or neither. Set by set, so that ten years cost one pass.

    A stretch begins with a break. It is resolved on the date on which resolve_after_dates good days
    in a row are complete; a day that is neither breaks the row of them. A break that follows more
    than cool_down_dates after the stretch before it was resolved opens a new episode; any other goes
    on with the one there is. The last CTE, `episodes`, has the days until each stretch is resolved.

    A row that carries what was before (past_*) counts as a break that goes on with its episode.
-#}
{% macro episodes_of(days) -%}
    {%- set by_date = 'partition by ' ~ days ~ '.rule, ' ~ days ~ '.subject_id order by ' ~ days
        ~ '.metric_date rows between unbounded preceding and current row' -%}
numbered as (
    select
        {{ days }}.*,
        {{ count_where(days ~ '.is_break') }} over ({{ by_date }}) as stretch,
        {{ count_where('not ' ~ days ~ '.is_good') }} over ({{ by_date }}) as good_row
    from {{ days }}
),

counted as (
    select
        numbered.*,
        {{ count_where('numbered.is_good') }} over (
            partition by numbered.rule, numbered.subject_id, numbered.good_row
            order by numbered.metric_date
            rows between unbounded preceding and current row
        )
        + max(numbered.past_good_dates) over (
            partition by numbered.rule, numbered.subject_id, numbered.good_row
        ) as good_dates
    from numbered
    where numbered.stretch > 0
),

stretches as (
    select
        counted.*,
        min(
            case
                when counted.is_good and counted.good_dates >= counted.resolve_after_dates
                    then counted.metric_date
                else counted.past_resolved_on
            end
        ) over (partition by counted.rule, counted.subject_id, counted.stretch) as resolved_on
    from counted
),

followed as (
    select
        stretches.*,
        lag(stretches.metric_date) over in_order is null
        or stretches.metric_date - lag(stretches.resolved_on) over in_order
        > stretches.cool_down_dates as is_rested
    from stretches
    window in_order as (
        partition by stretches.rule, stretches.subject_id order by stretches.metric_date
    )
),

opened as (
    select
        followed.*,
        max(
            case
                when followed.past_opened_on is not null then followed.past_opened_on
                when followed.is_break and followed.is_rested then followed.metric_date
            end
        ) over (
            partition by followed.rule, followed.subject_id
            order by followed.metric_date
            rows between unbounded preceding and current row
        ) as opened_on
    from followed
),

episodes as (
    select opened.*
    from opened
    where
        opened.past_opened_on is null
        and coalesce(opened.metric_date <= opened.resolved_on, true)
)
{%- endmacro %}
