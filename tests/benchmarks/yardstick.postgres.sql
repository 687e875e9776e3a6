-- The marts of a range written by hand, in one script for Postgres: the yardstick of the run.
-- The same tables as yardstick.sql, tuned as one would for this engine: each read of raw.events
-- names a domain or few columns, narrow tables are unlogged and analysed before they are joined.
-- The results are compared with the project's own before the time counts.
create schema if not exists hand;

create unlogged table hand.user_days as
select distinct event_date, user_id from raw.events
where user_id is not null and event_name in ($activity);
analyze hand.user_days;

create unlogged table hand.first_dates as
select user_id, min(event_date) as first_date from hand.user_days group by user_id;
analyze hand.first_dates;

create unlogged table hand.calendar as
select cast(d as date) as d
from (select min(event_date) as first, max(event_date) as last from raw.events) as span
cross join lateral generate_series(cast(first as timestamp), cast(last as timestamp), interval '1 day') as g (d);
analyze hand.calendar;

create unlogged table hand.metrics_daily_payments as
select metric_date, country_code, provider, currency,
    payments_attempted, payments_succeeded, payments_failed, fallback_attempts, refunds_issued,
    gross_amount_cents, refunded_amount_cents,
    cast(payments_succeeded as double precision) / nullif(payments_attempted, 0) as success_rate,
    cast(fallback_attempts as double precision) / nullif(payments_attempted, 0) as fallback_rate,
    cast(refunds_issued as double precision) / nullif(payments_succeeded, 0) as refund_rate,
    cast(gross_amount_cents as double precision) / nullif(payments_succeeded, 0) as average_transaction_cents
from (
    select event_date as metric_date, coalesce(country_code, 'unknown') as country_code, provider, currency,
        count(*) filter (where event_name = 'payment_attempted') as payments_attempted,
        count(*) filter (where event_name = 'payment_succeeded') as payments_succeeded,
        count(*) filter (where event_name = 'payment_failed') as payments_failed,
        count(*) filter (where event_name = 'payment_attempted' and is_fallback) as fallback_attempts,
        count(*) filter (where event_name = 'refund_issued') as refunds_issued,
        coalesce(sum(amount_cents) filter (where event_name = 'payment_succeeded'), 0) as gross_amount_cents,
        coalesce(sum(amount_cents) filter (where event_name = 'refund_issued'), 0) as refunded_amount_cents
    from raw.events where domain = 'payments' group by 1, 2, 3, 4
) as counted;

create unlogged table hand.metrics_hourly_activity as
with users as (
    select event_date, event_hour, channel, count(*) as active_users from (
        select distinct event_date, event_hour, channel, user_id from raw.events
        where user_id is not null and event_name in ($activity)
    ) as active group by 1, 2, 3
),
hours as (
    select event_date, event_hour, channel, count(*) as events from raw.events group by 1, 2, 3
)
select event_date as metric_date, event_hour as hour, channel, events,
    coalesce(active_users, 0) as active_users
from hours left join users using (event_date, event_hour, channel);

create unlogged table hand.metrics_daily_engagement as
with days as (
    select user_id, event_date as d,
        lag(event_date) over w as before, lead(event_date) over w as after
    from hand.user_days window w as (partition by user_id order by event_date)
),
daily as (
    select d, count(*) as dau,
        count(*) filter (where before is null) as fresh,
        count(*) filter (where before >= d - 30) as back
    from days group by d
),
steps as (
    select d, 1 as w, 1 as m from days
    union all select least(d + 7, coalesce(after, d + 7)), -1, 0 from days
    union all select least(d + 30, coalesce(after, d + 30)), 0, -1 from days
    union all select d, 0, 0 from hand.calendar
),
rolling as (
    select d, sum(sum(w)) over (order by d) as wau, sum(sum(m)) over (order by d) as mau
    from steps group by d
),
sent as (
    select event_date as d,
        count(*) filter (where event_name = 'notification_sent') as s,
        count(*) filter (where event_name = 'notification_delivered') as de,
        count(*) filter (where event_name = 'notification_opened') as o,
        count(*) filter (where event_name = 'notification_clicked') as c,
        count(*) filter (where event_name = 'notification_opted_out') as x
    from raw.events where domain = 'notifications' group by 1
),
heard as (
    select event_date as d, count(*) as listens,
        avg(least(1, listened_seconds / audio_seconds)) as through
    from raw.events where domain = 'content' and event_name = 'horoscope_listened' group by 1
)
select d as metric_date, coalesce(dau, 0) as daily_active_users, wau as weekly_active_users,
    mau as monthly_active_users,
    cast(coalesce(dau, 0) as double precision) / nullif(mau, 0) as stickiness,
    coalesce(fresh, 0) as new_users, coalesce(back, 0) as returning_users,
    coalesce(dau - fresh - back, 0) as resurrected_users,
    coalesce(s, 0) as notifications_sent, coalesce(de, 0) as notifications_delivered,
    coalesce(o, 0) as notifications_opened, coalesce(c, 0) as notifications_clicked,
    coalesce(x, 0) as notifications_opted_out,
    cast(o as double precision) / nullif(de, 0) as notification_open_rate,
    cast(c as double precision) / nullif(de, 0) as notification_ctr,
    cast(x as double precision) / nullif(s, 0) as opt_out_rate,
    coalesce(listens, 0) as listens, through as listen_through_rate
