-- Grain: one row per customer, as known at the end of the last date run.
{#- Not stored: customer_insights holds the same rows with what follows from them. -#}
{{ config(materialized='ephemeral', contract={'enforced': false}) }}

with customer_days as not materialized (
    select * from {{ ref('int_customer_days') }}
),

opt_outs as (
    select * from {{ ref('int_opt_outs') }}
),

calendar as (
    select * from {{ ref('int_calendar') }}
),

-- The state is that of the last date run, also when an interior date is run again: later dates that
-- are current are read as well.
last_date as (
    select max(calendar.calendar_date) as as_of_date
    from calendar
    where calendar.calendar_date < {{ known_end() }}
),

objectors as (
    select distinct opt_outs.user_id
    from opt_outs
    inner join last_date on opt_outs.event_date <= last_date.as_of_date
),

by_channel as (
    select
        customer_days.user_id,
        customer_days.channel,
        row_number() over (
            partition by customer_days.user_id
            order by
                sum(customer_days.interactions) desc,
                {{ byte_order('max(customer_days.last_place)') }} desc
        ) as place
    from customer_days
    inner join last_date on customer_days.event_date <= last_date.as_of_date
    group by customer_days.user_id, customer_days.channel
),

totals as (
    select
        customer_days.user_id,
        last_date.as_of_date,
        {{ total('customer_days.interactions') }} as interactions,
        {{ total_where(
            'customer_days.interactions',
            'customer_days.event_date > last_date.as_of_date - ' ~ var('customer_recent_days')
        ) }} as recent_interactions,
        count(distinct customer_days.event_date) as contact_days,
        min(customer_days.event_date) as first_contact_date,
        max(customer_days.event_date) as last_contact_date,
        {{ total('customer_days.purchases') }} as purchases,
        {{ total('customer_days.succeeded_cents - customer_days.refunded_cents') }}
            as lifetime_value_cents,
        {{ total('customer_days.appointments_booked') }} as appointments_booked,
        {{ total('customer_days.appointments_completed') }} as appointments_completed,
        {{ last_by(
            'customer_days.journey_stage', byte_order('customer_days.stage_place'),
            'customer_days.journey_stage is not null'
        ) }} as journey_stage
    from customer_days
    inner join last_date on customer_days.event_date <= last_date.as_of_date
    group by customer_days.user_id, last_date.as_of_date
)

select
    totals.user_id,
    totals.as_of_date,
    totals.interactions,
    totals.recent_interactions,
    totals.contact_days,
    totals.as_of_date - totals.first_contact_date as tenure_days,
    totals.as_of_date - totals.last_contact_date as recency_days,
    totals.purchases,
    totals.lifetime_value_cents,
    totals.appointments_booked,
    totals.appointments_completed,
    by_channel.channel as preferred_channel,
    totals.journey_stage,
    objectors.user_id is not null as has_objected
from totals
inner join by_channel on totals.user_id = by_channel.user_id and by_channel.place = 1
left join objectors on totals.user_id = objectors.user_id
