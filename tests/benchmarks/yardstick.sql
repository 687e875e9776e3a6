-- The marts of a range written by hand, in one script for DuckDB: the yardstick of the run.
-- Tuned as one would for this engine: narrow temporary tables first, each read of raw.events once.
-- The results are compared with the project's own before the time counts.
create schema if not exists hand;

create or replace table hand.user_days as
select distinct event_date, user_id from raw.events
where user_id is not null and event_name in ($activity);

create or replace table hand.first_dates as
select user_id, min(event_date) as first_date from hand.user_days group by user_id;

create or replace table hand.calendar as
select cast(unnest(generate_series(cast(min(event_date) as timestamp), cast(max(event_date) as timestamp), interval 1 day)) as date) as d
from raw.events;

create or replace table hand.metrics_daily_payments as
select event_date as metric_date, coalesce(country_code, 'unknown') as country_code, provider, currency,
    count(*) filter (event_name = 'payment_attempted') as payments_attempted,
    count(*) filter (event_name = 'payment_succeeded') as payments_succeeded,
    count(*) filter (event_name = 'payment_failed') as payments_failed,
    count(*) filter (event_name = 'payment_attempted' and is_fallback) as fallback_attempts,
    count(*) filter (event_name = 'refund_issued') as refunds_issued,
    coalesce(sum(amount_cents) filter (event_name = 'payment_succeeded'), 0) as gross_amount_cents,
    coalesce(sum(amount_cents) filter (event_name = 'refund_issued'), 0) as refunded_amount_cents,
    payments_succeeded / nullif(payments_attempted, 0) as success_rate,
    fallback_attempts / nullif(payments_attempted, 0) as fallback_rate,
    refunds_issued / nullif(payments_succeeded, 0) as refund_rate,
    gross_amount_cents / nullif(payments_succeeded, 0) as average_transaction_cents
from raw.events where domain = 'payments' group by 1, 2, 3, 4;

create or replace table hand.metrics_hourly_activity as
select event_date as metric_date, event_hour as hour, channel, count(*) as events,
    count(distinct user_id) filter (event_name in ($activity)) as active_users
from raw.events group by 1, 2, 3;

create or replace table hand.metrics_daily_engagement as
with days as (
    select user_id, event_date as d,
        lag(event_date) over w as before, lead(event_date) over w as after
    from hand.user_days window w as (partition by user_id order by event_date)
),
daily as (
    select d, count(*) as dau,
        count(*) filter (before is null) as fresh,
        count(*) filter (before >= d - 30) as back
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
        count(*) filter (event_name = 'notification_sent') as s,
        count(*) filter (event_name = 'notification_delivered') as de,
        count(*) filter (event_name = 'notification_opened') as o,
        count(*) filter (event_name = 'notification_clicked') as c,
        count(*) filter (event_name = 'notification_opted_out') as x
    from raw.events where domain = 'notifications' group by 1
),
heard as (
    select event_date as d, count(*) as listens,
        avg(least(1, listened_seconds / audio_seconds)) as through
    from raw.events where domain = 'content' and event_name = 'horoscope_listened' group by 1
)
select d as metric_date, coalesce(dau, 0) as daily_active_users, wau as weekly_active_users,
    mau as monthly_active_users, coalesce(dau, 0) / nullif(mau, 0) as stickiness,
    coalesce(fresh, 0) as new_users, coalesce(back, 0) as returning_users,
    coalesce(dau - fresh - back, 0) as resurrected_users,
    coalesce(s, 0) as notifications_sent, coalesce(de, 0) as notifications_delivered,
    coalesce(o, 0) as notifications_opened, coalesce(c, 0) as notifications_clicked,
    coalesce(x, 0) as notifications_opted_out, o / nullif(de, 0) as notification_open_rate,
    c / nullif(de, 0) as notification_ctr, x / nullif(s, 0) as opt_out_rate,
    coalesce(listens, 0) as listens, through as listen_through_rate
from hand.calendar left join daily using (d) left join rolling using (d)
left join sent using (d) left join heard using (d);

