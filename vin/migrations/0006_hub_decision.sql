-- M5: a person may decide that a hub is a family after all; then its token is a key like any other.
ALTER TABLE matching.hub
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN released_at timestamptz,
    ADD CONSTRAINT hub_id UNIQUE (id);
