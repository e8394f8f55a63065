//! How much of the memory a query touches. What is answered is in `tests/scenarios`.

use super::bytes::Answer;
use super::snapshot::Node;

#[test]
fn what_a_usual_query_needs_is_in_few_lines_of_the_cache() {
    assert_eq!((size_of::<Node>(), size_of::<Answer>()), (64, 64));
}
