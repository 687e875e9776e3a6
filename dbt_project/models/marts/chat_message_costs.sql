-- Grain: one row per metric_date and chat in which messages were charged for.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with charges as (
    select * from {{ ref('int_message_charges') }}
),

daily as (
    select
        charges.event_date as metric_date,
        charges.chat_id,
        count(*) as messages,
        {{ count_where('charges.price_micros is null or not ' ~ is_reported_money('charges')) }}
            as messages_without_cost,
        {{ total('charges.price_micros') }} as cost_micros
    from charges
    where {{ in_window('charges.event_date') }}
    group by charges.event_date, charges.chat_id
)

select
    daily.metric_date,
    daily.chat_id,
    daily.messages,
    daily.messages_without_cost,
    case
        when daily.messages_without_cost = 0 then {{ cents_of_micros('daily.cost_micros') }}
    end as cost_cents
from daily
