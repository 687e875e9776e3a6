-- Grain: one row per refund of a conversion, with what it takes from the conversion's value.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['conversion_event_id']])
) }}

with payments as (
    select * from {{ ref('stg_payments') }}
),

conversions as not materialized (
    select * from {{ ref('int_attribution_conversions') }}
),

refunds as (
    select
        payments.event_date,
        payments.event_id as refund_event_id,
        payments.occurred_at,
        {{ stored_text('payments.entity_id') }} as payment_id,
        {{ stored_text('payments.order_id') }} as order_id,
        case when {{ is_reported_money('payments') }} then payments.amount_cents else 0 end
            as amount_cents
    from payments
    where
        {{ in_window('payments.event_date') }}
        and payments.event_name = 'refund_issued'
),

-- The payment itself, else a payment of the order, else the order.
matches as (
    select
        refunds.*,
        conversions.conversion_event_id,
        conversions.event_date as conversion_date,
        conversions.converted_at,
        conversions.value_cents,
        1 as preference
    from refunds
    inner join conversions on refunds.payment_id = conversions.payment_id
    union all
    select
        refunds.*,
        conversions.conversion_event_id,
        conversions.event_date as conversion_date,
        conversions.converted_at,
        conversions.value_cents,
        case when conversions.payment_id is not null then 2 else 3 end as preference
    from refunds
    inner join conversions on refunds.order_id = conversions.order_id
),

-- Of several, the first one: later refunds of the same payment add to the same conversion.
preferred as (
    select
        matches.*,
        row_number() over (
            partition by matches.refund_event_id
            order by
                matches.preference,
                matches.converted_at,
                {{ byte_order('matches.conversion_event_id') }}
        ) as choice
    from matches
    where
        matches.conversion_date <= matches.event_date
        and (matches.converted_at, {{ byte_order('matches.conversion_event_id') }})
        <= (matches.occurred_at, {{ byte_order('matches.refund_event_id') }})
),

{%- if is_incremental() %}

past as (
    select
        past.conversion_event_id,
        {{ total('past.refunded_cents') }} as refunded_cents
    from {{ this }} as past
    where
        {{ before_window('past.event_date') }}
        and past.conversion_event_id in (select preferred.conversion_event_id from preferred)
    group by past.conversion_event_id
),
{%- endif %}

running as (
    select
        preferred.*,
        {% if is_incremental() -%}
        coalesce(past.refunded_cents, 0) +
        {%- endif %}
        sum(preferred.amount_cents) over (
            partition by preferred.conversion_event_id
            order by
                preferred.event_date,
                preferred.occurred_at,
                {{ byte_order('preferred.refund_event_id') }}
            rows between unbounded preceding and current row
        ) as asked_cents
    from preferred
    {%- if is_incremental() %}
    left join past on preferred.conversion_event_id = past.conversion_event_id
    {%- endif %}
    where preferred.choice = 1
)

select
    running.event_date,
    running.refund_event_id,
    running.conversion_event_id,
    running.conversion_date,
    cast(
        least(running.value_cents, running.asked_cents)
        - least(running.value_cents, running.asked_cents - running.amount_cents) as bigint
    ) as refunded_cents
from running
