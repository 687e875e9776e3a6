-- Messages on episodes of alerts, one row for each channel and time that an episode opened or was
-- resolved; number counts the messages on an episode. Without delivered_at it will be tried again.
create table if not exists ops.alert_deliveries (
    rule varchar not null,
    subject_type varchar not null,
    subject_id varchar not null,
    opened_on date not null,
    channel varchar not null,
    number bigint not null,
    event varchar not null,
    attempts bigint not null,
    attempted_at timestamp not null,
    delivered_at timestamp,
    last_error varchar,
    primary key (rule, subject_type, subject_id, opened_on, channel, number)
);

-- The latest publication of which a channel was told everything.
create table if not exists ops.alert_handovers (
    channel varchar primary key,
    publication_id bigint not null,
    data_through date,
    handed_over_at timestamp not null
);
