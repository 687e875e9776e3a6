-- Who was erased, as salted hashes: `sha256(salt || identifier_type || ':' || identifier)`. The door
-- refuses what these did up to erased_at. No identifier is kept anywhere.
create table if not exists ops.erasure_tombstones (
    request_id varchar not null,
    identifier_type varchar not null,
    identifier_hash varchar not null,
    salt varchar not null,
    erased_at timestamp not null
);

-- The salt of this warehouse, one row; a journal that came from elsewhere brings its own.
create table if not exists ops.erasure_salt (
    salt varchar not null
);

-- The first date of an event that went (what was published from there on may be restated), and what
-- could not be done, in words.
alter table ops.erasures add column if not exists first_event_date date;

alter table ops.erasures add column if not exists left_to_do varchar;

-- Events that were refused because they are of erased persons; they count as duplicates.
alter table ops.loads add column if not exists erased bigint;
