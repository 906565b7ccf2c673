-- Notices and their deliveries: outbox and ledger in one (decision 7). Ids only: no token, no contact data.
CREATE SCHEMA notify;

CREATE TABLE notify.notice (
    id uuid NOT NULL,
    reporter_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT notice_pk PRIMARY KEY (id)
);

-- M9: never a second notice for the same match to the same side.
CREATE TABLE notify.notice_match (
    notice_id uuid NOT NULL,
    match_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    CONSTRAINT notice_match_pk PRIMARY KEY (match_id, signal_id),
    CONSTRAINT notice_match_notice FOREIGN KEY (notice_id) REFERENCES notify.notice (id) ON DELETE CASCADE
);
CREATE INDEX notice_match_by_notice ON notify.notice_match (notice_id);

-- A channel that an operator paused; its deliveries wait in the ledger.
CREATE TABLE notify.pause (
    channel text NOT NULL,
    paused_at timestamptz NOT NULL,
    CONSTRAINT pause_pk PRIMARY KEY (channel)
);

-- `attempt` is the fencing token: a worker writes only under the number that it claimed.
CREATE TABLE notify.delivery (
    id uuid NOT NULL,
    notice_id uuid NOT NULL,
    channel text NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    phase text,
    maybe_duplicate boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL,
    lease_until timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT delivery_pk PRIMARY KEY (id),
    CONSTRAINT delivery_notice UNIQUE (notice_id, channel),
    CONSTRAINT delivery_of_notice FOREIGN KEY (notice_id) REFERENCES notify.notice (id) ON DELETE CASCADE,
    CONSTRAINT delivery_channel CHECK (channel IN ('mail')),
    CONSTRAINT delivery_state CHECK (
        state IN ('pending', 'queued', 'sending', 'retry', 'sent', 'unknown', 'dead', 'suppressed')
    ),
    CONSTRAINT delivery_phase CHECK (phase IN ('before_data', 'data')),
    CONSTRAINT delivery_lease CHECK ((state = 'sending') = (lease_until IS NOT NULL AND phase IS NOT NULL))
);
CREATE INDEX delivery_due ON notify.delivery (next_at) WHERE state IN ('pending', 'queued', 'retry');
CREATE INDEX delivery_leased ON notify.delivery (lease_until) WHERE state = 'sending';

CREATE TABLE notify.attempt (
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL,
    worker text NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text,
    code integer,
    CONSTRAINT attempt_pk PRIMARY KEY (delivery_id, attempt),
    CONSTRAINT attempt_delivery FOREIGN KEY (delivery_id) REFERENCES notify.delivery (id) ON DELETE CASCADE
);
