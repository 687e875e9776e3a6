-- Grain: one row per metric_date, hour and channel.
{{ config(pre_hook="{{ delete_window('metric_date') }}", indexes=btree([['metric_date']])) }}

with hourly as (
    select * from {{ ref('int_hourly_activity') }}
)

select
    hourly.event_date as metric_date,
    hourly.hour,
    hourly.channel,
    hourly.events,
    hourly.active_users
from hourly
where {{ in_window('hourly.event_date') }}
