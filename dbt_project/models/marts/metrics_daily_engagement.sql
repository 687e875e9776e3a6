-- Grain: one row per metric_date, dense.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with active_users as (
    select * from {{ ref('int_active_users') }}
),

notifications as (
    select * from {{ ref('stg_notifications') }}
),

content as (
    select * from {{ ref('stg_content') }}
),

daily_notifications as (
    select
        notifications.event_date as metric_date,
        {{ count_where("notifications.event_name = 'notification_sent'") }} as notifications_sent,
        {{ count_where("notifications.event_name = 'notification_delivered'") }}
            as notifications_delivered,
        {{ count_where("notifications.event_name = 'notification_opened'") }}
            as notifications_opened,
        {{ count_where("notifications.event_name = 'notification_clicked'") }}
            as notifications_clicked,
        {{ count_where("notifications.event_name = 'notification_opted_out'") }}
            as notifications_opted_out
    from notifications
    where {{ in_window('notifications.event_date') }}
    group by notifications.event_date
),

daily_listens as (
    select
        content.event_date as metric_date,
        count(*) as listens,
        avg(
            case
                when content.listened_seconds >= content.audio_seconds and content.audio_seconds > 0
                    then 1
                else {{ rate('content.listened_seconds', 'content.audio_seconds') }}
            end
        ) as listen_through_rate
    from content
    where
        {{ in_window('content.event_date') }}
        and content.event_name = 'horoscope_listened'
    group by content.event_date
),

daily as (
    select
        active_users.metric_date,
        active_users.daily_active_users,
        active_users.weekly_active_users,
        active_users.monthly_active_users,
        active_users.new_users,
        active_users.returning_users,
        coalesce(daily_notifications.notifications_sent, 0) as notifications_sent,
        coalesce(daily_notifications.notifications_delivered, 0) as notifications_delivered,
        coalesce(daily_notifications.notifications_opened, 0) as notifications_opened,
        coalesce(daily_notifications.notifications_clicked, 0) as notifications_clicked,
        coalesce(daily_notifications.notifications_opted_out, 0) as notifications_opted_out,
        coalesce(daily_listens.listens, 0) as listens,
        daily_listens.listen_through_rate
    from active_users
    left join daily_notifications on active_users.metric_date = daily_notifications.metric_date
    left join daily_listens on active_users.metric_date = daily_listens.metric_date
    where {{ in_window('active_users.metric_date') }}
)

select
    daily.metric_date,
    daily.daily_active_users,
    daily.weekly_active_users,
    daily.monthly_active_users,
    {{ rate('daily.daily_active_users', 'daily.monthly_active_users') }} as stickiness,
    daily.new_users,
    daily.returning_users,
    daily.daily_active_users - daily.new_users - daily.returning_users as resurrected_users,
    daily.notifications_sent,
    daily.notifications_delivered,
    daily.notifications_opened,
    daily.notifications_clicked,
    daily.notifications_opted_out,
    {{ rate('daily.notifications_opened', 'daily.notifications_delivered') }}
        as notification_open_rate,
    {{ rate('daily.notifications_clicked', 'daily.notifications_delivered') }} as notification_ctr,
    {{ rate('daily.notifications_opted_out', 'daily.notifications_sent') }} as opt_out_rate,
    daily.listens,
    cast(daily.listen_through_rate as double precision) as listen_through_rate
from daily
