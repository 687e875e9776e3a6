-- Twelve questions of analysts, each asked of the marts and then of raw.events; both give the same
-- rows, which is looked at before a time counts. Valid on DuckDB and on Postgres. $last is the last
-- date of the data, $activity the names of events that make a user active.

-- question: daily_trend Active users of the last 30 dates
select metric_date, daily_active_users, monthly_active_users
from marts.metrics_daily_engagement
where metric_date > $last - 30
order by metric_date
-- raw
with user_days as (
    select distinct event_date, user_id from raw.events
    where event_date > $last - 60 and user_id is not null and event_name in ($activity)
),
dates as (
    select distinct event_date as metric_date from raw.events where event_date > $last - 30
)
select
    dates.metric_date,
    count(distinct case when user_days.event_date = dates.metric_date then user_id end),
    count(distinct user_id)
from dates
inner join user_days
    on user_days.event_date <= dates.metric_date and user_days.event_date > dates.metric_date - 30
group by dates.metric_date
order by dates.metric_date

-- question: week_over_week Revenue by week and its change, a year
with weeks as (
    select
        cast(date_trunc('week', metric_date) as date) as week,
        currency,
        cast(sum(gross_amount_cents) as bigint) as cents
    from marts.metrics_daily_payments
    group by 1, 2
)
select
    week, currency, cents,
    cast(cents as double precision)
    / nullif(lag(cents) over (partition by currency order by week), 0) - 1 as change
from weeks
where cents > 0
order by week, currency
-- raw
with weeks as (
    select
        cast(date_trunc('week', event_date) as date) as week,
        currency,
        cast(sum(amount_cents) as bigint) as cents
    from raw.events
    where event_name = 'payment_succeeded'
    group by 1, 2
)
select
    week, currency, cents,
    cast(cents as double precision)
    / nullif(lag(cents) over (partition by currency order by week), 0) - 1 as change
from weeks
where cents > 0
order by week, currency

-- question: top_countries Ten countries with most revenue in 28 dates
select country_code, cast(sum(gross_amount_cents) as bigint) as cents
from marts.metrics_daily_regions
where metric_date > $last - 28
group by country_code
order by cents desc, country_code
limit 10
-- raw
select
    coalesce(country_code, 'unknown') as country_code,
    cast(
        coalesce(
            sum(case when event_name = 'payment_succeeded' and currency = 'USD' then amount_cents end),
            0
        ) as bigint
    ) as cents
from raw.events
where event_date > $last - 28
group by 1
order by cents desc, country_code
limit 10

-- question: cohort_triangle Retention of each month's new users
select
    cast(date_trunc('month', cohort_date) as date) as cohort,
    retention_day,
    cast(sum(retained_users) as bigint) as retained,
    cast(sum(cohort_size) as bigint) as size
from marts.metrics_cohort_retention
where retention_day in (1, 7, 30)
group by 1, 2
order by 1, 2
-- raw
with user_days as (
    select distinct event_date, user_id from raw.events
    where user_id is not null and event_name in ($activity)
),
first_dates as (
    select user_id, min(event_date) as cohort_date from user_days group by user_id
),
ages as (
    select first_dates.user_id, first_dates.cohort_date, n.retention_day
    from first_dates
    cross join (values (1), (7), (30)) as n (retention_day)
    where first_dates.cohort_date + n.retention_day <= $last
)
select
    cast(date_trunc('month', ages.cohort_date) as date) as cohort,
    ages.retention_day,
    count(user_days.user_id) as retained,
    count(*) as size
from ages
left join user_days
    on
        ages.user_id = user_days.user_id
        and user_days.event_date = ages.cohort_date + ages.retention_day
group by 1, 2
order by 1, 2

-- question: order_funnel From order to delivery, a year
select
    cast(sum(orders_created) as bigint), cast(sum(orders_assigned) as bigint),
    cast(sum(orders_completed) as bigint), cast(sum(orders_cancelled) as bigint)
from marts.metrics_daily_fulfillment
-- raw
select
    count(distinct case when event_name = 'order_created' then entity_id end),
    count(distinct case when event_name = 'order_assigned' then entity_id end),
    count(distinct case when event_name = 'order_completed' then entity_id end),
    count(distinct case when event_name = 'order_cancelled' then entity_id end)
from raw.events
where domain = 'orders'

-- question: advisor_league Twenty most answered advisors of 30 dates
select
    advisor_id_hash,
    cast(sum(responses) as bigint) as responses,
    cast(sum(contents_created) as bigint) as contents,
    cast(sum(dashboard_views) as bigint) as views
from marts.advisor_daily
where metric_date > $last - 30
group by advisor_id_hash
order by responses desc, contents desc, views desc, advisor_id_hash
limit 20
-- raw
select
    advisor_id_hash,
    count(*) filter (where event_name = 'client_response_received') as responses,
    count(*) filter (where event_name = 'content_created') as contents,
    count(*) filter (where event_name = 'advisor_dashboard_viewed') as views
from raw.events
where event_date > $last - 30 and domain = 'advisory'
group by advisor_id_hash
order by responses desc, contents desc, views desc, advisor_id_hash
limit 20

