-- Channels, webhooks, digests, bounces and the follow-up of matches (decision 7, domain §6).

-- A channel: paused by an operator or not, and what to do with an attempt that may have arrived.
CREATE TABLE notify.channel (
    name text NOT NULL,
    ambiguous text NOT NULL DEFAULT 'resend',
    paused_at timestamptz,
    CONSTRAINT channel_pk PRIMARY KEY (name),
    CONSTRAINT channel_name CHECK (name IN ('mail', 'webhook')),
    CONSTRAINT channel_ambiguous CHECK (ambiguous IN ('resend', 'hold'))
);
INSERT INTO notify.channel (name, paused_at)
SELECT name, paused_at
  FROM (VALUES ('mail'), ('webhook')) AS known (name)
  LEFT JOIN notify.pause ON pause.channel = known.name;
DROP TABLE notify.pause;

-- An organisation's own system, told of each match; `address` and `secrets` are sealed.
CREATE TABLE registry.webhook (
    id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    name text NOT NULL,
    form text NOT NULL,
    address_epoch integer NOT NULL,
    address bytea NOT NULL,
    secrets_epoch integer NOT NULL,
    secrets bytea NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    CONSTRAINT webhook_pk PRIMARY KEY (id),
    CONSTRAINT webhook_name UNIQUE (organisation_id, name),
    CONSTRAINT webhook_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id),
    CONSTRAINT webhook_form CHECK (form IN ('standard', 'cloudevents'))
);

-- Of each notice, whom it is for in turn (fairness), and what it is.
ALTER TABLE notify.notice
    ADD COLUMN party_id uuid,
    DROP CONSTRAINT notice_kind,
    ADD CONSTRAINT notice_kind CHECK (
        kind IN ('match', 'moved', 'reminder', 'overdue', 'worklist', 'monitoring')
    );
CREATE INDEX notice_by_reporter ON notify.notice (reporter_id, created_at);
UPDATE notify.notice
   SET party_id = reporter.organisation_id
  FROM registry.reporter
 WHERE reporter.id = notice.reporter_id;

-- A webhook's delivery is on one match; `spared` attempts do not count towards the last one.
ALTER TABLE notify.delivery
    ADD COLUMN party_id uuid,
    ADD COLUMN webhook_id uuid,
    ADD COLUMN match_id uuid,
    ADD COLUMN spared integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT delivery_notice,
    DROP CONSTRAINT delivery_channel,
    ADD CONSTRAINT delivery_notice UNIQUE NULLS NOT DISTINCT (notice_id, channel, webhook_id, match_id),
    ADD CONSTRAINT delivery_channel FOREIGN KEY (channel) REFERENCES notify.channel (name),
    ADD CONSTRAINT delivery_webhook CHECK (
        (channel = 'webhook') = (webhook_id IS NOT NULL AND match_id IS NOT NULL)
    ),
    ADD CONSTRAINT delivery_of_webhook FOREIGN KEY (webhook_id)
        REFERENCES registry.webhook (id) ON DELETE CASCADE;
CREATE INDEX delivery_by_webhook ON notify.delivery (webhook_id) WHERE webhook_id IS NOT NULL;
UPDATE notify.delivery
   SET party_id = notice.party_id
  FROM notify.notice
 WHERE notice.id = delivery.notice_id;
DROP INDEX notify.delivery_due;
CREATE INDEX delivery_due ON notify.delivery (channel, party_id, next_at)
    WHERE state IN ('pending', 'queued', 'retry');
CREATE INDEX delivery_held ON notify.delivery (state, created_at) WHERE state IN ('unknown', 'dead');

-- M9: matches that come soon after a notice wait for the next one to the same reporter.
CREATE TABLE notify.mailbox (
    reporter_id uuid NOT NULL,
    quiet_until timestamptz NOT NULL,
    CONSTRAINT mailbox_pk PRIMARY KEY (reporter_id)
);

