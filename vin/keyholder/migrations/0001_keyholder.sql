-- What the key holder remembers: who may ask, how much, and since when each epoch's keys are used.
-- It knows no element, and of a reporter only how many elements were counted for him on a day.
CREATE SCHEMA keyholder;

CREATE TABLE keyholder.client (
    id text NOT NULL,
    organisation_id uuid NOT NULL,
    organisation text NOT NULL,
    active boolean NOT NULL,
    domains text[] NOT NULL,
    reporter_quota integer NOT NULL,
    organisation_quota integer NOT NULL,
    CONSTRAINT client_pk PRIMARY KEY (id),
    CONSTRAINT client_quota CHECK (reporter_quota >= 0 AND organisation_quota >= 0)
);

CREATE TABLE keyholder.epoch (
    epoch integer NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    CONSTRAINT epoch_pk PRIMARY KEY (epoch),
    CONSTRAINT epoch_period CHECK (not_after > not_before)
);

-- Days are local dates (Europe/Amsterdam).
CREATE TABLE keyholder.reporter_usage (
    day date NOT NULL,
    organisation_id uuid NOT NULL,
    reporter_id text NOT NULL,
    elements bigint NOT NULL,
    CONSTRAINT reporter_usage_pk PRIMARY KEY (day, organisation_id, reporter_id)
);

CREATE TABLE keyholder.organisation_usage (
    day date NOT NULL,
    organisation_id uuid NOT NULL,
    elements bigint NOT NULL,
    CONSTRAINT organisation_usage_pk PRIMARY KEY (day, organisation_id)
);