-- question: revenue_by_provider Revenue and success by provider and month, a year
select
    cast(date_trunc('month', metric_date) as date) as month,
    provider,
    currency,
    cast(sum(gross_amount_cents) as bigint) as cents,
    cast(sum(payments_succeeded) as double precision) / nullif(sum(payments_attempted), 0) as rate
from marts.metrics_daily_payments
group by 1, 2, 3
order by 1, 2, 3
-- raw
select
    cast(date_trunc('month', event_date) as date) as month,
    provider,
    currency,
    cast(
        coalesce(sum(case when event_name = 'payment_succeeded' then amount_cents end), 0) as bigint
    ) as cents,
    cast(count(*) filter (where event_name = 'payment_succeeded') as double precision)
    / nullif(count(*) filter (where event_name = 'payment_attempted'), 0) as rate
from raw.events
where domain = 'payments'
group by 1, 2, 3
order by 1, 2, 3

-- question: sessions_by_channel Sessions by channel in 28 dates
select channel, cast(sum(sessions) as bigint) as sessions
from marts.metrics_daily_sessions
where metric_date > $last - 28
group by channel
order by channel
-- raw
with keyed as (
    select
        event_date, channel, occurred_at,
        lag(occurred_at) over (
            partition by case when user_id is null then 'a' else 'u' end,
            coalesce(user_id, anonymous_id), channel
            order by occurred_at, event_id
        ) as before
    from raw.events
    where
        event_date > $last - 30 and event_name in ($session)
        and coalesce(user_id, anonymous_id) is not null
)
select channel, count(*) as sessions
from keyed
where event_date > $last - 28 and (before is null or occurred_at > before + interval '30' minute)
group by channel
order by channel

-- question: month_to_date Revenue of this month beside the same dates of the last
select
    currency,
    cast(sum(case when metric_date >= date_trunc('month', $last) then gross_amount_cents end) as bigint)
        as this_month,
    cast(
        sum(
            case
                when
                    metric_date < date_trunc('month', $last)
                    and extract(day from metric_date) <= extract(day from $last)
                    then gross_amount_cents
            end
        ) as bigint
    ) as last_month
from marts.metrics_daily_payments
where metric_date >= date_trunc('month', $last) - interval '1' month
group by currency
order by currency
-- raw
select
    currency,
    cast(sum(case when event_date >= date_trunc('month', $last) then cents end) as bigint)
        as this_month,
    cast(
        sum(
            case
                when
                    event_date < date_trunc('month', $last)
                    and extract(day from event_date) <= extract(day from $last)
                    then cents
            end
        ) as bigint
    ) as last_month
from (
    select
        event_date, currency,
        case when event_name = 'payment_succeeded' then amount_cents else 0 end as cents
    from raw.events
    where
        domain = 'payments'
        and event_date >= date_trunc('month', $last) - interval '1' month
) as payments
group by currency
order by currency

-- question: revenue_per_user Revenue per active user, 90 dates, two tables joined
select
    payments.metric_date,
    payments.cents,
    cast(payments.cents as double precision) / nullif(users.daily_active_users, 0) as per_user
from (
    select metric_date, cast(sum(gross_amount_cents) as bigint) as cents
    from marts.metrics_daily_payments
    where metric_date > $last - 90 and currency = 'USD'
    group by metric_date
) as payments
inner join marts.metrics_daily_engagement as users on payments.metric_date = users.metric_date
order by payments.metric_date
-- raw
select
    payments.event_date,
    payments.cents,
    cast(payments.cents as double precision) / nullif(users.active, 0) as per_user
from (
    select
        event_date,
        cast(
            coalesce(sum(case when event_name = 'payment_succeeded' then amount_cents end), 0)
            as bigint
        ) as cents
    from raw.events
    where event_date > $last - 90 and domain = 'payments' and currency = 'USD'
    group by event_date
) as payments
inner join (
    select event_date, count(distinct user_id) as active
    from raw.events
    where event_date > $last - 90 and event_name in ($activity)
    group by event_date
) as users on payments.event_date = users.event_date
order by payments.event_date

-- question: busy_hours Events by hour and channel in 28 dates
select channel, hour, cast(sum(events) as bigint) as events
from marts.metrics_hourly_activity
where metric_date > $last - 28
group by channel, hour
order by channel, hour
-- raw
select channel, event_hour, count(*) as events
from raw.events
where event_date > $last - 28
group by channel, event_hour
order by channel, event_hour

-- question: notification_rates Notifications sent, opened, clicked by month, a year
select
    cast(date_trunc('month', metric_date) as date) as month,
    cast(sum(notifications_sent) as bigint), cast(sum(notifications_opened) as bigint),
    cast(sum(notifications_clicked) as bigint)
from marts.metrics_daily_engagement
group by 1
order by 1
-- raw
select
    cast(date_trunc('month', event_date) as date) as month,
    count(*) filter (where event_name = 'notification_sent'),
    count(*) filter (where event_name = 'notification_opened'),
    count(*) filter (where event_name = 'notification_clicked')
from raw.events
where domain = 'notifications'
group by 1
order by 1
