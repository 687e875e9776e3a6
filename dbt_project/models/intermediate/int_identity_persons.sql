-- Grain: one row per identifier and date on which its person changed.
-- The hook computes what is appended (macros/persons.sql), from these:
-- depends_on: {{ ref('int_identity_pairs') }}
-- depends_on: {{ ref('int_identity_conflicts') }}
{{ config(
    pre_hook=["{{ delete_window('event_date') }}", "{{ connect_persons() }}"],
    indexes=btree([['event_date'], ['identifier'], ['smallest_identifier']])
) }}

select
    changes.event_date,
    changes.identifier_type,
    changes.identifier,
    changes.smallest_type,
    changes.smallest_identifier,
    {{ person_hash('changes.smallest_type', 'changes.smallest_identifier') }} as person_id
from {{ person_changes() }} as changes
