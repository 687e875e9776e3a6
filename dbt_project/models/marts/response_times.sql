-- Grain: one row per message_sent that answered somebody who waited.
{{ config(
    pre_hook="{{ delete_window('metric_date') }}",
    indexes=btree([['metric_date'], ['chat_id']])
) }}

with chat_events as (
    select * from {{ ref('int_chat_events') }}
),

opening_hours as (
    select * from {{ ref('int_opening_hours') }}
),

responses as (
    select
        chat_events.*,
        cast({{ business_time('chat_events.answered_wait') }} as date) as waiting_date
    from chat_events
    where {{ in_window('chat_events.event_date') }} and chat_events.response_ms is not null
),

-- Business time as a clock that runs while the business is open; it starts with the oldest wait.
clock as (
    select
        opening_hours.*,
        sum(opening_hours.open_ms) over (
            order by opening_hours.calendar_date, opening_hours.opening_number
        ) - opening_hours.open_ms as ms_before
    from opening_hours
    where
        opening_hours.calendar_date >= (select min(responses.waiting_date) from responses)
        and opening_hours.calendar_date < {{ window_end() }}
),

moments as (
    select
        responses.event_id,
        -1 as sign,
        responses.waiting_date as moment_date,
        responses.answered_wait as moment
    from responses
    union all
    select
        responses.event_id,
        1 as sign,
        responses.event_date as moment_date,
        responses.occurred_at as moment
    from responses
),

-- What the clock shows at the second moment less what it showed at the first.
business as (
    select
        moments.event_id,
        sum(
            moments.sign * (
                case when clock.opening_number = 1 then clock.ms_before else 0 end
                + greatest(0, least(
                    clock.open_ms,
                    coalesce({{ milliseconds_between('clock.opens_at', 'moments.moment') }}, 0)
                ))
            )
        ) as response_ms
    from moments
    inner join clock on moments.moment_date = clock.calendar_date
    group by moments.event_id
)

select
    responses.event_date as metric_date,
    responses.event_id as response_event_id,
    responses.chat_id,
    responses.channel,
    responses.answered_wait as waiting_since,
    responses.occurred_at as responded_at,
    {{ rate('responses.response_ms', 1000) }} as response_seconds,
    {{ rate('business.response_ms', 1000) }} as business_response_seconds,
    responses.agent_id,
    responses.user_id,
    responses.responses = 1 as is_first_response
from responses
inner join business on responses.event_id = business.event_id
