-- Grain: one row per metric_date, country, type and category of price, and template.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with charges as (
    select * from {{ ref('int_message_charges') }}
),

-- Of a date, country, type and category all messages have one price, or none.
daily as (
    select
        charges.event_date as metric_date,
        charges.country_code,
        charges.pricing_type,
        charges.category,
        charges.template_id,
        charges.price_micros,
        charges.currency,
        count(*) as messages
    from charges
    where {{ in_window('charges.event_date') }}
    group by
        charges.event_date,
        charges.country_code,
        charges.pricing_type,
        charges.category,
        charges.template_id,
        charges.price_micros,
        charges.currency
)

select
    daily.metric_date,
    daily.country_code,
    daily.pricing_type,
    daily.category,
    daily.template_id,
    daily.messages,
    daily.price_micros,
    daily.currency,
    {{ cents_of_micros('daily.messages * daily.price_micros') }} as cost_cents
from daily
