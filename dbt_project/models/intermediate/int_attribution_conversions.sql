-- Grain: one row per conversion, with the person who converted as known at the end of its date.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['conversion_event_id'], ['payment_id'], ['order_id']])
) }}

with events as (
    select * from {{ ref('stg_events') }}
),

payments as (
    select * from {{ ref('stg_payments') }}
),

marketplace as (
    select * from {{ ref('stg_marketplace') }}
),

persons as (
    select * from {{ ref('int_identity_persons') }}
),

paid_orders as (
    select
        payments.event_id,
        payments.order_id
    from payments
    where
        {{ in_window('payments.event_date') }}
        and {{ is_conversion('payments.event_name') }}
),

earned as (
    select
        marketplace.event_id,
        marketplace.revenue_cents
    from marketplace
    where
        {{ in_window('marketplace.event_date') }}
        and {{ is_conversion('marketplace.event_name') }}
),

conversions as (
    select
        events.event_date,
        events.event_id as conversion_event_id,
        events.event_name as conversion_name,
        events.occurred_at as converted_at,
        case
            when events.user_id is not null then 'user_id'
            when events.anonymous_id is not null then 'anonymous_id'
        end as user_key_type,
        {{ stored_text('coalesce(events.user_id, events.anonymous_id)') }} as user_key,
        case when events.event_name = 'payment_succeeded' then events.entity_id end as payment_id,
        case events.event_name
            when 'payment_succeeded' then paid_orders.order_id
            when 'order_created' then events.entity_id
        end as order_id,
        case
            when {{ is_reported_money('events') }}
                then coalesce(events.amount_cents, earned.revenue_cents, 0)
            else 0
        end as value_cents
    from events
    left join paid_orders on events.event_id = paid_orders.event_id
    left join earned on events.event_id = earned.event_id
    where
        {{ in_window('events.event_date') }}
        and {{ is_conversion('events.event_name') }}
),

spans as (
    {{ person_spans('select conversions.user_key from conversions') }}
),

known as (
    select
        conversions.*,
        coalesce(spans.smallest_type, conversions.user_key_type) as smallest_type,
        coalesce(spans.smallest_identifier, conversions.user_key) as smallest_identifier
    from conversions
    left join spans
        on
            conversions.user_key_type = spans.identifier_type
            and conversions.user_key = spans.identifier
            and conversions.event_date >= spans.since
            and conversions.event_date < spans.until
)

select
    known.event_date,
    known.conversion_event_id,
    known.conversion_name,
    known.converted_at,
    known.smallest_type,
    known.smallest_identifier,
    {{ person_hash('known.smallest_type', 'known.smallest_identifier') }} as person_id,
    known.payment_id,
    known.order_id,
    cast(known.value_cents as bigint) as value_cents
from known
