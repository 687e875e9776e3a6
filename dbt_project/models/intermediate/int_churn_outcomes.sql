-- Grain: one row per Sunday, risk band and frequency bin of customers seen one horizon before.
{{ config(pre_hook="{{ delete_window('outcome_date') }}", indexes=btree([['outcome_date']])) }}

with calendar as not materialized (
    select * from {{ ref('int_calendar') }}
),

customer_days as (
    select * from {{ ref('int_customer_days') }}
),

opt_outs as (
    select * from {{ ref('int_opt_outs') }}
),

snapshots as (
    select
        calendar.calendar_date as outcome_date,
        calendar.calendar_date - {{ churn_horizon() }} as snapshot_date
    from calendar
    where
        {{ in_window('calendar.calendar_date') }}
        and extract(isodow from calendar.calendar_date) = 7
),

contacts as (
    select
        customer_days.user_id,
        customer_days.event_date
    from customer_days
    where
        customer_days.event_date < {{ window_end() }}
        -- Most dates are no Sunday and have nothing to look for.
        and exists (select snapshots.outcome_date from snapshots)
    group by customer_days.user_id, customer_days.event_date
),

numbered as (
    select
        contacts.user_id,
        contacts.event_date,
        row_number() over in_order as contact_days,
        min(contacts.event_date) over in_order as first_date,
        lead(contacts.event_date) over in_order as next_date
    from contacts
    window in_order as (partition by contacts.user_id order by contacts.event_date)
),

-- Each customer as of the snapshot, and whether the next contact came within the horizon.
seen as (
    select
        snapshots.outcome_date,
        numbered.contact_days,
        snapshots.snapshot_date - numbered.event_date as recency_days,
        snapshots.snapshot_date - numbered.first_date as tenure_days,
        coalesce(numbered.next_date > snapshots.outcome_date, true) as stayed_away
    from snapshots
    inner join numbered
        on
            snapshots.snapshot_date >= numbered.event_date
            and snapshots.snapshot_date < coalesce(numbered.next_date, {{ window_end() }})
    where
        not exists (
            select opt_outs.user_id
            from opt_outs
            where
                opt_outs.user_id = numbered.user_id
                and opt_outs.event_date <= snapshots.outcome_date
        )
),

binned as (
    select
        seen.outcome_date,
        {{ risk_band(churn_prior('seen')) }} as risk_band,
        {{ frequency_bin('seen.contact_days') }} as frequency_bin,
        seen.stayed_away
    from seen
)

select
    binned.outcome_date,
    binned.risk_band,
    binned.frequency_bin,
    count(*) as snapshots,
    {{ count_where('binned.stayed_away') }} as stayed_away
from binned
group by binned.outcome_date, binned.risk_band, binned.frequency_bin
