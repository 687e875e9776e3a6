-- Grain: one row per event that answers or resolves a chat, or is the chat's last of its date.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['chat_id', 'event_date']])
) }}

{% set event = [
    'event_date', 'chat_id', 'occurred_at', 'event_id', 'event_name', 'channel', 'user_id',
    'agent_id',
] -%}
{#- What a message received begins, and what ends it. -#}
{% set ends = {'waiting': 'message_sent', 'unresolved': 'chat_resolved'} -%}
with messaging as (
    select * from {{ ref('stg_messaging') }}
),

window_events as (
    select
        {{ listed(event, 'messaging.{name}') }},
        messaging.resolution_time_seconds,
        cast(null as timestamp) as waiting_since,
        cast(null as timestamp) as unresolved_since,
        cast(0 as bigint) as responses
    from messaging
    where
        {{ in_window('messaging.event_date') }}
        and messaging.chat_id is not null
        and messaging.event_name in (
            'message_received', 'message_sent', 'chat_assigned', 'chat_resolved'
        )
),

-- In front of them, how each chat was left before the window: one row, however long it goes on.
chat_events as (
    select * from window_events
    {%- if is_incremental() %}
    union all
    select
        latest.event_date,
        latest.chat_id,
        latest.occurred_at,
        latest.event_id,
        'left' as event_name,
        latest.waiting_channel as channel,
        null as user_id,
        latest.chat_agent_id as agent_id,
        null as resolution_time_seconds,
        latest.waiting_since,
        latest.unresolved_since,
        latest.responses
    from ({{ latest_before_window('chat_id', of='window_events') }}) as latest
    {%- endif %}
),

numbered as (
    select
        chat_events.*,
        row_number() over (
            partition by chat_events.chat_id
            order by chat_events.event_date, {{ event_order('chat_events') }}
        ) as event_number
    from chat_events
),

-- Just before the event: was somebody waiting, and was something received and not resolved?
seen as (
    select
        numbered.*,
        {%- for state, end in ends.items() %}
        {{ is_open(
            'numbered.event_number',
            "numbered.event_name = 'message_received' or numbered." ~ state ~ "_since is not null",
            "numbered.event_name = '" ~ end ~ "'", 'before_event'
        ) }} as was_{{ state }},
        {%- endfor %}
        coalesce(numbered.event_date <> lead(numbered.event_date) over (
            partition by numbered.chat_id order by numbered.event_number
        ), true) as is_last_of_date
    from numbered
    window before_event as (
        partition by numbered.chat_id order by numbered.event_number
        rows between unbounded preceding and 1 preceding
    )
),

known as (
    select
        seen.*,
        seen.event_name = 'message_sent' and seen.was_waiting as is_response,
        {%- for state, end in ends.items() %}
        seen.event_name = 'message_received'
        or (seen.was_{{ state }} and seen.event_name <> '{{ end }}') as is_{{ state }},
        max(case
            when seen.event_name = 'message_received' and not seen.was_{{ state }}
                then seen.occurred_at
            else seen.{{ state }}_since
        end) over up_to_event as latest_{{ state }}_since,
        {%- endfor %}
        sum(case
            when seen.event_name = 'message_sent' and seen.was_waiting then 1
            else seen.responses
        end) over up_to_event as known_responses,
        {{ latest_value(
            'seen.event_number', 'seen.channel',
            "seen.event_name = 'message_received' and not seen.was_waiting"
            " or seen.waiting_since is not null", 'up_to_event'
        ) }} as latest_channel,
        {{ latest_value(
            'seen.event_number', 'seen.agent_id',
            "seen.event_name in ('chat_assigned', 'message_sent', 'left')", 'up_to_event'
        ) }} as latest_agent_id
    from seen
    window up_to_event as (
        partition by seen.chat_id order by seen.event_number
        rows between unbounded preceding and current row
    )
)

select
    {{ listed(event, 'known.{name}') }},
    case when known.is_response then known.latest_waiting_since end as answered_wait,
    case
        when known.is_response
            then {{ milliseconds_between('known.latest_waiting_since', 'known.occurred_at') }}
    end as response_ms,
    case
        when known.event_name = 'chat_resolved' and known.was_unresolved
            then {{ milliseconds_between('known.latest_unresolved_since', 'known.occurred_at') }}
    end as resolution_ms,
    case
        when not known.was_unresolved then known.resolution_time_seconds
    end as reported_resolution_seconds,
    case when known.is_waiting then known.latest_waiting_since end as waiting_since,
    case when known.is_waiting then known.latest_channel end as waiting_channel,
    case when known.is_unresolved then known.latest_unresolved_since end as unresolved_since,
    cast(known.known_responses as bigint) as responses,
    known.latest_agent_id as chat_agent_id,
    known.is_last_of_date
from known
where
    {{ in_window('known.event_date') }}
    and (known.is_response or known.event_name = 'chat_resolved' or known.is_last_of_date)
