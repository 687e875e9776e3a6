-- Grain: one row per content: when its first message went out, by whomever.
{{ config(
    pre_hook="{{ delete_window('sent_date') }}",
    indexes=btree([['sent_date'], ['content_id']])
) }}

with message_facts as (
    select * from {{ ref('int_message_facts') }}
),

sends_of_window as (
    select
        message_facts.content_id,
        min(message_facts.fact_date) as sent_date,
        min(message_facts.occurred_at) as sent_at
    from message_facts
    where
        {{ in_window('message_facts.fact_date') }}
        and message_facts.fact = 'sent'
    group by message_facts.content_id
)

select
    sends_of_window.sent_date,
    sends_of_window.content_id,
    sends_of_window.sent_at
from sends_of_window
{% if is_incremental() %}
left join {{ this }} as past
    on
        {{ stored_text('sends_of_window.content_id') }} = past.content_id
        and {{ before_window('past.sent_date') }}
where past.content_id is null
{% endif %}
