//! The headings above a text.

use std::sync::Arc;

/// A heading, as a parser found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading {
    /// 1 for the outermost.
    pub(super) depth: u8,
    pub(super) title: Box<str>,
}

/// A heading and what follows it up to the next one; or what precedes the first.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Where its heading begins.
    pub(super) start: usize,
    /// The titles in force, outermost first.
    pub(super) headings: Arc<[Box<str>]>,
}

/// The path of headings, as a text is read from front to back.
#[derive(Debug, Default)]
pub(super) struct Outline {
    path: Vec<Heading>,
    section: Arc<Section>,
}

impl Outline {
    /// Returns the section of a block that begins at `start`, and which may itself be a heading.
    pub(super) fn enter(&mut self, start: usize, heading: Option<Heading>) -> Arc<Section> {
        if let Some(heading) = heading {
            self.path.retain(|outer| outer.depth < heading.depth);
            self.path.push(heading);
            let headings = self.path.iter().map(|heading| heading.title.clone()).collect();
            self.section = Arc::new(Section { start, headings });
        }
        Arc::clone(&self.section)
    }
}
