{#-
    Persons from pairs of identifiers: the hook of int_identity_persons, which carries the person of
    every identifier from date to date. Here is what the graph is; how components of a graph are
    found stands in components.sql.

    A person is named by its smallest identifier. From date to date persons only grow, but for dates
    on which an identifier is found to be shared by too many: its person is taken apart then, and
    put together again without it.
-#}

{#- Stable id of a person: a hash of the smallest (type, identifier). -#}
{% macro person_hash(identifier_type, identifier) -%}
    md5({{ identifier_type }} || ':' || {{ identifier }})
{%- endmacro %}

{#- What the hook leaves for its model to append. -#}
{% macro person_changes() -%}
    tide_persons
{%- endmacro %}

{#- Pre-hook: the changes of person of the window's dates, into person_changes(). -#}
{% macro connect_persons() -%}
    {%- if execute -%}
        {%- do prepare_persons() -%}
        {%- set cuts = run_query(
            "select distinct conflict_date from tide_conflicts where reason = 'partners' and "
            ~ in_window('conflict_date') ~ ' order by conflict_date').columns[0].values() -%}
        {%- set first = single_value('select min(first_date) from tide_pairs') -%}
        {%- set starts = [] -%}
        {%- if first is not none and (not cuts or first | string < cuts[0] | string) -%}
            {%- do starts.append((first, false)) -%}
        {%- endif -%}
        {%- for cut in cuts -%}
            {%- do starts.append((cut, true)) -%}
        {%- endfor -%}
        {%- for start, is_cut in starts -%}
            {%- set end = window_end() if loop.last else date_literal(starts[loop.index][0]) -%}
            {%- do connect_dates(date_literal(start), end, is_cut) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{% macro date_literal(value) -%}
    {{ return("cast('" ~ (value | string)[:10] ~ "' as date)") }}
{%- endmacro %}

{% macro prepare_persons() -%}
    {%- call temporary_table(person_changes()) %}
        select
            cast(null as date) as event_date,
            cast(null as text) as identifier_type,
            cast(null as text) as identifier,
            cast(null as text) as smallest_type,
            cast(null as text) as smallest_identifier
        where false
    {%- endcall -%}
    {%- call temporary_table('tide_conflicts') %}
        select conflict_date, identifier_type, identifier, reason
        from {{ ref('int_identity_conflicts') }}
        where conflict_date < {{ window_end() }}
    {%- endcall -%}
    {#- Each pair once, with the date from which on it joins nobody any more. -#}
    {%- call temporary_table('tide_pairs') %}
        select
            pairs.first_date,
            pairs.identifier_type,
            pairs.identifier,
            pairs.partner_type,
            pairs.partner,
            least(mine.conflict_date, theirs.conflict_date) as conflict_date
        from {{ ref('int_identity_pairs') }} as pairs
        left join tide_conflicts as mine
            on
                pairs.identifier_type = mine.identifier_type
                and pairs.identifier = mine.identifier
        left join tide_conflicts as theirs
            on
                pairs.partner_type = theirs.identifier_type
                and pairs.partner = theirs.identifier
        where
            {{ in_window('pairs.first_date') }}
            and (pairs.identifier_type, pairs.identifier) < (pairs.partner_type, pairs.partner)
            and coalesce(
                least(mine.conflict_date, theirs.conflict_date) > pairs.first_date, true
            )
    {%- endcall -%}
{%- endmacro %}

{#- Rows of the model before its window, and those that this run has found so far. -#}
{% macro known_persons() -%}
    select event_date, identifier_type, identifier, smallest_type, smallest_identifier
    from {{ person_changes() }}
    {%- if is_incremental() %}
    union all
    select event_date, identifier_type, identifier, smallest_type, smallest_identifier
    from {{ this }}
    where {{ before_window('event_date') }}
    {%- endif %}
{%- endmacro %}

{#- The person of each identifier of a table; an identifier that was never joined has no row. -#}
{% macro latest_persons(identifiers) -%}
    select
        aged.identifier_type,
        aged.identifier,
        aged.smallest_type,
        aged.smallest_identifier
    from (
        select
            known.identifier_type,
            known.identifier,
            known.smallest_type,
            known.smallest_identifier,
            row_number() over (
                partition by known.identifier_type, known.identifier order by known.event_date desc
            ) as age
        from ({{ known_persons() }}) as known
        where
            known.identifier in (select wanted.identifier from {{ identifiers }} as wanted)
    ) as aged
    where aged.age = 1
{%- endmacro %}

{#- All identifiers of the persons of a table (smallest_type, smallest_identifier). -#}
{% macro find_members(persons, members) -%}
    {%- call temporary_table('tide_candidates') %}
        select distinct known.identifier
        from ({{ known_persons() }}) as known
        where
            known.smallest_identifier in (select persons.smallest_identifier from {{ persons }} as persons)
    {%- endcall -%}
    {%- call temporary_table(members) %}
        select
            latest.identifier_type,
            latest.identifier,
            latest.smallest_type,
            latest.smallest_identifier
        from ({{ latest_persons('tide_candidates') }}) as latest
        inner join {{ persons }} as persons
            on
                latest.smallest_type = persons.smallest_type
                and latest.smallest_identifier = persons.smallest_identifier
        union
        select
            persons.smallest_type as identifier_type,
            persons.smallest_identifier as identifier,
            persons.smallest_type,
            persons.smallest_identifier
        from {{ persons }} as persons
    {%- endcall -%}
{%- endmacro %}

{#-
    The persons that lose an identifier on a date: their identifiers begin that date alone, and all
    their pairs that still hold join them again.
-#}
{% macro take_apart(start) -%}
    {%- call temporary_table('tide_cut') %}
        select identifier_type, identifier
        from tide_conflicts
        where reason = 'partners' and conflict_date = {{ start }}
    {%- endcall -%}
    {%- call temporary_table('tide_cut_persons') %}
        select distinct
            coalesce(latest.smallest_type, tide_cut.identifier_type) as smallest_type,
            coalesce(latest.smallest_identifier, tide_cut.identifier) as smallest_identifier
        from tide_cut
        left join ({{ latest_persons('tide_cut') }}) as latest
            on
                tide_cut.identifier_type = latest.identifier_type
                and tide_cut.identifier = latest.identifier
    {%- endcall -%}
    {%- do find_members('tide_cut_persons', 'tide_apart') -%}
    {%- set joins_again %}
        insert into tide_joins
        select
            {{ start }},
            pairs.identifier_type,
            pairs.identifier,
            pairs.partner_type,
            pairs.partner
        from {{ ref('int_identity_pairs') }} as pairs
        inner join tide_apart as mine
            on
                pairs.identifier_type = mine.identifier_type
                and pairs.identifier = mine.identifier
        inner join tide_apart as theirs
            on
                pairs.partner_type = theirs.identifier_type
                and pairs.partner = theirs.identifier
        left join tide_conflicts as my_conflict
            on
                pairs.identifier_type = my_conflict.identifier_type
                and pairs.identifier = my_conflict.identifier
                and my_conflict.conflict_date <= {{ start }}
        left join tide_conflicts as their_conflict
            on
                pairs.partner_type = their_conflict.identifier_type
                and pairs.partner = their_conflict.identifier
                and their_conflict.conflict_date <= {{ start }}
        where
            pairs.first_date < {{ start }}
            and my_conflict.identifier is null
            and their_conflict.identifier is null
    {%- endset -%}
    {%- do run_statement(joins_again) -%}
{%- endmacro %}

{#- Changes from a date to the one before another, between which persons only grow. -#}
{% macro connect_dates(start, end, is_cut) -%}
    {%- call temporary_table('tide_joins') %}
        select first_date as event_date, identifier_type, identifier, partner_type, partner
        from tide_pairs
        where
            first_date >= {{ start }}
            and first_date < {{ end }}
            and coalesce(conflict_date > {{ start }}, true)
    {%- endcall -%}
    {%- call temporary_table('tide_apart') %}
        select identifier_type, identifier, smallest_type, smallest_identifier
        from {{ person_changes() }}
        where false
    {%- endcall -%}
    {%- if is_cut -%}
        {%- do take_apart(start) -%}
    {%- endif -%}
    {%- call temporary_table('tide_ends') %}
        select identifier_type, identifier from tide_joins
        union
        select partner_type as identifier_type, partner as identifier from tide_joins
        union
        select identifier_type, identifier from tide_apart
    {%- endcall -%}
    {#- What is joined is persons as they were before; who was taken apart stands alone. -#}
    {%- call temporary_table('tide_bases') %}
        select
            tide_ends.identifier_type,
            tide_ends.identifier,
            case
                when tide_apart.identifier is null and latest.identifier is not null
                    then latest.smallest_type
                else tide_ends.identifier_type
            end as smallest_type,
            case
                when tide_apart.identifier is null and latest.identifier is not null
                    then latest.smallest_identifier
                else tide_ends.identifier
            end as smallest_identifier
        from tide_ends
        left join ({{ latest_persons('tide_ends') }}) as latest
            on
                tide_ends.identifier_type = latest.identifier_type
                and tide_ends.identifier = latest.identifier
        left join tide_apart
            on
                tide_ends.identifier_type = tide_apart.identifier_type
                and tide_ends.identifier = tide_apart.identifier
    {%- endcall -%}
    {#- Numbers in the order of bytes, so that the smallest of them is the smallest identifier. -#}
    {%- call temporary_table('tide_vertices') %}
        select
            bases.smallest_type,
            bases.smallest_identifier,
            row_number() over (
                order by
                    {{ byte_order('bases.smallest_type') }},
                    {{ byte_order('bases.smallest_identifier') }}
            ) as vertex
        from (select distinct smallest_type, smallest_identifier from tide_bases) as bases
    {%- endcall -%}
    {%- call temporary_table('tide_numbers') %}
        select tide_bases.identifier_type, tide_bases.identifier, tide_vertices.vertex
        from tide_bases
        inner join tide_vertices
            on
                tide_bases.smallest_type = tide_vertices.smallest_type
                and tide_bases.smallest_identifier = tide_vertices.smallest_identifier
    {%- endcall -%}
    {%- call temporary_table('tide_graph') %}
        select
            cast(min(tide_joins.event_date - {{ start }}) as integer) as day,
            mine.vertex as a,
            theirs.vertex as b
        from tide_joins
        inner join tide_numbers as mine
            on
                tide_joins.identifier_type = mine.identifier_type
                and tide_joins.identifier = mine.identifier
        inner join tide_numbers as theirs
            on
                tide_joins.partner_type = theirs.identifier_type
                and tide_joins.partner = theirs.identifier
        where mine.vertex - theirs.vertex <> 0
        group by mine.vertex, theirs.vertex
    {%- endcall -%}
    {%- do component_moves('tide_graph', 'tide_moves') -%}
    {%- do append_changes(start) -%}
{%- endmacro %}

{#- The moves of persons as changes of every identifier that belonged to them. -#}
{% macro append_changes(start) -%}
    {%- call temporary_table('tide_trails') %}
        with recursive trails as (
            select vertex as origin, day, label from tide_moves
            union all
            select trails.origin, tide_moves.day, tide_moves.label
            from trails
            inner join tide_moves on trails.label = tide_moves.vertex
        )
        select origin, day, label from trails
    {%- endcall -%}
    {%- call temporary_table('tide_moving') %}
        select tide_vertices.smallest_type, tide_vertices.smallest_identifier
        from tide_vertices
        inner join tide_moves on tide_vertices.vertex = tide_moves.vertex
        left join tide_apart
            on
                tide_vertices.smallest_type = tide_apart.identifier_type
                and tide_vertices.smallest_identifier = tide_apart.identifier
        where tide_apart.identifier is null
    {%- endcall -%}
    {%- do find_members('tide_moving', 'tide_members') -%}
    {#- Who was taken apart and went nowhere on that day is a person of its own. -#}
    {%- call temporary_table('tide_changes') %}
        select
            tide_trails.day,
            tide_trails.label,
            tide_members.identifier_type,
            tide_members.identifier
        from tide_members
        inner join tide_vertices
            on
                tide_members.smallest_type = tide_vertices.smallest_type
                and tide_members.smallest_identifier = tide_vertices.smallest_identifier
        inner join tide_trails on tide_vertices.vertex = tide_trails.origin
        union all
        select
            whereabouts.day,
            whereabouts.label,
            tide_apart.identifier_type,
            tide_apart.identifier
        from tide_apart
        inner join tide_vertices
            on
                tide_apart.identifier_type = tide_vertices.smallest_type
                and tide_apart.identifier = tide_vertices.smallest_identifier
        inner join (
            select origin, day, label from tide_trails
            union all
            select vertex as origin, 0 as day, vertex as label
            from tide_vertices
            where vertex not in (select tide_moves.vertex from tide_moves where tide_moves.day = 0)
        ) as whereabouts on tide_vertices.vertex = whereabouts.origin
    {%- endcall -%}
    {%- set append %}
        insert into {{ person_changes() }}
        select
            cast({{ start }} + tide_changes.day as date),
            tide_changes.identifier_type,
            tide_changes.identifier,
            tide_vertices.smallest_type,
            tide_vertices.smallest_identifier
        from tide_changes
        inner join tide_vertices on tide_changes.label = tide_vertices.vertex
        left join tide_apart
            on
                tide_changes.day = 0
                and tide_changes.identifier_type = tide_apart.identifier_type
                and tide_changes.identifier = tide_apart.identifier
                and tide_vertices.smallest_type = tide_apart.smallest_type
                and tide_vertices.smallest_identifier = tide_apart.smallest_identifier
        where tide_apart.identifier is null
    {%- endset -%}
    {%- do run_statement(append) -%}
{%- endmacro %}

{#- Pre-hook of int_identity_links: a link that was taken back goes, whatever its date. -#}
{% macro delete_revoked() -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where event_id in (
            select revocations.event_id
            from {{ source('ops', 'identity_revocations') }} as revocations
        )
    {%- endif -%}
{%- endmacro %}

{#-
    Pre-hook of identity_map: who was first seen since the oldest date that was prepared may be
    gone; who is not is written again.
-#}
{% macro delete_newer_identifiers() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where first_seen_date >= {{ date_var('prepare_start') }}
    {%- endif -%}
{%- endmacro %}
