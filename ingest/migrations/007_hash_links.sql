-- Versions of the hash keys that the door has looked back for: `staff` once, and each older version
-- of the clients' keys while it is listed beside the one that writes (the mapping window).
create table if not exists ops.hash_windows (
    version varchar primary key,
    opened_at timestamp not null
);

-- Hashes of clients that the warehouse holds under an older version; empty while no window is open.
create table if not exists ops.hashes_written (
    identifier_type varchar not null,
    hash varchar not null,
    version varchar not null
);

-- Two hashes of one client, under an older key and under the one that wrote: the event that showed
-- it, again when a later load brings an earlier event. Only hashes that the warehouse held already.
create table if not exists ops.hash_links (
    identifier_type varchar not null,
    old_hash varchar not null,
    new_hash varchar not null,
    event_date date not null,
    occurred_at timestamp not null,
    event_id varchar not null,
    load_id bigint not null
);

-- Hashes of staff that were written under a key of clients, before staff had a key of its own.
create table if not exists ops.staff_written (
    written varchar primary key,
    version varchar not null
);

-- How a member of staff is written, where that is not the hash under today's key of staff.
create table if not exists ops.staff_aliases (
    staff_hash varchar primary key,
    written varchar not null
);
