-- Grain: one row per user and first active date (once nothing is stale: one row per user).
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date'], ['user_id']])
) }}

with user_days as (
    select * from {{ ref('int_user_days') }}
),

users_of_window as (
    select
        user_days.user_id,
        min(user_days.activity_date) as first_date
    from user_days
    where {{ in_window('user_days.activity_date') }}
    group by user_days.user_id
)

select
    users_of_window.first_date,
    users_of_window.user_id
from users_of_window
{% if is_incremental() %}
left join {{ this }} as past
    on
        users_of_window.user_id = past.user_id
        and {{ before_window('past.first_date') }}
where past.user_id is null
{% endif %}
