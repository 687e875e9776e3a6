-- Grain: one row per message that is charged for, on the date of its first delivery.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['message_id']])
) }}

with message_events as not materialized (
    select * from {{ ref('int_message_events') }}
),

rates as (
    select * from {{ ref('message_rates') }}
),

delivered as (
    select message_events.message_id
    from message_events
    where {{ in_window('message_events.event_date') }} and message_events.is_delivery
),

histories as (
    select
        message_events.*,
        row_number() over up_to_event as position,
        {{ count_where('message_events.is_delivery') }} over up_to_event as deliveries
    from message_events
    where
        message_events.event_date < {{ window_end() }}
        and message_events.message_id in (select delivered.message_id from delivered)
    window up_to_event as ({{ up_to_event('message_events', 'message_id') }})
),

-- What is known of a message at its first delivery: the first that its events say.
charges as (
    select
        max(case when histories.is_delivery then histories.event_date end) as event_date,
        histories.message_id,
        {%- for column in message_facts() %}
        {%- set value = 'histories.' ~ column %}
        {{ first_by(value, 'histories.position', value ~ ' is not null') }} as {{ column }},
        {%- endfor %}
        {{ count_where("histories.channel = 'whatsapp'") }} as whatsapp_events
    from histories
    where histories.deliveries = 0 or (histories.deliveries = 1 and histories.is_delivery)
    group by histories.message_id
),

known as (
    select
        charges.event_date,
        charges.message_id,
        coalesce(charges.country_code, 'unknown') as country_code,
        coalesce(charges.pricing_type, 'unknown') as pricing_type,
        coalesce(charges.pricing_category, 'unknown') as category,
        coalesce(charges.template_id, 'unknown') as template_id,
        coalesce(charges.chat_id, 'unknown') as chat_id
    from charges
    where
        {{ in_window('charges.event_date') }}
        -- Other channels do not charge for messages, unless they say so.
        and (charges.whatsapp_events > 0 or charges.pricing_type is not null)
),

prices as (
    select
        rates.*,
        lead(rates.valid_from, 1, cast('9999-12-31' as date)) over (
            partition by rates.pricing_type, rates.category, rates.country_code
            order by rates.valid_from
        ) as valid_until
    from rates
)

select
    known.event_date,
    known.message_id,
    known.country_code,
    known.pricing_type,
    known.category,
    known.template_id,
    known.chat_id,
    coalesce(own_price.price_micros, any_price.price_micros) as price_micros,
    case when own_price.valid_from is null then any_price.currency else own_price.currency end
        as currency
from known
left join prices as own_price
    on
        known.pricing_type = own_price.pricing_type
        and known.category = own_price.category
        and known.country_code = own_price.country_code
        and known.event_date >= own_price.valid_from
        and known.event_date < own_price.valid_until
left join prices as any_price
    on
        known.pricing_type = any_price.pricing_type
        and known.category = any_price.category
        and any_price.country_code = '*'
        and known.event_date >= any_price.valid_from
        and known.event_date < any_price.valid_until
