-- Grain: one row per Sunday of a fit, risk band and frequency bin.
{{ config(pre_hook="{{ delete_window('fitted_on') }}", indexes=btree([['fitted_on']])) }}

with calendar as not materialized (
    select * from {{ ref('int_calendar') }}
),

outcomes as (
    select * from {{ ref('int_churn_outcomes') }}
)

select
    calendar.calendar_date as fitted_on,
    outcomes.risk_band,
    outcomes.frequency_bin,
    {{ total('outcomes.snapshots') }} as snapshots,
    {{ total('outcomes.stayed_away') }} as stayed_away
from calendar
inner join outcomes
    on
        calendar.calendar_date >= outcomes.outcome_date
        and calendar.calendar_date < outcomes.outcome_date + {{ churn_fit_days() }}
where
    {{ in_window('calendar.calendar_date') }}
    and extract(isodow from calendar.calendar_date) = 7
group by calendar.calendar_date, outcomes.risk_band, outcomes.frequency_bin
