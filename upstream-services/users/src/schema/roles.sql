-- role: 'user' or 'admin'. disabled_at: since when the user cannot log in.
ALTER TABLE users ADD COLUMN role VARCHAR(16) NOT NULL DEFAULT 'user';
ALTER TABLE users ADD COLUMN disabled_at BIGINT;
