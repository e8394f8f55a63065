//! The versions of a zone that others may have, as far back as there is room.

use std::collections::VecDeque;
use std::sync::Arc;

use super::version::{Step, Version, is_newer};

/// The current version of a zone, and how it came about.
#[derive(Debug)]
pub struct Journal {
    current: Arc<Version>,
    /// Each begins with the version where the one before ends; the last ends with the current one.
    steps: VecDeque<Arc<Step>>,
}

/// What a new version is, compared with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The same.
    Nothing,
    /// A later one: others want to know.
    Later,
    /// Other records with the same serial: others never notice.
    SameSerial,
    /// An earlier serial: others do not follow, because theirs is later.
    Earlier,
}

/// A new version, compared with the one before. It takes long to make for a large zone, and short to take note of.
#[derive(Debug)]
pub struct Change {
    /// What it is.
    pub news: News,
    next: Arc<Version>,
    step: Option<Step>,
}

impl Change {
    /// Compares a version with the next.
    pub fn between(current: &Version, next: Arc<Version>) -> Self {
        let (before, after) = (current.serial(), next.serial());
        let news = match before == after {
            true if *next == *current => News::Nothing,
            true => News::SameSerial,
            false if is_newer(after, before) => News::Later,
            false => News::Earlier,
        };
        let step = (news == News::Later).then(|| current.step_to(&next));
        Self { news, next, step }
    }
}

/// What someone with some version needs.
#[derive(Clone, Debug)]
pub enum Since {
    /// Nothing.
    UpToDate,
    /// These steps.
    Steps(Vec<Arc<Step>>),
    /// The whole zone.
    Whole,
}

impl Journal {
    /// Begins with a version.
    pub fn new(current: Arc<Version>) -> Self {
        Self {
            current,
            steps: VecDeque::new(),
        }
    }

    /// The current version.
    pub fn current(&self) -> &Arc<Version> {
        &self.current
    }

    /// Makes another version the current one, and keeps at most so many records of past changes.
    pub fn advance(&mut self, change: Change, most: usize) {
        match change.step {
            Some(step) => self.steps.push_back(Arc::new(step)),
            // What the others lead to is not there any more.
            None if change.news != News::Nothing => self.steps.clear(),
            None => {}
        }
        self.current = change.next;
        self.shorten(most);
    }

    fn shorten(&mut self, most: usize) {
        let size = |step: &Arc<Step>| step.removed.len() + step.added.len() + 2;
        let mut total: usize = self.steps.iter().map(size).sum();
        while total > most
            && let Some(first) = self.steps.pop_front()
        {
            total -= size(&first);
        }
    }

    /// What someone with this version needs.
    pub fn since(&self, serial: u32) -> Since {
        let current = self.current.serial();
        if serial == current || is_newer(serial, current) {
            return Since::UpToDate;
        }
        let begins = |step: &Arc<Step>| step.from.times().map(|times| times.serial) == Some(serial);
        let Some(first) = self.steps.iter().position(begins) else {
            return Since::Whole;
        };
        let steps: Vec<_> = self.steps.range(first..).cloned().collect();
        let size = |step: &Arc<Step>| step.removed.len() + step.added.len() + 2;
        match steps.iter().map(size).sum::<usize>() > self.current.records.len() + 2 {
            // Then it is the shorter one.
            true => Since::Whole,
            false => Since::Steps(steps),
        }
    }
}
