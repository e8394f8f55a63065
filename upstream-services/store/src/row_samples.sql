-- About how many rows tables had, one sample a day each.
CREATE TABLE row_samples (
    name VARCHAR(64) NOT NULL,
    day BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    estimate BIGINT NOT NULL,
    PRIMARY KEY (name, day)
);