create or replace table hand.metrics_cohort_retention as
with n (n) as (values $retention_days),
sizes as (select first_date as c, count(*) as size from hand.first_dates group by 1),
ages as (
    select u.user_id, f.first_date as c, u.event_date - f.first_date as age
    from hand.user_days as u join hand.first_dates as f using (user_id)
    where u.event_date > f.first_date
),
kept as (
    select c, n, count(distinct user_id) filter (age = n) as exact,
        count(distinct user_id) as near
    from ages join n on age between greatest(1, n - 6) and n group by 1, 2
)
select c as cohort_date, n as retention_day, c + cast(n as int) as metric_date, size as cohort_size,
    coalesce(exact, 0) as retained_users, coalesce(exact, 0) / size as retention_rate,
    coalesce(near, 0) as retained_in_window_users,
    coalesce(near, 0) / size as window_retention_rate
from sizes cross join n left join kept using (c, n)
where c + cast(n as int) <= (select max(d) from hand.calendar);

create or replace table hand.metrics_daily_calls as
with known as (
    select event_date, event_name, status, occurred_at, recorded, duration_seconds,
        first_value(service_code ignore nulls) over w as service_code,
        first_value(provider ignore nulls) over w as provider,
        min(case when event_name = 'call_started' then occurred_at end) over w as started_at
    from raw.events where domain = 'calls'
    window w as (partition by entity_id order by occurred_at, event_id)
),
flagged as (
    select *, event_name = 'call_ended' and status = 'completed' as done,
        event_name = 'call_dropped' as dropped
    from known
)
select event_date as metric_date, coalesce(service_code, 'unknown') as service_code,
    coalesce(provider, 'unknown') as provider,
    count(*) filter (event_name = 'call_started') as calls_attempted,
    count(*) filter (event_name = 'call_answered') as calls_answered,
    count(*) filter (done) as calls_completed,
    count(*) filter (dropped) as calls_dropped,
    count(*) filter ((done or dropped) and recorded) as calls_recorded,
    calls_answered / nullif(calls_attempted, 0) as answer_rate,
    calls_completed / nullif(calls_answered, 0) as completion_rate,
    calls_dropped / nullif(calls_answered, 0) as drop_rate,
    calls_recorded / nullif(calls_answered, 0) as recording_rate,
    coalesce(sum(duration_seconds) filter (done or dropped), 0) as talk_seconds_total,
    avg(duration_seconds) filter (done or dropped) as talk_seconds_avg,
    quantile_cont(duration_seconds, 0.5) filter (done or dropped) as talk_seconds_p50,
    quantile_cont(duration_seconds, 0.95) filter (done or dropped) as talk_seconds_p95,
    avg(epoch_ms(occurred_at) - epoch_ms(started_at)) filter (event_name = 'call_answered') / 1000
        as ring_seconds_avg
from flagged group by 1, 2, 3
having calls_attempted + calls_answered + calls_completed + calls_dropped > 0;

create or replace table hand.metrics_daily_content as
with items as (
    select event_date, event_name, zodiac_sign, occurred_at,
        min(case when event_name = 'horoscope_uploaded' then occurred_at end) over w as uploaded_at,
        count(*) filter (event_name = 'horoscope_approved') over w as approvals
    from raw.events where domain = 'content' and event_name <> 'horoscope_listened'
    window w as (partition by entity_id order by occurred_at, event_id
        rows between unbounded preceding and current row)
),
daily as (
    select event_date as d,
        count(*) filter (event_name = 'horoscope_uploaded') as up,
        count(*) filter (event_name = 'horoscope_approved') as ok,
        count(*) filter (event_name = 'horoscope_published') as out,
        count(distinct zodiac_sign) filter (event_name = 'horoscope_published') as signs,
        avg(epoch_ms(occurred_at) - epoch_ms(uploaded_at))
            filter (event_name = 'horoscope_approved' and approvals = 1) / 1000 as wait_avg,
        quantile_cont(epoch_ms(occurred_at) - epoch_ms(uploaded_at), 0.95)
            filter (event_name = 'horoscope_approved' and approvals = 1) / 1000 as wait_p95
    from items group by 1
),
decided as (
    select event_date as d,
        count(*) filter (event_name = 'moderation_decision' and entity_type = 'horoscope' and status = 'rejected') as no,
        count(*) filter (event_name = 'content_flagged') as flags,
        count(*) filter (event_name = 'moderation_decision') as decisions,
        count(*) filter (event_name = 'appeal_submitted') as appeals
    from raw.events where domain = 'moderation' group by 1
)
select d as metric_date, coalesce(up, 0) as horoscopes_uploaded, coalesce(ok, 0) as horoscopes_approved,
    coalesce(out, 0) as horoscopes_published, coalesce(no, 0) as horoscopes_rejected,
    coalesce(signs, 0) as signs_published, coalesce(signs, 0) / 12 as coverage_rate,
    ok / nullif(coalesce(ok, 0) + coalesce(no, 0), 0) as approval_rate,
    wait_avg as approval_latency_seconds_avg, wait_p95 as approval_latency_seconds_p95,
    coalesce(flags, 0) as items_flagged, coalesce(decisions, 0) as moderation_decisions,
    coalesce(appeals, 0) as appeals_submitted
