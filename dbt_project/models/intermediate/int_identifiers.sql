-- Grain: one row per identifier and first date (once nothing is stale: one row per identifier).
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date'], ['identifier']])
) }}

with events as not materialized (
    select * from {{ ref('stg_events') }}
),

messaging as not materialized (
    select * from {{ ref('stg_messaging') }}
),

identifiers_of_window as (
    select
        'user_id' as identifier_type,
        events.user_id as identifier,
        min(events.event_date) as first_date
    from events
    where {{ in_window('events.event_date') }} and events.user_id is not null
    group by events.user_id
    union all
    select
        'anonymous_id' as identifier_type,
        events.anonymous_id as identifier,
        min(events.event_date) as first_date
    from events
    where {{ in_window('events.event_date') }} and events.anonymous_id is not null
    group by events.anonymous_id
    union all
    select
        'phone_hash' as identifier_type,
        messaging.phone_hash as identifier,
        min(messaging.event_date) as first_date
    from messaging
    where
        {{ in_window('messaging.event_date') }}
        and messaging.event_name = 'user_identified'
        and messaging.phone_hash is not null
    group by messaging.phone_hash
    union all
    select
        'email_hash' as identifier_type,
        messaging.email_hash as identifier,
        min(messaging.event_date) as first_date
    from messaging
    where
        {{ in_window('messaging.event_date') }}
        and messaging.event_name = 'user_identified'
        and messaging.email_hash is not null
    group by messaging.email_hash
)

select
    identifiers_of_window.first_date,
    cast(identifiers_of_window.identifier_type as text) as identifier_type,
    identifiers_of_window.identifier
from identifiers_of_window
{% if is_incremental() %}
left join {{ this }} as past
    on
        identifiers_of_window.identifier_type = past.identifier_type
        and {{ stored_text('identifiers_of_window.identifier') }} = past.identifier
        and {{ before_window('past.first_date') }}
where past.identifier is null
{% endif %}
