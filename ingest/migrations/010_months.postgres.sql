-- Adds the partition of a month to raw.events, with its owner's rights.
create or replace function raw.add_month(month date) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    begins date := date_trunc('month', month);
    name text := 'events_' || to_char(begins, 'YYYY_MM');
begin
    if to_regclass(format('raw.%I', name)) is not null then
        return;
    end if;
    execute format(
        'create table if not exists raw.%I partition of raw.events for values from (%L) to (%L)',
        name, begins, cast(begins + interval '1 month' as date)
    );
    execute format('create index if not exists %I on raw.%I (event_date)', name || '_date', name);
end
$$;

revoke execute on function raw.add_month(date) from public;
