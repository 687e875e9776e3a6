-- Which loads the published rows of a date had seen: what was loaded since can have restated them.
alter table ops.partitions add column if not exists published_loads_through bigint;

-- Dates that were published before the column was there: what the run that filled them had seen.
update ops.partitions set published_loads_through = (
    select max(runs.loads_through) from ops.etl_job_runs as runs
    where runs.run_id = ops.partitions.published_run_id
)
where published_loads_through is null and published_run_id is not null;
