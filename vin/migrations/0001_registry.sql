-- Who takes part: the region, its organisations, their reporters and the programs that speak for them.
-- Contact data live here, sealed; nothing in this schema knows a child.
CREATE SCHEMA registry;

CREATE TABLE registry.region (
    only_one boolean NOT NULL DEFAULT true,
    code text NOT NULL,
    name text NOT NULL,
    parent_rule boolean NOT NULL,
    address_rule boolean NOT NULL,
    hub_limit integer NOT NULL,
    remind_after_days integer NOT NULL,
    overdue_after_days integer NOT NULL,
    escalate_after_days integer NOT NULL,
    CONSTRAINT region_pk PRIMARY KEY (only_one),
    CONSTRAINT region_only_one CHECK (only_one),
    CONSTRAINT region_hub_limit CHECK (hub_limit >= 2)
);

CREATE TABLE registry.municipality (
    code text NOT NULL,
    name text NOT NULL,
    CONSTRAINT municipality_pk PRIMARY KEY (code)
);

-- W1: categories are data with a validity period, designated by decree, not code.
CREATE TABLE registry.category (
    code text NOT NULL,
    name text NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    CONSTRAINT category_pk PRIMARY KEY (code)
);

CREATE TABLE registry.organisation (
    id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    category text NOT NULL,
    municipality text,
    language text NOT NULL,
    mail_mode text NOT NULL,
    CONSTRAINT organisation_pk PRIMARY KEY (id),
    CONSTRAINT organisation_code UNIQUE (code),
    CONSTRAINT organisation_category FOREIGN KEY (category) REFERENCES registry.category (code),
    CONSTRAINT organisation_municipality FOREIGN KEY (municipality) REFERENCES registry.municipality (code),
    CONSTRAINT organisation_language CHECK (language IN ('nl', 'en')),
    CONSTRAINT organisation_mail_mode CHECK (mail_mode IN ('full'))
);

-- valid_to is the last day on which the agreement holds.
CREATE TABLE registry.agreement (
    organisation_id uuid NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    CONSTRAINT agreement_pk PRIMARY KEY (organisation_id, valid_from),
    CONSTRAINT agreement_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id),
    CONSTRAINT agreement_period CHECK (valid_to >= valid_from)
);

CREATE TABLE registry.unit (
    id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    match_unit_id uuid NOT NULL,
    CONSTRAINT unit_pk PRIMARY KEY (id),
    CONSTRAINT unit_code UNIQUE (organisation_id, code),
    CONSTRAINT unit_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id)
);

CREATE TABLE registry.client (
    id text NOT NULL,
    organisation_id uuid NOT NULL,
    active boolean NOT NULL,
    scopes text[] NOT NULL,
    jwks jsonb NOT NULL,
    CONSTRAINT client_pk PRIMARY KEY (id),
    CONSTRAINT client_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id)
);

-- RFC 7523: an assertion's jti is accepted once; the row may go after it expired.
CREATE TABLE registry.assertion (
    client_id text NOT NULL,
    jti text NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT assertion_pk PRIMARY KEY (client_id, jti)
);
CREATE INDEX assertion_expiry ON registry.assertion (expires_at);

-- The data keys that seal contact data, each wrapped by the key-encryption key.
CREATE TABLE registry.data_key (
    epoch integer NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT data_key_pk PRIMARY KEY (epoch)
);

CREATE TABLE registry.reporter (
    id uuid NOT NULL,
    organisation_id uuid NOT NULL,
    reporter_id text NOT NULL,
    unit_id uuid NOT NULL,
    contact_epoch integer NOT NULL,
    contact bytea NOT NULL,
    designated_at timestamptz NOT NULL,
    CONSTRAINT reporter_pk PRIMARY KEY (id),
    CONSTRAINT reporter_reporter_id UNIQUE (organisation_id, reporter_id),
    CONSTRAINT reporter_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id),
    CONSTRAINT reporter_unit FOREIGN KEY (unit_id) REFERENCES registry.unit (id)
);

-- Coordinators (of an organisation), follow-up officers (of a municipality) and auditors.
CREATE TABLE registry.officer (
    id uuid NOT NULL,
    role text NOT NULL,
    organisation_id uuid,
    municipality text,
    contact_epoch integer NOT NULL,
    contact bytea NOT NULL,
    CONSTRAINT officer_pk PRIMARY KEY (id),
    CONSTRAINT officer_role CHECK (role IN ('coordinator', 'follow_up_officer', 'auditor')),
    CONSTRAINT officer_organisation FOREIGN KEY (organisation_id) REFERENCES registry.organisation (id),
    CONSTRAINT officer_municipality FOREIGN KEY (municipality) REFERENCES registry.municipality (code)
);
