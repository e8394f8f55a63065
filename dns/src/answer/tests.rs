//! Scenario files: a query, and the whole answer.
