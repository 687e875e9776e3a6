-- The sessions of all events as one plain window-function query for DuckDB: the yardstick of the
-- models. It holds nothing that a later day could go on from. Its rows are compared with theirs.
create or replace table hand.sessions as
with keyed as (
    select
        event_date, occurred_at, event_id, event_name, channel, landing_page, referrer, utm_source,
        utm_medium, utm_campaign, device_type,
        if(user_id is null, 'anonymous_id', 'user_id') as user_key_type,
        coalesce(user_id, anonymous_id) as user_key,
        coalesce(landing_page, referrer, utm_source, utm_medium, utm_campaign) is not null as carries
    from raw.events
    where event_name in ($session_events) and coalesce(user_id, anonymous_id) is not null
),
marked as (
    select
        *,
        row_number() over in_order as n,
        if(occurred_at <= lag(occurred_at) over in_order + interval 30 minutes, 0, 1) as starts
    from keyed
    window in_order as (
        partition by user_key_type, user_key, channel order by occurred_at, event_id
    )
),
numbered as (
    select
        *,
        sum(starts) over (
            partition by user_key_type, user_key, channel order by n rows unbounded preceding
        ) as session_number
    from marked
),
visits as (
    select
        user_key_type, user_key, channel, session_number,
        min(event_date) as session_date,
        min(occurred_at) as session_start_at,
        max(occurred_at) as session_end_at,
        count(*) as event_count,
        arg_min(event_name, n) as first_event_name,
        arg_max(event_name, n) as last_event_name,
        arg_min_null(landing_page, n) filter (where carries) as landing_page,
        arg_min_null(referrer, n) filter (where carries) as referrer,
        arg_min_null(utm_source, n) filter (where carries) as utm_source,
        arg_min_null(utm_medium, n) filter (where carries) as utm_medium,
        arg_min_null(utm_campaign, n) filter (where carries) as utm_campaign,
        arg_min(device_type, n) as device_type,
        max(event_date) as session_end_date
    from numbered
    group by all
),
converted as (
    select distinct visits.user_key, visits.channel, visits.session_number
    from visits
    inner join raw.events as conversions
        on
            conversions.user_id = visits.user_key
            and conversions.occurred_at between visits.session_start_at and visits.session_end_at
    where
        visits.user_key_type = 'user_id'
        and conversions.event_name in (
            'payment_succeeded', 'license_created', 'order_created', 'appointment_booked'
        )
)
select
    md5(concat_ws('|', user_key_type, channel, epoch_ms(session_start_at), user_key)) as session_id,
    visits.*,
    (epoch_ms(session_end_at) - epoch_ms(session_start_at)) / 1000 as duration_seconds,
    event_count = 1 as is_bounce,
    converted.user_key is not null and user_key_type = 'user_id' as has_conversion
from visits
left join converted using (user_key, channel, session_number);
