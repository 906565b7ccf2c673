-- Ending, archive and destruction (L1-L7), changed keys (M11, M12), succession (W2, W3), shielding (A5).

-- A signal that ended by `risk_gone` or by its date is in the archive until `archive_until`.
ALTER TABLE matching.signal
    ADD COLUMN archive_until date,
    DROP CONSTRAINT signal_ground,
    ADD CONSTRAINT signal_ground CHECK (ground IN ('unjustified', 'risk_gone', 'expired')),
    ADD CONSTRAINT signal_archive CHECK (
        (archive_until IS NOT NULL) = (coalesce(ground, '') IN ('risk_gone', 'expired'))
    );
CREATE INDEX signal_to_expire ON matching.signal (remove_on) WHERE status = 'live';
CREATE INDEX signal_to_destroy ON matching.signal (destroy_by);
CREATE INDEX signal_archived ON matching.signal (archive_until) WHERE archive_until IS NOT NULL;
CREATE INDEX signal_unjustified ON matching.signal (ended_at) WHERE ground = 'unjustified';

-- A match outlives an erased leg as void; two signals may match anew after a void match.
ALTER TABLE matching.match
    ALTER COLUMN signal_a DROP NOT NULL,
    ALTER COLUMN signal_b DROP NOT NULL,
    DROP CONSTRAINT match_signal_a,
    DROP CONSTRAINT match_signal_b,
    DROP CONSTRAINT match_pair,
    ADD CONSTRAINT match_signal_a
        FOREIGN KEY (signal_a) REFERENCES matching.signal (id) ON DELETE SET NULL,
    ADD CONSTRAINT match_signal_b
        FOREIGN KEY (signal_b) REFERENCES matching.signal (id) ON DELETE SET NULL;
-- Whatever made a match void, it goes from sight and from here some time after that.
ALTER TABLE matching.match ADD COLUMN voided_at timestamptz;
UPDATE matching.match SET voided_at = clock_timestamp() WHERE status = 'void';
ALTER TABLE matching.match
    ADD CONSTRAINT match_voided CHECK ((status = 'void') = (voided_at IS NOT NULL));
CREATE INDEX match_void ON matching.match (voided_at) WHERE voided_at IS NOT NULL;
CREATE INDEX match_by_signal_a ON matching.match (signal_a);
CREATE UNIQUE INDEX match_pair ON matching.match (signal_a, signal_b) WHERE status <> 'void';

-- A6: a number that was given is never given again, also after its match is destroyed.
CREATE TABLE matching.given_number (
    number text NOT NULL,
    CONSTRAINT given_number_pk PRIMARY KEY (number)
);
INSERT INTO matching.given_number SELECT number FROM matching.match;

-- L6: what a new reporter is told once of the archive.
CREATE TABLE matching.history_notice (
    id uuid NOT NULL,
    signal_id uuid NOT NULL,
    noticed_at timestamptz NOT NULL,
    opened_at timestamptz,
    CONSTRAINT history_notice_pk PRIMARY KEY (id),
    CONSTRAINT history_notice_once UNIQUE (signal_id),
    CONSTRAINT history_notice_signal FOREIGN KEY (signal_id)
        REFERENCES matching.signal (id) ON DELETE CASCADE
);
CREATE TABLE matching.history_signal (
    history_notice_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    CONSTRAINT history_signal_pk PRIMARY KEY (history_notice_id, signal_id),
    CONSTRAINT history_signal_notice FOREIGN KEY (history_notice_id)
        REFERENCES matching.history_notice (id) ON DELETE CASCADE,
    CONSTRAINT history_signal_archived FOREIGN KEY (signal_id)
        REFERENCES matching.signal (id) ON DELETE CASCADE
);
CREATE INDEX history_signal_by_signal ON matching.history_signal (signal_id);

-- M4: shelters, institutions, letter addresses.
CREATE TABLE matching.excluded_address (
    token uuid NOT NULL,
    CONSTRAINT excluded_address_pk PRIMARY KEY (token)
);

-- M12: the family of a child as the population register has it, while it has signals.
CREATE TABLE matching.relation (
    child uuid NOT NULL,
    supplied_at timestamptz NOT NULL,
    CONSTRAINT relation_pk PRIMARY KEY (child)
);
CREATE TABLE matching.relation_token (
    child uuid NOT NULL,
    role text NOT NULL,
    token uuid NOT NULL,
    key_epoch integer NOT NULL,
    index_epoch integer NOT NULL,
    sealed bytea NOT NULL,
    CONSTRAINT relation_token_pk PRIMARY KEY (child, token),
    CONSTRAINT relation_token_relation FOREIGN KEY (child)
        REFERENCES matching.relation (child) ON DELETE CASCADE,
    CONSTRAINT relation_token_role CHECK (role IN ('parent', 'address'))
);

-- W3: a reporter who left, and the colleague who took over, if one did.
ALTER TABLE registry.reporter
    ADD COLUMN ended_at timestamptz,
    ADD COLUMN successor_id uuid,
    ADD CONSTRAINT reporter_successor FOREIGN KEY (successor_id) REFERENCES registry.reporter (id),
    ADD CONSTRAINT reporter_succeeded CHECK (successor_id IS NULL OR ended_at IS NOT NULL);

-- M7, W3: after a succession a reporter may have several live signals on one child; these
-- wait for the first to end.
CREATE TABLE matching.waiting_child (
    signal_id uuid NOT NULL,
    reporter_id uuid NOT NULL,
    key uuid NOT NULL,
    CONSTRAINT waiting_child_pk PRIMARY KEY (signal_id),
    CONSTRAINT waiting_child_signal FOREIGN KEY (signal_id)
        REFERENCES matching.signal (id) ON DELETE CASCADE
);
CREATE INDEX waiting_child_by_key ON matching.waiting_child (reporter_id, key);

-- W2: who takes over the live signals of an organisation whose agreement ended.
ALTER TABLE registry.region
    ADD COLUMN holder_organisation_id uuid,
    ADD COLUMN holder_reporter_id uuid,
    ADD CONSTRAINT region_holder FOREIGN KEY (holder_organisation_id)
        REFERENCES registry.organisation (id),
    ADD CONSTRAINT region_holder_reporter FOREIGN KEY (holder_reporter_id)
        REFERENCES registry.reporter (id);

-- A5: of a shielded organisation the other side sees the broker, by the broker's name.
ALTER TABLE registry.organisation
    ADD COLUMN shielded boolean NOT NULL DEFAULT false,
    ADD COLUMN broker_name text,
    ADD CONSTRAINT organisation_broker CHECK (NOT shielded OR broker_name IS NOT NULL);
ALTER TABLE registry.officer
    DROP CONSTRAINT officer_role,
    ADD CONSTRAINT officer_role
        CHECK (role IN ('coordinator', 'follow_up_officer', 'auditor', 'broker'));

-- G6: not every notice is on a match of the recipient's own.
ALTER TABLE notify.notice
    ADD COLUMN kind text NOT NULL DEFAULT 'match',
    ADD CONSTRAINT notice_kind CHECK (kind IN ('match', 'moved'));

-- The sweeper forgets retries by their age.
CREATE INDEX idempotency_age ON matching.idempotency (remembered_at);