-- What a reminder is on; never the same step twice for one side.
CREATE TABLE notify.notice_step (
    notice_id uuid NOT NULL,
    match_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    step text NOT NULL,
    CONSTRAINT notice_step_pk PRIMARY KEY (match_id, signal_id, step),
    CONSTRAINT notice_step_notice FOREIGN KEY (notice_id)
        REFERENCES notify.notice (id) ON DELETE CASCADE,
    CONSTRAINT notice_step_step CHECK (
        step IN ('reminder', 'overdue', 'worklist', 'monitoring_3', 'monitoring_12')
    )
);
CREATE INDEX notice_step_by_notice ON notify.notice_step (notice_id);

-- D6: what happened after a match, in a store of its own; it goes with the match.
CREATE SCHEMA followup;

CREATE TABLE followup.outcome (
    match_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    outcome text NOT NULL,
    new_to_me boolean NOT NULL,
    said_at timestamptz NOT NULL,
    via text NOT NULL,
    CONSTRAINT outcome_pk PRIMARY KEY (match_id, signal_id),
    CONSTRAINT outcome_match FOREIGN KEY (match_id) REFERENCES matching.match (id) ON DELETE CASCADE,
    CONSTRAINT outcome_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE,
    CONSTRAINT outcome_outcome CHECK (
        outcome IN ('spoken', 'already_cooperating', 'not_reachable', 'no_shared_need')
    ),
    CONSTRAINT outcome_via CHECK (via IN ('api', 'link'))
);
CREATE INDEX outcome_by_signal ON followup.outcome (signal_id);

-- A side's link in a mail: good for one answer, until its date.
CREATE TABLE followup.link (
    id uuid NOT NULL,
    match_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT link_pk PRIMARY KEY (id),
    CONSTRAINT link_match FOREIGN KEY (match_id) REFERENCES matching.match (id) ON DELETE CASCADE,
    CONSTRAINT link_signal FOREIGN KEY (signal_id) REFERENCES matching.signal (id) ON DELETE CASCADE
);
CREATE INDEX link_by_match ON followup.link (match_id);
CREATE INDEX link_by_signal ON followup.link (signal_id);
CREATE INDEX link_expiry ON followup.link (expires_at);

-- A match of which nobody has said yet that they spoke, and when something is due on it.
CREATE TABLE followup.clock (
    match_id uuid NOT NULL,
    next_on date NOT NULL,
    next_step text NOT NULL,
    listed_on date,
    CONSTRAINT clock_pk PRIMARY KEY (match_id),
    CONSTRAINT clock_match FOREIGN KEY (match_id) REFERENCES matching.match (id) ON DELETE CASCADE
);
CREATE INDEX clock_due ON followup.clock (next_on);
CREATE INDEX clock_listed ON followup.clock (listed_on) WHERE listed_on IS NOT NULL;

-- A3: what the organisations of a category are to a case.
ALTER TABLE registry.category
    ADD COLUMN role text,
    ADD CONSTRAINT category_role CHECK (role IN (
        'local_team', 'veilig_thuis', 'certified_institution', 'mda', 'csg', 'zvh'
    ));

-- What a report told of an attempt after it was handed over (RFC 3464).
ALTER TABLE notify.attempt
    ADD COLUMN reported text,
    ADD CONSTRAINT attempt_reported CHECK (reported IN ('delayed', 'delivered', 'failed'));

-- W3: an address that mail came back from; the next in line gets the notices.
ALTER TABLE registry.reporter ADD COLUMN mail_failed_at timestamptz;
ALTER TABLE registry.officer ADD COLUMN mail_failed_at timestamptz;

-- How mails to an organisation look: contact data in it, a link instead, or encrypted (S/MIME).
ALTER TABLE registry.organisation
    ADD COLUMN smime_certificate bytea,
    ADD COLUMN match_url text,
    DROP CONSTRAINT organisation_mail_mode,
    ADD CONSTRAINT organisation_mail_mode CHECK (mail_mode IN ('full', 'link_only', 'smime')),
    ADD CONSTRAINT organisation_smime CHECK ((mail_mode = 'smime') = (smime_certificate IS NOT NULL));

ALTER TABLE registry.region
    ADD COLUMN digest_seconds integer NOT NULL DEFAULT 20,
    ADD CONSTRAINT region_digest CHECK (digest_seconds >= 0);
