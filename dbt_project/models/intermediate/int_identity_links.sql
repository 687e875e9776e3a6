-- Grain: one row per accepted user_identified event and identifier in it.
{{ config(
    pre_hook=["{{ delete_window('event_date') }}", "{{ delete_revoked() }}"],
    indexes=btree([['event_date'], ['event_id'], ['identifier']])
) }}

with messaging as (
    select * from {{ ref('stg_messaging') }}
),

revocations as (
    select * from {{ source('ops', 'identity_revocations') }}
),

identifier_types as (
    select 'anonymous_id' as identifier_type
    union all
    select 'email_hash' as identifier_type
    union all
    select 'phone_hash' as identifier_type
    union all
    select 'user_id' as identifier_type
),

identifiers as (
    select
        messaging.event_date,
        messaging.event_id,
        messaging.occurred_at,
        identifier_types.identifier_type,
        case identifier_types.identifier_type
            when 'anonymous_id' then messaging.anonymous_id
            when 'email_hash' then messaging.email_hash
            when 'phone_hash' then messaging.phone_hash
            when 'user_id' then messaging.user_id
        end as identifier
    from messaging
    cross join identifier_types
    where
        {{ in_window('messaging.event_date') }}
        and messaging.event_name = 'user_identified'
        and not coalesce(messaging.dnt, false)
)

select
    identifiers.event_date,
    identifiers.event_id,
    identifiers.occurred_at,
    cast(identifiers.identifier_type as text) as identifier_type,
    identifiers.identifier
from identifiers
left join revocations on identifiers.event_id = revocations.event_id
where
    identifiers.identifier is not null
    and revocations.event_id is null
