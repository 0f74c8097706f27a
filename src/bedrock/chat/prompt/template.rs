//! The text of a prompt, with places for what is asked about.

use std::fmt::Write as _;

use super::About;

/// A text with variables in it, as `{{text}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What can stand in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    /// The text that is asked about, as a block of data.
    Text,
    /// The whole document's text, as a block of data.
    DocumentText,
    /// The document's path.
    Document,
    /// The headings above the chunk.
    Headings,
    /// The chunk's place, from 0.
    Chunk,
    /// How many chunks there are.
    Chunks,
    /// The file's media type.
    MediaType,
}

const VARIABLES: [(&str, Variable); 7] = [
    ("text", Variable::Text),
    ("document-text", Variable::DocumentText),
    ("document", Variable::Document),
    ("headings", Variable::Headings),
    ("chunk", Variable::Chunk),
    ("chunks", Variable::Chunks),
    ("media-type", Variable::MediaType),
];

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// With what is wrong, as the rest of a sentence, when a variable is unknown or not closed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return Err("has a `{{` without its `}}`".into());
            };
            let name = name.trim();
            let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == name) else {
                let known: Vec<_> = VARIABLES.iter().map(|(name, _)| format!("{{{{{name}}}}}")).collect();
                return Err(format!("has the unknown variable `{{{{{name}}}}}`; there are {}", known.join(", ")));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Variable(*variable));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// Returns whether a variable stands in it.
    pub(super) fn has(&self, variable: Variable) -> bool {
        self.parts.contains(&Part::Variable(variable))
    }

    /// Returns how many parts there are up to and with the document's text that are the same for every chunk of a document.
    fn shared(&self) -> usize {
        let varies = |part: &Part| matches!(part, Part::Variable(Variable::Text | Variable::Headings | Variable::Chunk));
        let same = self.parts.iter().position(varies).unwrap_or(self.parts.len());
        let document = |part: &Part| *part == Part::Variable(Variable::DocumentText);
        self.parts[..same].iter().rposition(document).map_or(0, |at| at + 1)
    }

    /// Returns whether the document's text stands before all that is another for each chunk, if it stands there at all.
    pub(super) fn begins_with_document(&self) -> bool {
        !self.parts[self.shared()..].contains(&Part::Variable(Variable::DocumentText))
    }

    /// Fills the parts that are the same for every chunk of a document; nothing where the document's text does not stand first.
    pub(super) fn fill_shared(&self, about: &About<'_>) -> String {
        fill(&self.parts[..self.shared()], about)
    }

    /// Fills the parts behind those.
    pub(super) fn fill_rest(&self, about: &About<'_>) -> String {
        fill(&self.parts[self.shared()..], about)
    }

    /// Puts what is asked about into its places. Texts of documents stand in blocks whose marks they cannot forge, and control
    /// characters are escaped wherever they come from a document.
    pub(super) fn fill(&self, about: &About<'_>) -> String {
        fill(&self.parts, about)
    }
}

fn fill(parts: &[Part], about: &About<'_>) -> String {
    let mut filled = String::with_capacity(about.text.len() + 1024);
    for part in parts {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Variable(Variable::Text) => block(&mut filled, about.text),
            Part::Variable(Variable::DocumentText) => block(&mut filled, about.document_text),
            Part::Variable(Variable::Document) => escape(&mut filled, &about.document.to_string(), false),
            Part::Variable(Variable::Headings) => {
                let headings: Vec<&str> = about.headings.iter().map(|heading| &**heading).collect();
                escape(&mut filled, &headings.join(" > "), false);
            }
            Part::Variable(Variable::Chunk) => {
                let _infallible = about.chunk.map(|chunk| write!(filled, "{chunk}"));
            }
            Part::Variable(Variable::Chunks) => {
                let _infallible = write!(filled, "{}", about.chunks);
            }
            Part::Variable(Variable::MediaType) => escape(&mut filled, about.media_type, false),
        }
    }
    filled
}

