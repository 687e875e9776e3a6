-- Grain: one row per Sunday and advisor with a health score in the week that ends on it.
{{ config(pre_hook="{{ delete_window('week_end') }}", indexes=btree([['week_end']])) }}

with scores as not materialized (
    select * from {{ ref('int_advisor_health_scores') }}
),

dated as (
    select
        scores.as_of_date,
        scores.advisor_id_hash,
        scores.tier,
        scores.health_score,
        scores.as_of_date + 7 - cast(extract(isodow from scores.as_of_date) as integer) as week_end
    from scores
    where {{ in_window('scores.as_of_date', reach=6) }}
),

weeks as (
    select
        dated.week_end,
        dated.advisor_id_hash,
        max(dated.as_of_date) as last_date,
        {{ rate('sum(dated.health_score)', 'count(*)') }} as mean_score
    from dated
    where {{ in_window('dated.week_end') }}
    group by dated.week_end, dated.advisor_id_hash
),

-- The advisor's last 30 scores may reach back further than any number of dates.
history as (
    select
        scores.advisor_id_hash,
        scores.as_of_date,
        scores.tier,
        scores.health_score,
        scores.as_of_date - cast('2000-01-01' as date) as day_number
    from scores
    where
        scores.as_of_date < {{ window_end() }}
        and scores.advisor_id_hash in (select weeks.advisor_id_hash from weeks)
),

-- Whole numbers until the last step: no order of rows changes them.
sums as (
    select
        history.advisor_id_hash,
        history.as_of_date,
        history.tier,
        history.day_number,
        count(*) over last_30 as n,
        sum(history.day_number) over last_30 as x,
        sum(history.health_score) over last_30 as y,
        sum(history.day_number * history.day_number) over last_30 as xx,
        sum(history.day_number * history.health_score) over last_30 as xy
    from history
    window last_30 as (
        partition by history.advisor_id_hash order by history.as_of_date
        rows between 29 preceding and current row
    )
),

-- Least squares: mean of y + slope x (date - mean of x).
lines as (
    select
        sums.*,
        {{ rate('(sums.n * sums.xy - sums.x * sums.y)', '(sums.n * sums.xx - sums.x * sums.x)') }}
            as slope,
        {{ rate('sums.x', 'sums.n') }} as mean_day_number,
        {{ rate('sums.y', 'sums.n') }} as mean_health_score
    from sums
)

select
    weeks.week_end,
    weeks.advisor_id_hash,
    weeks.last_date,
    lines.tier,
    weeks.mean_score,
    case
        when lines.slope is not null
            then {{ held_within(0, 100, 'lines.mean_health_score + lines.slope * ('
                ~ "weeks.week_end + 7 - cast('2000-01-01' as date) - lines.mean_day_number)") }}
    end as forecast_score_7d
from weeks
inner join lines
    on
        weeks.advisor_id_hash = lines.advisor_id_hash
        and weeks.last_date = lines.as_of_date
