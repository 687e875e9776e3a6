-- Grain: one row per advisory message and fact (sent, delivered, read, failed): its first.
{{ config(
    pre_hook="{{ delete_window('fact_date') }}",
    indexes=btree([['fact_date'], ['message_id']])
) }}

with advisory as (
    select * from {{ ref('stg_advisory') }}
),

facts as (
    select 'sent' as fact
    union all
    select 'delivered' as fact
    union all
    select 'read' as fact
    union all
    select 'failed' as fact
),

window_events as (
    select
        advisory.event_date,
        advisory.event_hour,
        advisory.occurred_at,
        advisory.event_id,
        advisory.whatsapp_message_id as message_id,
        advisory.advisor_id_hash,
        advisory.entity_id as content_id,
        case advisory.event_name
            when 'whatsapp_message_read' then 'read'
            when 'whatsapp_delivery_status' then advisory.status
        end as reported
    from advisory
    where
        {{ in_window('advisory.event_date') }}
        and advisory.event_name in (
            'whatsapp_message_sent', 'whatsapp_delivery_status', 'whatsapp_message_read'
        )
),

-- First facts before the window stand for the events they came from.
message_events as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select
        past.fact_date as event_date,
        past.fact_hour as event_hour,
        past.occurred_at,
        past.event_id,
        past.message_id,
        past.advisor_id_hash,
        past.content_id,
        past.fact as reported
    from {{ this }} as past
    where
        {{ before_window('past.fact_date') }}
        and {{ is_key_of('message_id', of='window_events') }}
    {%- endif %}
),

known as (
    select
        message_events.*,
        first_value(message_events.advisor_id_hash) over up_to_event as message_advisor_id_hash,
        first_value(message_events.content_id) over up_to_event as message_content_id,
        min(message_events.event_date) over up_to_event as sent_date,
        min(
            case
                when message_events.reported in ('delivered', 'read') then message_events.event_date
            end
        ) over up_to_event as delivered_date,
        count(*) over up_to_event as events_so_far,
        {{ count_where("message_events.reported in ('delivered', 'read')") }} over up_to_event
            as deliveries_so_far,
        {{ count_where("message_events.reported = 'read'") }} over up_to_event as reads_so_far,
        {{ count_where("message_events.reported = 'failed'") }} over up_to_event as failures_so_far
    from message_events
    window up_to_event as ({{ up_to_event('message_events', 'message_id') }})
)

select
    known.event_date as fact_date,
    known.event_hour as fact_hour,
    known.message_id,
    facts.fact,
    known.occurred_at,
    known.event_id,
    known.message_advisor_id_hash as advisor_id_hash,
    known.message_content_id as content_id,
    known.sent_date,
    known.delivered_date
from known
inner join facts
    on
        case facts.fact
            when 'sent' then known.events_so_far = 1
            when 'delivered'
                then known.deliveries_so_far = 1 and known.reported in ('delivered', 'read')
            when 'read' then known.reads_so_far = 1 and known.reported = 'read'
            else known.failures_so_far = 1 and known.reported = 'failed'
        end
where {{ in_window('known.event_date') }}
