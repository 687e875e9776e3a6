-- Grain: one row per conversion and identifier of the converting person that can have sessions.
{{ config(
    pre_hook="{{ delete_window('event_date') }}",
    indexes=btree([['event_date'], ['conversion_event_id']])
) }}

with all_conversions as (
    select * from {{ ref('int_attribution_conversions') }}
),

persons as (
    select * from {{ ref('int_identity_persons') }}
),

conversions as (
    select all_conversions.*
    from all_conversions
    where
        {{ in_window('all_conversions.event_date') }}
        and all_conversions.person_id is not null
),

spans as (
    {{ person_spans(
        'select members.identifier from persons as members where members.smallest_identifier in '
        ~ '(select conversions.smallest_identifier from conversions)'
    ) }}
),

-- The smallest identifier, which names the person, has no row while it has been in no other.
members as (
    select
        conversions.event_date,
        conversions.conversion_event_id,
        conversions.converted_at,
        spans.identifier_type,
        spans.identifier
    from conversions
    inner join spans
        on
            conversions.smallest_type = spans.smallest_type
            and conversions.smallest_identifier = spans.smallest_identifier
            and conversions.event_date >= spans.since
            and conversions.event_date < spans.until
    union
    select
        conversions.event_date,
        conversions.conversion_event_id,
        conversions.converted_at,
        conversions.smallest_type as identifier_type,
        conversions.smallest_identifier as identifier
    from conversions
)

select
    members.event_date,
    members.conversion_event_id,
    members.converted_at,
    members.identifier_type,
    members.identifier
from members
where members.identifier_type in ('user_id', 'anonymous_id')