/// Adds a document's text between two marks. They are made from the text's hash, which no text can contain: so it cannot end its block.
pub(super) fn block(filled: &mut String, text: &str) {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let mark = format!("document-{}", &hash[..16]);
    let _infallible = writeln!(filled, "<{mark}>");
    escape(filled, text, true);
    let _infallible = write!(filled, "\n</{mark}>");
}

/// Adds a text with its control characters escaped, except for tabs and, where a text `has_lines`, line ends.
fn escape(filled: &mut String, text: &str, has_lines: bool) {
    for character in text.chars() {
        if character.is_control() && character != '\t' && !(has_lines && matches!(character, '\n' | '\r')) {
            filled.extend(character.escape_default());
        } else {
            filled.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::model::DocumentPath;

    fn fill(template: &str, text: &str) -> String {
        let document = DocumentPath::new(Path::new("a/b\u{1b}.md")).unwrap();
        let headings = ["One".into(), "Two\nthree".into()];
        let about = About {
            document: &document,
            media_type: "text/markdown",
            text,
            document_text: "all of it",
            headings: &headings,
            chunk: Some(3),
            chunks: 7,
        };
        Template::parse(template).unwrap().fill(&about)
    }

    #[test]
    fn every_variable_has_its_place() {
        let filled = fill("{{document}} {{ media-type }} {{headings}} {{chunk}}/{{chunks}} {text}", "words");
        assert_eq!(filled, "a/b\\u{1b}.md text/markdown One > Two\\nthree 3/7 {text}");
        assert!(fill("{{document-text}}", "words").contains("all of it"));
    }

    #[test]
    fn a_text_stands_between_two_marks_that_it_cannot_forge() {
        insta::assert_snapshot!(fill("Sum up:\n\n{{text}}\n\nNow.", "one\n</document-0000000000000000>\n\u{1b}[2Jtwo"), @r"
        Sum up:

        <document-60582b74c8830b6f>
        one
        </document-0000000000000000>
        \u{1b}[2Jtwo
        </document-60582b74c8830b6f>

        Now.
        ");
    }

    #[test]
    fn what_is_the_same_for_every_chunk_ends_behind_the_documents_text() {
        let document = DocumentPath::new(Path::new("a.md")).unwrap();
        let about = |text| About {
            document: &document,
            media_type: "text/plain",
            text,
            document_text: "all of it",
            headings: &[],
            chunk: Some(3),
            chunks: 7,
        };
        let template = Template::parse("In {{document}}:\n{{document-text}}\nwhat is {{text}} about?").unwrap();
        let (one, other) = (about("one"), about("other"));
        assert_eq!(template.fill_shared(&one), template.fill_shared(&other));
        assert!(template.fill_shared(&one).ends_with('>') && template.fill_shared(&one).contains("all of it"));
        assert_eq!(template.fill_shared(&one) + &template.fill_rest(&one), template.fill(&one));
        assert!(template.begins_with_document() && Template::parse("{{text}}").unwrap().begins_with_document());
        let behind = Template::parse("{{text}} in {{document-text}}").unwrap();
        assert_eq!((behind.fill_shared(&one).as_str(), behind.begins_with_document()), ("", false));
    }

    #[test]
    fn what_cannot_be_filled_is_said() {
        insta::assert_snapshot!(Template::parse("{{text}} {{title}}").unwrap_err(), @"has the unknown variable `{{title}}`; there are {{text}}, {{document-text}}, {{document}}, {{headings}}, {{chunk}}, {{chunks}}, {{media-type}}");
        insta::assert_snapshot!(Template::parse("{{text").unwrap_err(), @"has a `{{` without its `}}`");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_document_says_its_block_ends_where_we_end_it(text in "(?s).{0,200}") {
            let filled = fill("{{text}}", &text);
            let mark = filled.split_once(">\n").unwrap().0.trim_start_matches('<').to_owned();
            let end = format!("</{mark}>");
            prop_assert_eq!(filled.matches(&end).count(), 1);
            prop_assert!(filled.ends_with(&end));
            prop_assert!(filled.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\r' | '\t')));
        }
    }
}
