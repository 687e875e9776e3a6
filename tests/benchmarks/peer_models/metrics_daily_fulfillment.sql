with touched as (
    select distinct entity_id from raw.events
    where
        event_date = $day
        and (domain = 'orders' or (event_name = 'moderation_decision' and entity_type = 'order'))
),
events as (
    select
        events.event_date, events.entity_id, events.occurred_at, events.event_id, events.event_name,
        case when events.event_name = 'moderation_decision' then events.status end as decision,
        case when events.event_name = 'order_created' then events.service_code end as service_code,
        case when events.event_name = 'order_assigned' then events.reader_id end as reader_id
    from raw.events as events
    inner join touched on events.entity_id = touched.entity_id
    where
        events.event_date <= $day
        and (
            events.domain = 'orders'
            or (events.event_name = 'moderation_decision' and events.entity_type = 'order')
        )
),
known as (
    select
        *,
        row_number() over (
            partition by entity_id, event_name order by occurred_at, event_id
        ) as nth,
        (array_agg(service_code) filter (where service_code is not null) over w)[1] as service,
        array_agg(reader_id) filter (where reader_id is not null) over w as readers,
        min(case when event_name = 'order_created' then occurred_at end) over w as created_at
    from events
    window w as (
        partition by entity_id order by occurred_at, event_id
        rows between unbounded preceding and current row
    )
)
select
    event_date as metric_date,
    coalesce(service, 'unknown') as service_code,
    coalesce(readers[array_length(readers, 1)], 'unassigned') as reader_id,
    count(*) filter (where event_name = 'order_created' and nth = 1) as orders_created,
    count(*) filter (where event_name = 'order_assigned' and nth = 1) as orders_assigned,
    count(*) filter (where event_name = 'order_submitted') as orders_submitted,
    count(*) filter (where event_name = 'order_completed' and nth = 1) as orders_completed,
    count(*) filter (where event_name = 'order_cancelled' and nth = 1) as orders_cancelled,
    count(distinct case when decision is not null then entity_id end) as orders_decided,
    cast(
        avg(
            case
                when event_name = 'order_completed' and nth = 1
                    then extract(epoch from occurred_at - created_at)
            end
        ) as double precision
    ) as ttf_delivery_seconds_avg
from known
where event_date = $day
group by 1, 2, 3
having
    count(*) filter (
        where
        (
            nth = 1
            and event_name in ('order_created', 'order_assigned', 'order_completed', 'order_cancelled')
        )
        or event_name = 'order_submitted'
        or decision is not null
    ) > 0
