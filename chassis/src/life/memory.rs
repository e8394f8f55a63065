//! Memory that nobody uses any more.
//!
//! An allocator keeps what is freed for what comes next. After a reload that can be as much as all that serves, and a
//! process that has little to do may keep it for ever.

use std::sync::OnceLock;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// Tells how the allocator of this program gives free memory back. The first call holds.
pub fn gives_back_by(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// Gives free memory back to the operating system, most of all what the thread that calls has allocated. Nothing happens where
/// the program has not told how.
pub fn give_back() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
