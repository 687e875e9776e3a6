-- Dates whose raw events were removed are closed: all before closed_before. They stay as they are.
create table if not exists ops.closed_dates (
    closed_before date not null,
    closed_at timestamp not null
);

-- What retention removed: a row for each relation that lost rows.
create table if not exists ops.retentions (
    retention_id bigint not null,
    applied_at timestamp not null,
    relation varchar not null,
    kept_days bigint not null,
    removed_before date not null,
    rows bigint not null,
    primary key (retention_id, relation)
);

-- As in 001, but for closed dates: they are never stale, and what was loaded for them makes no later
-- date stale. That they had events still counts (as load 0), so that a date which was never run and
-- lies after them is stale.
create or replace view ops.partition_state as
with dated as (
    select
        partitions.partition_date,
        partitions.last_event_load_id,
        partitions.last_event_load_at,
        partitions.last_run_id,
        partitions.last_run_at,
        partitions.run_loads_through,
        partitions.prepared_loads_through,
        partitions.checked,
        partitions.published_run_id,
        partitions.partition_date < coalesce(
            (select max(closed_dates.closed_before) from ops.closed_dates as closed_dates),
            cast('0001-01-01' as date)
        ) as closed
    from ops.partitions as partitions
),

loaded as (
    select
        dated.*,
        max(
            case when dated.closed then 0 * dated.last_event_load_id
            else dated.last_event_load_id end
        ) over (order by dated.partition_date) as newest_load_id
    from dated
)

select
    loaded.partition_date,
    loaded.last_event_load_id,
    loaded.last_event_load_at,
    loaded.last_run_id,
    loaded.last_run_at,
    not loaded.closed
    and coalesce(loaded.newest_load_id > coalesce(loaded.run_loads_through, -1), false) as stale,
    not loaded.closed
    and coalesce(loaded.newest_load_id > coalesce(loaded.prepared_loads_through, -1), false)
        as prepared_stale,
    coalesce(loaded.checked, false) as checked,
    loaded.last_run_id is not null
    and coalesce(loaded.published_run_id = loaded.last_run_id, false) as published
from loaded;
