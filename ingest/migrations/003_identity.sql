-- Links of identifiers that a person has taken back; `tidemark identity revoke` writes them.
create table if not exists ops.identity_revocations (
    event_id varchar primary key,
    event_date date not null,
    reason varchar not null,
    revoked_at timestamp not null
);
