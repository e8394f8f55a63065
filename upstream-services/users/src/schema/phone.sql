-- E.164, unique by a claim.
ALTER TABLE users ADD COLUMN phone VARCHAR(16);
