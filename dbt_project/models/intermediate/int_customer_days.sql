-- Grain: one row per user, date and channel with a conversation, payment or appointment event.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['user_id']])
) }}

with conversations as (
    select * from {{ ref('stg_conversations') }}
),

payments as (
    select * from {{ ref('stg_payments') }}
),

interactions as (
    select
        conversations.event_date,
        conversations.user_id,
        conversations.channel,
        conversations.event_name,
        {{ event_place('conversations') }} as place,
        conversations.journey_stage,
        cast(0 as bigint) as reported_cents,
        false as is_reported
    from conversations
    where
        {{ in_window('conversations.event_date') }}
        and conversations.user_id is not null
        and conversations.event_name in (
            'conversation_recorded', 'appointment_booked', 'appointment_completed',
            'appointment_cancelled', 'appointment_no_show'
        )
    union all
    select
        payments.event_date,
        payments.user_id,
        payments.channel,
        payments.event_name,
        {{ event_place('payments') }} as place,
        null as journey_stage,
        payments.amount_cents as reported_cents,
        {{ is_reported_money('payments') }} as is_reported
    from payments
    where
        {{ in_window('payments.event_date') }}
        and payments.user_id is not null
)

select
    interactions.event_date,
    interactions.user_id,
    interactions.channel,
    count(*) as interactions,
    max(interactions.place) as last_place,
    {{ count_where("interactions.event_name = 'payment_succeeded' and interactions.is_reported") }}
        as purchases,
    {{ total_where(
        'interactions.reported_cents',
        "interactions.event_name = 'payment_succeeded' and interactions.is_reported"
    ) }} as succeeded_cents,
    {{ total_where(
        'interactions.reported_cents',
        "interactions.event_name = 'refund_issued' and interactions.is_reported"
    ) }} as refunded_cents,
    {{ count_where("interactions.event_name = 'appointment_booked'") }} as appointments_booked,
    {{ count_where("interactions.event_name = 'appointment_completed'") }}
        as appointments_completed,
    {{ last_by(
        'interactions.journey_stage', byte_order('interactions.place'),
        'interactions.journey_stage is not null'
    ) }} as journey_stage,
    max(interactions.place) filter (where interactions.journey_stage is not null) as stage_place
from interactions
group by interactions.event_date, interactions.user_id, interactions.channel
