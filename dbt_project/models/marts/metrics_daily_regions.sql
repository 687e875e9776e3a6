-- Grain: one row per metric_date and country_code.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with events as not materialized (
    select * from {{ ref('stg_events') }}
),

order_events as (
    select * from {{ ref('int_order_events') }}
),

-- Users first, so that the large table is read and grouped once.
users as (
    select
        events.event_date as metric_date,
        coalesce(events.country_code, 'unknown') as country_code,
        events.user_id,
        bool_or(events.is_activity) as is_active,
        count(*) as events,
        {{ count_where("events.event_name = 'call_started'") }} as calls_attempted,
        {{ count_where("events.event_name = 'message_received'") }} as messages_received,
        {{ count_where("events.event_name = 'payment_attempted'") }} as payments_attempted,
        {{ count_where("events.event_name = 'payment_succeeded'") }} as payments_succeeded,
        {{ total_where(
            'events.amount_cents',
            "events.event_name = 'payment_succeeded' and " ~ is_reported_money('events')
        ) }} as gross_amount_cents,
        {{ total_where(
            'events.amount_cents',
            "events.event_name = 'refund_issued' and " ~ is_reported_money('events')
        ) }} as refunded_amount_cents
    from events
    where {{ in_window('events.event_date') }}
    group by events.event_date, coalesce(events.country_code, 'unknown'), events.user_id
),

daily as (
    select
        users.metric_date,
        users.country_code,
        {{ total('users.events') }} as events,
        {{ count_where('users.user_id is not null and users.is_active') }} as active_users,
        {{ total('users.calls_attempted') }} as calls_attempted,
        {{ total('users.messages_received') }} as messages_received,
        {{ total('users.payments_attempted') }} as payments_attempted,
        {{ total('users.payments_succeeded') }} as payments_succeeded,
        {{ total('users.gross_amount_cents') }} as gross_amount_cents,
        {{ total('users.refunded_amount_cents') }} as refunded_amount_cents
    from users
    group by users.metric_date, users.country_code
),

daily_orders as (
    select
        events.event_date as metric_date,
        coalesce(events.country_code, 'unknown') as country_code,
        count(*) as orders_created
    from order_events
    inner join events on order_events.event_id = events.event_id
    where
        {{ in_window('order_events.event_date') }}
        and {{ in_window('events.event_date') }}
        and events.event_name = 'order_created'
        and order_events.event_name = 'order_created'
        and order_events.event_number = 1
    group by events.event_date, coalesce(events.country_code, 'unknown')
)

select
    daily.metric_date,
    daily.country_code,
    daily.events,
    daily.active_users,
    coalesce(daily_orders.orders_created, 0) as orders_created,
    daily.calls_attempted,
    daily.messages_received,
    daily.payments_attempted,
    daily.payments_succeeded,
    daily.gross_amount_cents,
    daily.gross_amount_cents - daily.refunded_amount_cents as net_amount_cents,
    {{ rate('daily.payments_succeeded', 'daily.payments_attempted') }} as payment_success_rate,
    {{ rate('daily.events', 'sum(daily.events) over (partition by daily.metric_date)') }}
        as events_share
from daily
left join daily_orders
    on
        daily.metric_date = daily_orders.metric_date
        and daily.country_code = daily_orders.country_code
