-- Grain: one row per metric_date and hour with an advisory event.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with advisory as (
    select * from {{ ref('stg_advisory') }}
),

message_facts as (
    select * from {{ ref('int_message_facts') }}
),

hourly_events as (
    select
        advisory.event_date as metric_date,
        advisory.event_hour as hour,
        {{ count_where("advisory.event_name = 'content_created'") }} as content_created,
        count(distinct advisory.advisor_id_hash) as active_advisors
    from advisory
    where {{ in_window('advisory.event_date') }}
    group by advisory.event_date, advisory.event_hour
),

hourly_facts as (
    select
        message_facts.fact_date as metric_date,
        message_facts.fact_hour as hour,
        {{ count_where("message_facts.fact = 'sent'") }} as messages_sent,
        {{ count_where("message_facts.fact = 'delivered'") }} as messages_delivered,
        {{ count_where("message_facts.fact = 'read'") }} as messages_read,
        {{ count_where("message_facts.fact = 'failed'") }} as messages_failed
    from message_facts
    where {{ in_window('message_facts.fact_date') }}
    group by message_facts.fact_date, message_facts.fact_hour
)

-- A fact is an event: hours with facts are among the hours with events.
select
    hourly_events.metric_date,
    cast(hourly_events.hour as bigint) as hour,
    coalesce(hourly_facts.messages_sent, 0) as messages_sent,
    coalesce(hourly_facts.messages_delivered, 0) as messages_delivered,
    coalesce(hourly_facts.messages_read, 0) as messages_read,
    coalesce(hourly_facts.messages_failed, 0) as messages_failed,
    {{ rate('hourly_facts.messages_delivered', 'hourly_facts.messages_sent') }}
        as delivery_success_rate,
    hourly_events.content_created,
    hourly_events.active_advisors
from hourly_events
left join hourly_facts
    on
        hourly_events.metric_date = hourly_facts.metric_date
        and hourly_events.hour = hourly_facts.hour
