-- The tables of operations; read by both engines.
create table if not exists ops.warehouse (
    business_timezone varchar not null
);

create table if not exists ops.loads (
    load_id bigint primary key,
    source varchar not null,
    file_name varchar not null,
    file_sha256 varchar,
    started_at timestamp not null,
    finished_at timestamp,
    read bigint not null,
    accepted bigint not null,
    duplicates bigint not null,
    rejected bigint not null,
    min_event_date date,
    max_event_date date,
    status varchar not null,
    error varchar
);

create table if not exists ops.load_dates (
    load_id bigint not null,
    event_date date not null,
    accepted bigint not null
);

create table if not exists ops.unknown_properties (
    load_id bigint not null,
    event_name varchar not null,
    property varchar not null,
    events bigint not null
);

create table if not exists ops.rejected_events (
    rejection_id bigint primary key,
    load_id bigint not null,
    line_number bigint,
    reason_code varchar not null,
    field varchar,
    detail varchar,
    event_name varchar,
    payload varchar,
    rejected_at timestamp not null,
    resolved_at timestamp,
    resolution varchar
);

create table if not exists ops.partitions (
    partition_date date primary key,
    last_event_load_id bigint,
    last_event_load_at timestamp,
    last_run_id varchar,
    last_run_at timestamp,
    run_loads_through bigint,
    prepared_loads_through bigint,
    checked boolean,
    published_run_id varchar
);

create table if not exists ops.etl_job_runs (
    run_id varchar primary key,
    job varchar not null,
    range_start date,
    range_end date,
    started_at timestamp not null,
    finished_at timestamp,
    status varchar not null,
    rows_by_relation varchar,
    error varchar,
    loads_through bigint,
    dagster_run_id varchar
);

create table if not exists ops.check_results (
    run_id varchar not null,
    relation varchar not null,
    "check" varchar not null,
    status varchar not null,
    severity varchar not null,
    observed varchar,
    checked_at timestamp not null
);

create table if not exists ops.publications (
    publication_id bigint primary key,
    published_at timestamp not null,
    data_through date,
    run_id varchar,
    relations bigint not null,
    location varchar
);

create table if not exists ops.restatements (
    publication_id bigint not null,
    relation varchar not null,
    metric_date date,
    key varchar not null,
    "column" varchar not null,
    before varchar,
    after varchar,
    cause varchar
);

create table if not exists ops.erasures (
    request_id varchar primary key,
    identifier_hash varchar not null,
    requested_at timestamp not null,
    finished_at timestamp,
    rows_by_relation varchar
);

create table if not exists ops.event_schema_versions (
    event_name varchar not null,
    version bigint not null,
    fingerprint varchar not null,
    contract varchar not null,
    registered_at timestamp not null,
    primary key (event_name, version)
);

-- A date is stale when it was never run and lies between the first and the last event date, or
-- when events of it or of an earlier date were loaded after it was last run.
create or replace view ops.partition_state as
select
    partitions.partition_date,
    partitions.last_event_load_id,
    partitions.last_event_load_at,
    partitions.last_run_id,
    partitions.last_run_at,
    coalesce(
        max(partitions.last_event_load_id) over (order by partitions.partition_date)
        > coalesce(partitions.run_loads_through, -1),
        false
    ) as stale,
    coalesce(
        max(partitions.last_event_load_id) over (order by partitions.partition_date)
        > coalesce(partitions.prepared_loads_through, -1),
        false
    ) as prepared_stale,
    coalesce(partitions.checked, false) as checked,
    partitions.last_run_id is not null
    and coalesce(partitions.published_run_id = partitions.last_run_id, false) as published
from ops.partitions as partitions;
