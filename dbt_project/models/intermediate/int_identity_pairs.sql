-- Grain: one row per identifier, partner and first date (once nothing is stale: one per pair).
{{ config(
    pre_hook="{{ delete_window('first_date') }}",
    indexes=btree([['first_date'], ['identifier']])
) }}

with links as not materialized (
    select * from {{ ref('int_identity_links') }}
),

hash_links as (
    select * from {{ source('ops', 'hash_links') }}
),

-- Hashes of one client under two keys, on the date of the first event that showed it.
clients as (
    select
        hash_links.identifier_type,
        hash_links.old_hash,
        hash_links.new_hash,
        min(hash_links.event_date) as first_date
    from hash_links
    where hash_links.load_id <= {{ var('loads_through') }}
    group by hash_links.identifier_type, hash_links.old_hash, hash_links.new_hash
),

pairs_of_window as (
    select
        links.identifier_type,
        links.identifier,
        partners.identifier_type as partner_type,
        partners.identifier as partner,
        min(links.event_date) as first_date
    from links
    inner join links as partners
        on
            links.event_id = partners.event_id
            and links.identifier_type <> partners.identifier_type
    where
        {{ in_window('links.event_date') }}
        and {{ in_window('partners.event_date') }}
    group by
        links.identifier_type, links.identifier, partners.identifier_type, partners.identifier
    union all
    select
        clients.identifier_type,
        clients.old_hash as identifier,
        clients.identifier_type as partner_type,
        clients.new_hash as partner,
        clients.first_date
    from clients
    where {{ in_window('clients.first_date') }}
    union all
    select
        clients.identifier_type,
        clients.new_hash as identifier,
        clients.identifier_type as partner_type,
        clients.old_hash as partner,
        clients.first_date
    from clients
    where {{ in_window('clients.first_date') }}
)

select
    pairs_of_window.first_date,
    pairs_of_window.identifier_type,
    pairs_of_window.identifier,
    pairs_of_window.partner_type,
    pairs_of_window.partner
from pairs_of_window
{% if is_incremental() %}
left join {{ this }} as past
    on
        pairs_of_window.identifier_type = past.identifier_type
        and {{ stored_text('pairs_of_window.identifier') }} = past.identifier
        and pairs_of_window.partner_type = past.partner_type
        and {{ stored_text('pairs_of_window.partner') }} = past.partner
        and {{ before_window('past.first_date') }}
where past.identifier is null
{% endif %}
