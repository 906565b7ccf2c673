-- Signals, their tokens, and the matches between them. No contact data, no identifier, no reason (D1, D3).
CREATE SCHEMA matching;

CREATE TABLE matching.signal (
    id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    reporter_id uuid NOT NULL,
    match_unit_id uuid NOT NULL,
    status text NOT NULL,
    registered_at timestamptz NOT NULL,
    remove_on date NOT NULL,
    destroy_by date NOT NULL,
    ended_at timestamptz,
    ground text,
    reference_epoch integer NOT NULL,
    reference bytea NOT NULL,
    CONSTRAINT signal_pk PRIMARY KEY (id),
    CONSTRAINT signal_status CHECK (status IN ('live', 'ended')),
    CONSTRAINT signal_ground CHECK (ground IN ('unjustified', 'risk_gone')),
    CONSTRAINT signal_end CHECK ((status = 'ended') = (ended_at IS NOT NULL AND ground IS NOT NULL))
);
CREATE INDEX signal_by_organisation ON matching.signal (organisation_id, registered_at, id);
CREATE INDEX signal_by_reporter ON matching.signal (reporter_id, registered_at, id);

-- `token` is the look-up token of decision 1; `sealed` is T, for re-keying only.
CREATE TABLE matching.token (
    signal_id uuid NOT NULL,
    role text NOT NULL,
    token uuid NOT NULL,
    key_epoch integer NOT NULL,
    index_epoch integer NOT NULL,
    sealed bytea NOT NULL,
    CONSTRAINT token_pk PRIMARY KEY (signal_id, token),
    CONSTRAINT token_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE,
    CONSTRAINT token_role CHECK (role IN ('child', 'weak', 'parent', 'address'))
);
CREATE INDEX token_lookup ON matching.token (token) INCLUDE (signal_id);

-- M7: the one live signal of a reporter on a child; `key` is the child token, or for a
-- child without BSN a keyed hash of its token and the file number (twins differ in that).
CREATE TABLE matching.live_child (
    reporter_id uuid NOT NULL,
    key uuid NOT NULL,
    signal_id uuid NOT NULL,
    CONSTRAINT live_child_pk PRIMARY KEY (reporter_id, key),
    CONSTRAINT live_child_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX live_child_by_signal ON matching.live_child (signal_id);

-- M7: keyed hashes of a reporter's e-mail and registration number; sharing one is being one person.
CREATE TABLE matching.person (
    reporter_id uuid NOT NULL,
    keys uuid[] NOT NULL,
    CONSTRAINT person_pk PRIMARY KEY (reporter_id)
);

-- A retry of a registration finds its answer here for seven days; gone with the signal.
CREATE TABLE matching.idempotency (
    organisation_id uuid NOT NULL,
    key uuid NOT NULL,
    fingerprint bytea NOT NULL,
    signal_id uuid NOT NULL,
    created boolean NOT NULL,
    remembered_at timestamptz NOT NULL,
    CONSTRAINT idempotency_pk PRIMARY KEY (organisation_id, key),
    CONSTRAINT idempotency_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX idempotency_by_signal ON matching.idempotency (signal_id);

CREATE TABLE matching.permit (
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT permit_pk PRIMARY KEY (jti)
);
CREATE INDEX permit_expiry ON matching.permit (expires_at);

CREATE TABLE matching.match_queue (
    id bigint GENERATED ALWAYS AS IDENTITY,
    signal_id uuid NOT NULL,
    CONSTRAINT match_queue_pk PRIMARY KEY (id),
    CONSTRAINT match_queue_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE
);
CREATE INDEX match_queue_by_signal ON matching.match_queue (signal_id);

-- A table of its own: matchers share-lock signals, so they must not write to them.
CREATE TABLE matching.processed (
    signal_id uuid NOT NULL,
    processed_at timestamptz NOT NULL,
    CONSTRAINT processed_pk PRIMARY KEY (signal_id),
    CONSTRAINT processed_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE
);

-- M5: a household token on more live children than the limit; pairs whose later signal
-- came at or after `since` need a second key.
CREATE TABLE matching.hub (
    token uuid NOT NULL,
    since timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT hub_pk PRIMARY KEY (token)
);

CREATE TABLE matching.match (
    id uuid NOT NULL,
    number text NOT NULL,
    signal_a uuid NOT NULL,
    signal_b uuid NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    matched_at timestamptz NOT NULL,
    CONSTRAINT match_pk PRIMARY KEY (id),
    CONSTRAINT match_number UNIQUE (number),
    CONSTRAINT match_pair UNIQUE (signal_a, signal_b),
    CONSTRAINT match_canonical CHECK (signal_a < signal_b),
    CONSTRAINT match_signal_a FOREIGN KEY (signal_a) REFERENCES matching.signal (id),
    CONSTRAINT match_signal_b FOREIGN KEY (signal_b) REFERENCES matching.signal (id),
    CONSTRAINT match_kind CHECK (kind IN ('child', 'household', 'possible')),
    CONSTRAINT match_status CHECK (status IN ('open', 'closed', 'void'))
);
CREATE INDEX match_by_signal_b ON matching.match (signal_b);

-- One row per side, so that an organisation lists its own matches from one index.
CREATE TABLE matching.match_side (
    match_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    reporter_id uuid NOT NULL,
    matched_at timestamptz NOT NULL,
    CONSTRAINT match_side_pk PRIMARY KEY (match_id, signal_id),
    CONSTRAINT match_side_match FOREIGN KEY (match_id) REFERENCES matching.match (id) ON DELETE CASCADE
);
CREATE INDEX match_side_by_organisation ON matching.match_side (organisation_id, matched_at, match_id, signal_id);
CREATE INDEX match_side_by_reporter ON matching.match_side (reporter_id, matched_at, match_id, signal_id);
CREATE INDEX match_side_by_signal ON matching.match_side (signal_id);
