-- Ids of accepted events; they outlive the events, so that the first accepted one wins for good.
create table if not exists raw.event_ids (event_id uuid primary key);
