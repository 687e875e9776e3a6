-- Grain: one row per identifier that joins nobody, on the first date on which it does not.
{{ config(
    pre_hook="{{ delete_window('conflict_date') }}",
    indexes=btree([['conflict_date'], ['identifier']])
) }}

with pairs as not materialized (
    select * from {{ ref('int_identity_pairs') }}
),

placeholders as (
    select * from {{ ref('identity_placeholders') }}
),

-- The whole past of the identifiers that got a new partner in the window.
touched as (
    select
        pairs.first_date,
        pairs.identifier_type,
        pairs.identifier,
        row_number() over (
            partition by pairs.identifier_type, pairs.identifier, pairs.partner_type
            order by pairs.first_date
        ) as partner_number,
        exists(
            select 1
            from placeholders
            where
                lower(trim(pairs.identifier)) = coalesce(placeholders.identifier, 'null')
                and placeholders.identifier_type in ('*', pairs.identifier_type)
        ) as is_placeholder
    from pairs
    where
        ({{ before_window('pairs.first_date') }} or {{ in_window('pairs.first_date') }})
        and pairs.identifier in (
            select in_window.identifier
            from pairs as in_window
            where {{ in_window('in_window.first_date') }}
        )
),

conflicts as (
    select
        touched.identifier_type,
        touched.identifier,
        min(touched.first_date) as conflict_date,
        case when touched.is_placeholder then 'placeholder' else 'partners' end as reason
    from touched
    where
        touched.is_placeholder
        or touched.partner_number = {{ var('identity_max_partners') | int }} + 1
    group by touched.identifier_type, touched.identifier, touched.is_placeholder
)

select
    conflicts.conflict_date,
    conflicts.identifier_type,
    conflicts.identifier,
    cast(conflicts.reason as text) as reason
from conflicts
where {{ in_window('conflicts.conflict_date') }}
