-- Grain: one row per metric_date, service_code and provider.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with call_events as (
    select * from {{ ref('int_call_events') }}
),

keyed as (
    select
        call_events.event_date as metric_date,
        coalesce(call_events.service_code, 'unknown') as service_code,
        coalesce(call_events.provider, 'unknown') as provider,
        call_events.event_name,
        call_events.event_name = 'call_ended' and call_events.status = 'completed' as is_completed,
        call_events.event_name = 'call_dropped' as is_dropped,
        call_events.is_recorded,
        call_events.ring_ms,
        case
            when
                call_events.event_name = 'call_dropped'
                or (call_events.event_name = 'call_ended' and call_events.status = 'completed')
                then call_events.duration_seconds
        end as talk_seconds
    from call_events
    where {{ in_window('call_events.event_date') }}
),

daily as (
    select
        keyed.metric_date,
        keyed.service_code,
        keyed.provider,
        {{ count_where("keyed.event_name = 'call_started'") }} as calls_attempted,
        {{ count_where("keyed.event_name = 'call_answered'") }} as calls_answered,
        {{ count_where('keyed.is_completed') }} as calls_completed,
        {{ count_where('keyed.is_dropped') }} as calls_dropped,
        {{ count_where('(keyed.is_completed or keyed.is_dropped) and keyed.is_recorded') }}
            as calls_recorded,
        cast(coalesce(sum(keyed.talk_seconds), 0) as double precision) as talk_seconds_total,
        cast(avg(keyed.talk_seconds) as double precision) as talk_seconds_avg,
        {{ percentile('keyed.talk_seconds', 0.5) }} as talk_seconds_p50,
        {{ percentile('keyed.talk_seconds', 0.95) }} as talk_seconds_p95,
        {{ average_seconds('keyed.ring_ms') }} as ring_seconds_avg
    from keyed
    group by keyed.metric_date, keyed.service_code, keyed.provider
)

select
    daily.metric_date,
    daily.service_code,
    daily.provider,
    daily.calls_attempted,
    daily.calls_answered,
    daily.calls_completed,
    daily.calls_dropped,
    daily.calls_recorded,
    {{ rate('daily.calls_answered', 'daily.calls_attempted') }} as answer_rate,
    {{ rate('daily.calls_completed', 'daily.calls_answered') }} as completion_rate,
    {{ rate('daily.calls_dropped', 'daily.calls_answered') }} as drop_rate,
    {{ rate('daily.calls_recorded', 'daily.calls_answered') }} as recording_rate,
    daily.talk_seconds_total,
    daily.talk_seconds_avg,
    daily.talk_seconds_p50,
    daily.talk_seconds_p95,
    daily.ring_seconds_avg
from daily
-- A call that only rang out (ended as busy, no answer, …) counts nothing: no row.
where
    daily.calls_attempted + daily.calls_answered + daily.calls_completed + daily.calls_dropped > 0
