-- When a signal got a key that it did not register with (M11, M12); NULL: it registered with it.
ALTER TABLE matching.token ADD COLUMN added_at timestamptz;

-- G6: what a notice of kind 'moved' is on: whose child moved, and to which municipality.
CREATE TABLE notify.notice_move (
    notice_id uuid NOT NULL,
    signal_id uuid NOT NULL,
    municipality text NOT NULL,
    CONSTRAINT notice_move_pk PRIMARY KEY (notice_id, signal_id),
    CONSTRAINT notice_move_notice FOREIGN KEY (notice_id)
        REFERENCES notify.notice (id) ON DELETE CASCADE
);
CREATE INDEX notice_move_by_signal ON notify.notice_move (signal_id);
