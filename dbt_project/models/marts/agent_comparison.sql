-- Grain: one row per as_of_date and agent that worked or was billed in its 30 dates.
{{ config(pre_hook="{{ delete_window('as_of_date') }}", indexes=btree([['as_of_date']])) }}

with performance as (
    select * from {{ ref('agent_performance') }}
),

agent_days as not materialized (
    select * from {{ ref('int_agent_days') }}
),

calendar as (
    select * from {{ ref('int_calendar') }}
),

measured as (
    select
        performance.*,
        {{ peer_counts('performance.performance_score', ['performance.as_of_date'], "'all'") }}
    from performance
    where {{ in_window('performance.as_of_date') }}
),

billed as (
    select
        calendar.calendar_date as as_of_date,
        agent_days.agent_id,
        {{ total('agent_days.billed_cents') }} as billed_cents
    from agent_days
    inner join calendar
        on
            agent_days.event_date <= calendar.calendar_date
            and agent_days.event_date + 30 > calendar.calendar_date
    where
        {{ in_window('agent_days.event_date', reach=29) }}
        and {{ in_window('calendar.calendar_date') }}
        and agent_days.charges > 0
    group by calendar.calendar_date, agent_days.agent_id
),

-- A status holds until the next one; the few there are, however long ago.
status_spans as (
    select
        agent_days.agent_id,
        agent_days.status,
        agent_days.event_date as starts_on,
        lead(agent_days.event_date) over (
            partition by agent_days.agent_id order by agent_days.event_date
        ) as ends_on
    from agent_days
    where
        agent_days.event_date < {{ window_end() }}
        and agent_days.status is not null
),

agents as (
    select
        measured.as_of_date,
        measured.agent_id
    from measured
    union
    select
        billed.as_of_date,
        billed.agent_id
    from billed
)

select
    agents.as_of_date,
    agents.agent_id,
    status_spans.status,
    measured.performance_score,
    measured.grade,
    case
        when measured.performance_score is not null
            then measured.all_peers - measured.all_not_above + 1
    end as rank,
    {{ peer_percentile('measured.performance_score', 'measured') }} as percentile,
    coalesce(measured.total_conversations, 0) as total_conversations,
    coalesce(measured.conversions, 0) as conversions,
    coalesce(measured.appointments_booked, 0) as appointments_booked,
    measured.appointment_completion_rate,
    measured.no_show_rate,
    coalesce(measured.total_revenue_cents, 0) as revenue_cents,
    coalesce(billed.billed_cents, 0) as billed_cents,
    coalesce(measured.total_revenue_cents, 0) - coalesce(billed.billed_cents, 0) as net_cents,
    {{ rate('measured.total_revenue_cents', 'billed.billed_cents') }} as revenue_per_billed
from agents
left join measured
    on agents.as_of_date = measured.as_of_date and agents.agent_id = measured.agent_id
left join billed
    on agents.as_of_date = billed.as_of_date and agents.agent_id = billed.agent_id
left join status_spans
    on
        agents.agent_id = status_spans.agent_id
        and agents.as_of_date >= status_spans.starts_on
        and agents.as_of_date < coalesce(status_spans.ends_on, {{ window_end() }})
