-- Grain: one row per identifier, as known at the end of the last date run.
{{ config(
    incremental_strategy='delete+insert',
    unique_key=['identifier_type', 'identifier'],
    pre_hook="{{ delete_newer_identifiers() }}",
    indexes=btree([['identifier'], ['person_id'], ['person_since']])
) }}

with identifiers as not materialized (
    select * from {{ ref('int_identifiers') }}
),

persons as not materialized (
    select * from {{ ref('int_identity_persons') }}
),

-- Whoever was first seen or changed persons since the oldest date that was prepared, now or
-- before. Later dates than the window's count too: they stand, or will be run again.
changed as (
    select
        identifiers.identifier_type,
        identifiers.identifier
    from identifiers
    {%- if is_incremental() %}
    where identifiers.first_date >= {{ date_var('prepare_start') }}
    union
    select
        persons.identifier_type,
        persons.identifier
    from persons
    where persons.event_date >= {{ date_var('prepare_start') }}
    union
    select
        past.identifier_type,
        past.identifier
    from {{ this }} as past
    where past.person_since >= {{ date_var('prepare_start') }}
    {%- endif %}
),

seen as (
    select
        identifiers.identifier_type,
        identifiers.identifier,
        min(identifiers.first_date) as first_seen_date
    from identifiers
    where identifiers.identifier in (select changed.identifier from changed)
    group by identifiers.identifier_type, identifiers.identifier
),

latest as (
    select
        persons.identifier_type,
        persons.identifier,
        persons.event_date,
        persons.person_id,
        row_number() over (
            partition by persons.identifier_type, persons.identifier
            order by persons.event_date desc
        ) as age
    from persons
    where persons.identifier in (select changed.identifier from changed)
)

select
    seen.identifier_type,
    seen.identifier,
    coalesce(
        latest.person_id, {{ person_hash('seen.identifier_type', 'seen.identifier') }}
    ) as person_id,
    seen.first_seen_date,
    coalesce(latest.event_date, seen.first_seen_date) as person_since
from seen
left join latest
    on
        seen.identifier_type = latest.identifier_type
        and seen.identifier = latest.identifier
        and latest.age = 1