from hand.calendar left join daily using (d) left join rolling using (d)
left join sent using (d) left join heard using (d);

create unlogged table hand.metrics_cohort_retention as
with n (n) as (values $retention_days),
sizes as (select first_date as c, count(*) as size from hand.first_dates group by 1),
ages as (
    select u.user_id, f.first_date as c, u.event_date - f.first_date as age
    from hand.user_days as u join hand.first_dates as f using (user_id)
    where u.event_date > f.first_date
),
kept as (
    select c, n, count(distinct user_id) filter (where age = n) as exact,
        count(distinct user_id) as near
    from ages join n on age between greatest(1, n - 6) and n group by 1, 2
)
select c as cohort_date, n as retention_day, c + n as metric_date, size as cohort_size,
    coalesce(exact, 0) as retained_users,
    cast(coalesce(exact, 0) as double precision) / size as retention_rate,
    coalesce(near, 0) as retained_in_window_users,
    cast(coalesce(near, 0) as double precision) / size as window_retention_rate
from sizes cross join n left join kept using (c, n)
where c + n <= (select max(d) from hand.calendar);

create unlogged table hand.metrics_daily_calls as
with known as (
    select event_date, event_name, status, occurred_at, recorded, duration_seconds,
        (array_agg(service_code) filter (where service_code is not null) over w)[1] as service_code,
        (array_agg(provider) filter (where provider is not null) over w)[1] as provider,
        min(case when event_name = 'call_started' then occurred_at end) over w as started_at
    from raw.events where domain = 'calls'
    window w as (partition by entity_id order by occurred_at, event_id)
),
flagged as (
    select *, event_name = 'call_ended' and status = 'completed' as done,
        event_name = 'call_dropped' as dropped
    from known
),
counted as (
    select event_date as metric_date, coalesce(service_code, 'unknown') as service_code,
        coalesce(provider, 'unknown') as provider,
        count(*) filter (where event_name = 'call_started') as calls_attempted,
        count(*) filter (where event_name = 'call_answered') as calls_answered,
        count(*) filter (where done) as calls_completed,
        count(*) filter (where dropped) as calls_dropped,
        count(*) filter (where (done or dropped) and recorded) as calls_recorded,
        coalesce(sum(duration_seconds) filter (where done or dropped), 0) as talk_seconds_total,
        avg(duration_seconds) filter (where done or dropped) as talk_seconds_avg,
        percentile_cont(0.5) within group (order by duration_seconds) filter (where done or dropped) as talk_seconds_p50,
        percentile_cont(0.95) within group (order by duration_seconds) filter (where done or dropped) as talk_seconds_p95,
        cast(avg(extract(epoch from occurred_at - started_at)) filter (where event_name = 'call_answered')
            as double precision) as ring_seconds_avg
    from flagged group by 1, 2, 3
)
select *,
    cast(calls_answered as double precision) / nullif(calls_attempted, 0) as answer_rate,
    cast(calls_completed as double precision) / nullif(calls_answered, 0) as completion_rate,
    cast(calls_dropped as double precision) / nullif(calls_answered, 0) as drop_rate,
    cast(calls_recorded as double precision) / nullif(calls_answered, 0) as recording_rate
from counted where calls_attempted + calls_answered + calls_completed + calls_dropped > 0;

create unlogged table hand.metrics_daily_content as
with items as (
    select event_date, event_name, zodiac_sign, occurred_at,
        min(case when event_name = 'horoscope_uploaded' then occurred_at end) over w as uploaded_at,
        count(*) filter (where event_name = 'horoscope_approved') over w as approvals
    from raw.events where domain = 'content' and event_name <> 'horoscope_listened'
    window w as (partition by entity_id order by occurred_at, event_id
        rows between unbounded preceding and current row)
),
waited as (
    select *, cast(extract(epoch from occurred_at - uploaded_at) as double precision) as wait,
        event_name = 'horoscope_approved' and approvals = 1 as first_approval
    from items
),
daily as (
    select event_date as d,
        count(*) filter (where event_name = 'horoscope_uploaded') as up,
        count(*) filter (where event_name = 'horoscope_approved') as ok,
        count(*) filter (where event_name = 'horoscope_published') as out,
        count(distinct zodiac_sign) filter (where event_name = 'horoscope_published') as signs,
        avg(wait) filter (where first_approval) as wait_avg,
        percentile_cont(0.95) within group (order by wait) filter (where first_approval) as wait_p95
    from waited group by 1
),
decided as (
    select event_date as d,
        count(*) filter (where event_name = 'moderation_decision' and entity_type = 'horoscope' and status = 'rejected') as no,
        count(*) filter (where event_name = 'content_flagged') as flags,
        count(*) filter (where event_name = 'moderation_decision') as decisions,
        count(*) filter (where event_name = 'appeal_submitted') as appeals
    from raw.events where domain = 'moderation' group by 1
)
select d as metric_date, coalesce(up, 0) as horoscopes_uploaded, coalesce(ok, 0) as horoscopes_approved,
    coalesce(out, 0) as horoscopes_published, coalesce(no, 0) as horoscopes_rejected,
    coalesce(signs, 0) as signs_published,
    cast(coalesce(signs, 0) as double precision) / 12 as coverage_rate,
    cast(ok as double precision) / nullif(coalesce(ok, 0) + coalesce(no, 0), 0) as approval_rate,
    wait_avg as approval_latency_seconds_avg, wait_p95 as approval_latency_seconds_p95,
    coalesce(flags, 0) as items_flagged, coalesce(decisions, 0) as moderation_decisions,
    coalesce(appeals, 0) as appeals_submitted
