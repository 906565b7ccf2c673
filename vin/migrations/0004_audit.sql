-- Who did what, when and why (G3). Written in the acting transaction; never changed.
CREATE SCHEMA audit;

CREATE TABLE audit.entry (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    actor_kind text NOT NULL,
    actor text NOT NULL,
    object_kind text NOT NULL,
    object_id uuid,
    purpose text,
    result text NOT NULL,
    request_id uuid,
    detail jsonb NOT NULL,
    CONSTRAINT entry_pk PRIMARY KEY (id),
    CONSTRAINT entry_actor_kind CHECK (actor_kind IN ('client', 'operator', 'system'))
);
CREATE INDEX entry_by_object ON audit.entry (object_id, id);
