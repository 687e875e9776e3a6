-- Grain: one row per metric_date, service_code and reader_id.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with order_events as (
    select * from {{ ref('int_order_events') }}
),

daily as (
    select
        order_events.event_date as metric_date,
        order_events.service_code,
        order_events.reader_id,
        {{ count_where(
            "order_events.event_name = 'order_created' and order_events.event_number = 1"
        ) }} as orders_created,
        {{ count_where(
            "order_events.event_name = 'order_assigned' and order_events.event_number = 1"
        ) }} as orders_assigned,
        {{ count_where("order_events.event_name = 'order_submitted'") }} as orders_submitted,
        {{ count_where(
            "order_events.event_name = 'order_completed' and order_events.event_number = 1"
        ) }} as orders_completed,
        {{ count_where(
            "order_events.event_name = 'order_cancelled' and order_events.event_number = 1"
        ) }} as orders_cancelled,
        {{ count_where("order_events.decision = 'approved'") }} as decisions_approved,
        {{ count_where("order_events.decision = 'rejected'") }} as decisions_rejected,
        {{ count_distinct_where(
            'order_events.order_id', "order_events.event_name = 'moderation_decision'"
        ) }} as orders_decided,
        {{ count_distinct_where(
            'order_events.order_id',
            "order_events.decision = 'rejected' and order_events.rejections >= 2"
        ) }} as orders_in_rejection_loop,
        count(order_events.response_ms) as ttf_response_count,
        {{ average_seconds('order_events.response_ms') }} as ttf_response_seconds_avg,
        {{ percentile_seconds('order_events.response_ms', 0.5) }} as ttf_response_seconds_p50,
        {{ percentile_seconds('order_events.response_ms', 0.95) }} as ttf_response_seconds_p95,
        count(order_events.delivery_ms) as ttf_delivery_count,
        {{ average_seconds('order_events.delivery_ms') }} as ttf_delivery_seconds_avg,
        {{ percentile_seconds('order_events.delivery_ms', 0.5) }} as ttf_delivery_seconds_p50,
        {{ percentile_seconds('order_events.delivery_ms', 0.95) }} as ttf_delivery_seconds_p95,
        count(order_events.approval_ms) as ttf_approval_count,
        {{ average_seconds('order_events.approval_ms') }} as ttf_approval_seconds_avg,
        {{ percentile_seconds('order_events.approval_ms', 0.5) }} as ttf_approval_seconds_p50,
        {{ percentile_seconds('order_events.approval_ms', 0.95) }} as ttf_approval_seconds_p95
    from order_events
    where {{ in_window('order_events.event_date') }}
    group by order_events.event_date, order_events.service_code, order_events.reader_id
)

select
    daily.metric_date,
    daily.service_code,
    daily.reader_id,
    daily.orders_created,
    daily.orders_assigned,
    daily.orders_submitted,
    daily.orders_completed,
    daily.orders_cancelled,
    daily.decisions_approved,
    daily.decisions_rejected,
    daily.orders_decided,
    daily.orders_in_rejection_loop,
    {{ rate('daily.decisions_approved', '(daily.decisions_approved + daily.decisions_rejected)') }}
        as approval_rate,
    {{ rate('daily.orders_in_rejection_loop', 'daily.orders_decided') }} as rejection_loop_rate,
    daily.ttf_response_count,
    daily.ttf_response_seconds_avg,
    daily.ttf_response_seconds_p50,
    daily.ttf_response_seconds_p95,
    daily.ttf_delivery_count,
    daily.ttf_delivery_seconds_avg,
    daily.ttf_delivery_seconds_p50,
    daily.ttf_delivery_seconds_p95,
    daily.ttf_approval_count,
    daily.ttf_approval_seconds_avg,
    daily.ttf_approval_seconds_p50,
    daily.ttf_approval_seconds_p95
from daily
-- A group of repeats only (a second assignment, a second completion) counts nothing: no row.
where
    daily.orders_created + daily.orders_assigned + daily.orders_submitted
    + daily.orders_completed + daily.orders_cancelled + daily.orders_decided > 0