from hand.calendar left join daily using (d) left join decided using (d);

create unlogged table hand.metrics_daily_fulfillment as
with events as (
    select event_date, entity_id, occurred_at, event_id, event_name,
        case when event_name = 'moderation_decision' then status end as decision,
        case when event_name = 'order_created' then service_code end as service_code,
        case when event_name = 'order_assigned' then reader_id end as reader_id
    from raw.events
    where domain = 'orders' or (domain = 'moderation' and event_name = 'moderation_decision' and entity_type = 'order')
),
known as (
    select *,
        row_number() over (partition by entity_id, event_name order by occurred_at, event_id) as nth,
        (array_agg(service_code) filter (where service_code is not null) over w)[1] as service,
        array_agg(reader_id) filter (where reader_id is not null) over w as readers,
        min(case when event_name = 'order_created' then occurred_at end) over w as created_at,
        max(case when event_name = 'order_submitted' then occurred_at end) over w as submitted_at,
        count(*) filter (where decision = 'rejected') over w as rejections
    from events
    window w as (partition by entity_id order by occurred_at, event_id
        rows between unbounded preceding and current row)
),
timed as (
    select event_date, entity_id, event_name, decision, nth, service, rejections,
        readers[cardinality(readers)] as reader,
        cast(case when event_name = 'order_assigned' and nth = 1 then extract(epoch from occurred_at - created_at) end as double precision) as response,
        cast(case when event_name = 'order_completed' and nth = 1 then extract(epoch from occurred_at - created_at) end as double precision) as delivery,
        cast(case when decision is not null then extract(epoch from occurred_at - submitted_at) end as double precision) as approval
    from known
),
counted as (
    select event_date as metric_date, coalesce(service, 'unknown') as service_code,
        coalesce(reader, 'unassigned') as reader_id,
        count(*) filter (where event_name = 'order_created' and nth = 1) as orders_created,
        count(*) filter (where event_name = 'order_assigned' and nth = 1) as orders_assigned,
        count(*) filter (where event_name = 'order_submitted') as orders_submitted,
        count(*) filter (where event_name = 'order_completed' and nth = 1) as orders_completed,
        count(*) filter (where event_name = 'order_cancelled' and nth = 1) as orders_cancelled,
        count(*) filter (where decision = 'approved') as decisions_approved,
        count(*) filter (where decision = 'rejected') as decisions_rejected,
        count(distinct entity_id) filter (where decision is not null) as orders_decided,
        count(distinct entity_id) filter (where decision = 'rejected' and rejections > 1) as orders_in_rejection_loop,
        count(response) as ttf_response_count, avg(response) as ttf_response_seconds_avg,
        percentile_cont(0.5) within group (order by response) as ttf_response_seconds_p50,
        percentile_cont(0.95) within group (order by response) as ttf_response_seconds_p95,
        count(delivery) as ttf_delivery_count, avg(delivery) as ttf_delivery_seconds_avg,
        percentile_cont(0.5) within group (order by delivery) as ttf_delivery_seconds_p50,
        percentile_cont(0.95) within group (order by delivery) as ttf_delivery_seconds_p95,
        count(approval) as ttf_approval_count, avg(approval) as ttf_approval_seconds_avg,
        percentile_cont(0.5) within group (order by approval) as ttf_approval_seconds_p50,
        percentile_cont(0.95) within group (order by approval) as ttf_approval_seconds_p95
    from timed group by 1, 2, 3
)
select *,
    cast(decisions_approved as double precision) / nullif(decisions_approved + decisions_rejected, 0) as approval_rate,
    cast(orders_in_rejection_loop as double precision) / nullif(orders_decided, 0) as rejection_loop_rate
from counted
where orders_created + orders_assigned + orders_submitted + orders_completed + orders_cancelled + orders_decided > 0;
