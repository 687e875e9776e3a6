-- What a login is: the reader, advisor, creator or brand whose rows it may read.
create table if not exists ops.identities (
    login_role varchar not null,
    kind varchar not null,
    subject_id varchar not null,
    primary key (login_role, kind, subject_id)
);

-- Readers' tables that are new, or have a new column, until a publication has filled them.
create table if not exists ops.unfilled_relations (
    relation varchar primary key
);
