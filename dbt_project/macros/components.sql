{#-
    Connected components in SQL: statements into temporary tables, in rounds, until nothing changes.
    Both engines run the same statements; none of them loops over rows. What the graph is, is said
    by whoever calls (persons.sql).

    A graph that grows by the date is cut in halves of its dates, again and again, so that the
    components at the end of every date cost a logarithm of the dates and not a run for each.

    Two ends of an edge are told apart by their difference: DuckDB takes a bare a <> b for something
    to join by, and joins every vertex with every other.
-#}

{#- Graphs of several dates at once: a vertex of a date is date * 2^40 + vertex. -#}
{% macro vertex_of(day, vertex) -%}
    (({{ day }}) * 1099511627776 + {{ vertex }})
{%- endmacro %}

{% macro without_day(vertex) -%}
    ({{ vertex }} % 1099511627776)
{%- endmacro %}

{% macro day_of(vertex) -%}
    cast({{ vertex }} >> 40 as integer)
{%- endmacro %}

{#- A statement whose result nobody reads: `run_query` would make a table of it for Jinja. -#}
{% macro run_statement(sql) -%}
    {%- call statement(auto_begin=false) -%}{{ sql }}{%- endcall -%}
{%- endmacro %}

{#- The query between the tags of a call, into a temporary table of this connection. -#}
{% macro temporary_table(name) -%}
    {%- do run_statement(
        'drop table if exists ' ~ name ~ '; create temporary table ' ~ name ~ ' as ' ~ caller()
    ) -%}
{%- endmacro %}

{% macro single_value(query) -%}
    {{ return(run_query(query).rows[0][0]) }}
{%- endmacro %}

{#- What the vertices took, three steps far. -#}
{% macro three_steps(steps) -%}
    select one.vertex, three.taken
    from {{ steps }} as one
    inner join {{ steps }} as two on one.taken = two.vertex
    inner join {{ steps }} as three on two.taken = three.vertex
{%- endmacro %}

{#-
    The smallest vertex of each component: edges (a, b) to labels (vertex, label). Each round every
    vertex takes its smallest neighbour or itself, follows what that took to its end, in leaps that
    grow, and what became one vertex is contracted. Who stays in a round swallows a neighbour or is
    swallowed in the next one: a logarithm of rounds, of a logarithm of leaps each; 100 is never.
-#}
{% macro components(edges, labels) -%}
    {%- call temporary_table('tide_edges_0') %}
        select a, b from {{ edges }}
        union
        select b as a, a as b from {{ edges }}
    {%- endcall -%}
    {%- call temporary_table(labels) %}
        select distinct a as vertex, a as label from tide_edges_0
    {%- endcall -%}
    {%- set steps_left -%}
        select count(*)
        from tide_leap as one
        inner join tide_leap as two on one.taken = two.vertex
        where one.taken - two.taken <> 0
    {%- endset -%}
    {%- set state = namespace(left=single_value('select count(*) from tide_edges_0'), far=0) -%}
    {%- for round in range(100) if state.left -%}
        {%- set present, next = 'tide_edges_' ~ round % 2, 'tide_edges_' ~ (round + 1) % 2 -%}
        {%- call temporary_table('tide_leap') %}
            with step as (
                select a as vertex, least(a, min(b)) as taken from {{ present }} group by a
            )

            {{ three_steps('step') }}
        {%- endcall -%}
        {%- set state.far = single_value(steps_left) -%}
        {%- for leap in range(100) if state.far -%}
            {%- call temporary_table('tide_longer') %}
                {{ three_steps('tide_leap') }}
            {%- endcall -%}
            {%- call temporary_table('tide_leap') %}
                {{ three_steps('tide_longer') }}
            {%- endcall -%}
            {%- set state.far = single_value(steps_left) -%}
        {%- endfor -%}
        {%- do run_statement(
            'update ' ~ labels ~ ' set label = tide_leap.taken from tide_leap where '
            ~ labels ~ '.label = tide_leap.vertex') -%}
        {%- call temporary_table(next) %}
            select distinct leap_a.taken as a, leap_b.taken as b
            from {{ present }} as edges
            inner join tide_leap as leap_a on edges.a = leap_a.vertex
            inner join tide_leap as leap_b on edges.b = leap_b.vertex
            where leap_a.taken - leap_b.taken <> 0
        {%- endcall -%}
        {%- set state.left = single_value('select count(*) from ' ~ next) -%}
    {%- endfor -%}
{%- endmacro %}

{#-
    When which vertex joins a smaller one: edges (day, a, b) to moves (day, vertex, label), label
    being the smallest vertex of the component at the end of that day. Days count from 0, up to
    2^20. A vertex moves at most once; what it moved to may move on a later day.
-#}
{% macro component_moves(edges, moves) -%}
    {%- do components(edges, 'tide_labels') -%}
    {#- Most components come into being on one day; only the others are cut by date. -#}
    {%- call temporary_table('tide_spans') %}
        select tide_labels.label, min(edges.day) as first_day, max(edges.day) as last_day
        from {{ edges }} as edges
        inner join tide_labels on edges.a = tide_labels.vertex
        group by tide_labels.label
    {%- endcall -%}
    {%- call temporary_table(moves) %}
        select tide_spans.first_day as day, tide_labels.vertex, tide_labels.label
        from tide_labels
        inner join tide_spans on tide_labels.label = tide_spans.label
        where tide_spans.first_day = tide_spans.last_day and tide_labels.vertex <> tide_labels.label
    {%- endcall -%}
    {%- set last_day = single_value(
        'select coalesce(max(last_day), -1) from tide_spans where first_day < last_day') -%}
    {%- if last_day >= 0 -%}
        {%- call temporary_table('tide_dated') %}
            select edges.day, edges.a, edges.b
            from {{ edges }} as edges
            inner join tide_labels on edges.a = tide_labels.vertex
            inner join tide_spans on tide_labels.label = tide_spans.label
            where tide_spans.first_day < tide_spans.last_day
        {%- endcall -%}
        {%- for power in range(20, 0, -1) if 2 ** (power - 1) <= last_day -%}
            {%- do components_of_halves(2 ** power, 2 ** (power - 1)) -%}
        {%- endfor -%}
        {%- call temporary_table('tide_parts') %}
            select {{ vertex_of('day', 'a') }} as a, {{ vertex_of('day', 'b') }} as b from tide_dated
        {%- endcall -%}
        {%- do components('tide_parts', 'tide_labels') -%}
        {%- set append %}
            insert into {{ moves }}
            select
                {{ day_of('vertex') }},
                {{ without_day('vertex') }},
                {{ without_day('label') }}
            from tide_labels
            where vertex <> label
        {%- endset -%}
        {%- do run_statement(append) -%}
    {%- endif -%}
{%- endmacro %}

{#- In each part of so many days, the later half begins with what the earlier half has joined. -#}
{% macro components_of_halves(size, half) -%}
    {%- set part = 'day - day % ' ~ size -%}
    {%- call temporary_table('tide_parts') %}
        select {{ vertex_of(part, 'a') }} as a, {{ vertex_of(part, 'b') }} as b
        from tide_dated
        where day % {{ size }} < {{ half }}
    {%- endcall -%}
    {%- do components('tide_parts', 'tide_labels') -%}
    {%- call temporary_table('tide_joined') %}
        select distinct
            dated.day,
            coalesce({{ without_day('labels_a.label') }}, dated.a) as a,
            coalesce({{ without_day('labels_b.label') }}, dated.b) as b
        from (
            select
                day,
                a,
                b,
                case when day % {{ size }} >= {{ half }} then {{ vertex_of(part, 'a') }} end as part_a,
                case when day % {{ size }} >= {{ half }} then {{ vertex_of(part, 'b') }} end as part_b
            from tide_dated
        ) as dated
        left join tide_labels as labels_a on dated.part_a = labels_a.vertex
        left join tide_labels as labels_b on dated.part_b = labels_b.vertex
    {%- endcall -%}
    {%- call temporary_table('tide_dated') %}
        select day, a, b from tide_joined where a <> b
    {%- endcall -%}
{%- endmacro %}