from hand.calendar left join daily using (d) left join decided using (d);

create or replace table hand.metrics_daily_fulfillment as
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
        first_value(service_code ignore nulls) over w as service,
        last_value(reader_id ignore nulls) over w as reader,
        min(case when event_name = 'order_created' then occurred_at end) over w as created_at,
        max(case when event_name = 'order_submitted' then occurred_at end) over w as submitted_at,
        count(*) filter (decision = 'rejected') over w as rejections
    from events
    window w as (partition by entity_id order by occurred_at, event_id
        rows between unbounded preceding and current row)
),
timed as (
    select *,
        case when event_name = 'order_assigned' and nth = 1 then epoch_ms(occurred_at) - epoch_ms(created_at) end as response,
        case when event_name = 'order_completed' and nth = 1 then epoch_ms(occurred_at) - epoch_ms(created_at) end as delivery,
        case when decision is not null then epoch_ms(occurred_at) - epoch_ms(submitted_at) end as approval
    from known
)
select event_date as metric_date, coalesce(service, 'unknown') as service_code,
    coalesce(reader, 'unassigned') as reader_id,
    count(*) filter (event_name = 'order_created' and nth = 1) as orders_created,
    count(*) filter (event_name = 'order_assigned' and nth = 1) as orders_assigned,
    count(*) filter (event_name = 'order_submitted') as orders_submitted,
    count(*) filter (event_name = 'order_completed' and nth = 1) as orders_completed,
    count(*) filter (event_name = 'order_cancelled' and nth = 1) as orders_cancelled,
    count(*) filter (decision = 'approved') as decisions_approved,
    count(*) filter (decision = 'rejected') as decisions_rejected,
    count(distinct entity_id) filter (decision is not null) as orders_decided,
    count(distinct entity_id) filter (decision = 'rejected' and rejections > 1) as orders_in_rejection_loop,
    decisions_approved / nullif(decisions_approved + decisions_rejected, 0) as approval_rate,
    orders_in_rejection_loop / nullif(orders_decided, 0) as rejection_loop_rate,
    count(response) as ttf_response_count, avg(response) / 1000 as ttf_response_seconds_avg,
    quantile_cont(response, 0.5) / 1000 as ttf_response_seconds_p50,
    quantile_cont(response, 0.95) / 1000 as ttf_response_seconds_p95,
    count(delivery) as ttf_delivery_count, avg(delivery) / 1000 as ttf_delivery_seconds_avg,
    quantile_cont(delivery, 0.5) / 1000 as ttf_delivery_seconds_p50,
    quantile_cont(delivery, 0.95) / 1000 as ttf_delivery_seconds_p95,
    count(approval) as ttf_approval_count, avg(approval) / 1000 as ttf_approval_seconds_avg,
    quantile_cont(approval, 0.5) / 1000 as ttf_approval_seconds_p50,
    quantile_cont(approval, 0.95) / 1000 as ttf_approval_seconds_p95
from timed group by 1, 2, 3
having orders_created + orders_assigned + orders_submitted + orders_completed + orders_cancelled + orders_decided > 0;
