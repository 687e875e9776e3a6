-- Grain: one row per conversation and date with a record of it: the latest of the date.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['conversation_id']])
) }}

with records as (
    select * from {{ ref('stg_conversations') }}
),

ranked as (
    select
        records.*,
        row_number() over (
            partition by records.entity_id, records.event_date
            order by records.occurred_at desc, {{ byte_order('records.event_id') }} desc
        ) as place
    from records
    where
        {{ in_window('records.event_date') }}
        and records.event_name = 'conversation_recorded'
)

select
    ranked.event_date,
    ranked.entity_id as conversation_id,
    ranked.agent_id,
    ranked.user_id,
    ranked.channel,
    ranked.occurred_at as recorded_at,
    ranked.event_id,
    {{ listed(conversation_properties(), 'ranked.{name}') }},
    ranked.currency,
    {{ milliseconds_between('ranked.start_time', 'ranked.end_time') }} as duration_ms,
    case
        when {{ is_reported_money('ranked') }}
            then coalesce(ranked.conversion_value_cents, 0)
        else 0
    end as revenue_cents
from ranked
where ranked.place = 1
