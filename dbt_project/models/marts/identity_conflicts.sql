-- Grain: one row per identifier that joins nobody, as known at the end of the last date run.
{{ config(materialized='table') }}

with conflicts as not materialized (
    select * from {{ ref('int_identity_conflicts') }}
),

pairs as (
    select * from {{ ref('int_identity_pairs') }}
),

partners_by_type as (
    select
        conflicts.identifier_type,
        conflicts.identifier,
        pairs.partner_type,
        count(distinct pairs.partner) as partners
    from conflicts
    inner join pairs
        on
            conflicts.identifier_type = pairs.identifier_type
            and conflicts.identifier = pairs.identifier
    group by conflicts.identifier_type, conflicts.identifier, pairs.partner_type
)

select
    conflicts.identifier_type,
    conflicts.identifier,
    conflicts.reason,
    cast(coalesce(max(partners_by_type.partners), 0) as bigint) as partners,
    min(conflicts.conflict_date) as since
from conflicts
left join partners_by_type
    on
        conflicts.identifier_type = partners_by_type.identifier_type
        and conflicts.identifier = partners_by_type.identifier
group by conflicts.identifier_type, conflicts.identifier, conflicts.reason
