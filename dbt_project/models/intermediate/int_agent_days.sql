-- Grain: one row per agent and date on which its usage was billed or its status changed.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['agent_id']])
) }}

with events as (
    select * from {{ ref('stg_conversations') }}
),

-- Whoever is set up is created until told to be active.
told as (
    select
        events.event_date,
        events.agent_id,
        events.occurred_at,
        events.event_id,
        events.event_name in ('agent_created', 'agent_status_changed') as tells_status,
        case events.event_name
            when 'agent_created' then 'created'
            when 'agent_status_changed' then events.status
        end as status,
        case
            when events.event_name = 'usage_billed' and {{ is_reported_money('events') }}
                then events.amount_cents
        end as billed_cents
    from events
    where
        {{ in_window('events.event_date') }}
        and events.event_name in ('agent_created', 'agent_status_changed', 'usage_billed')
),

ranked as (
    select
        told.*,
        row_number() over (
            partition by told.agent_id, told.event_date, told.tells_status
            order by told.occurred_at desc, {{ byte_order('told.event_id') }} desc
        ) as number_from_last
    from told
)

select
    ranked.event_date,
    ranked.agent_id,
    count(ranked.billed_cents) as charges,
    {{ total('ranked.billed_cents') }} as billed_cents,
    max(ranked.status) filter (where ranked.number_from_last = 1) as status
from ranked
group by ranked.event_date, ranked.agent_id
