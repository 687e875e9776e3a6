-- Grain: one row per metric_date, type and category of price and country that has no price.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with charges as (
    select * from {{ ref('int_message_charges') }}
)

select
    charges.event_date as metric_date,
    charges.pricing_type,
    charges.category,
    charges.country_code,
    count(*) as messages
from charges
where
    {{ in_window('charges.event_date') }}
    and charges.price_micros is null
group by charges.event_date, charges.pricing_type, charges.category, charges.country_code
