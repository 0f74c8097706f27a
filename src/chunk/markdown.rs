//! The blocks of a Markdown text (`CommonMark` with tables).

use std::collections::VecDeque;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::boundary::{Level, TextBlock};
use super::granularity::Grain;
use super::headings::Heading;

/// How much is parsed at a time, in bytes: the parser's tree is several times as large.
const WINDOW: usize = 256 * 1024;

/// The most that is parsed at a time, in bytes. The parser's tree takes up to 80 bytes for each byte of text (`[[[[`), and it is the document
/// that decides; so a top-level block that is longer is read in pieces, as is a line of over three quarters of this. See [`beyond`].
const LARGEST: usize = 1024 * 1024;

/// Characters of a title that are kept.
const TITLE: usize = 200;

/// Returns the blocks of a text. List items and quotes are blocks where they `fit`, and otherwise the blocks inside them are.
pub(super) fn blocks(text: &str, fits: impl Fn(Range<usize>) -> bool) -> impl Iterator<Item = TextBlock> {
    windowed(text, fits, WINDOW, LARGEST)
}

fn windowed(text: &str, fits: impl Fn(Range<usize>) -> bool, window: usize, largest: usize) -> impl Iterator<Item = TextBlock> {
    let front = text.len() - text.trim_start().len();
    let (mut at, mut ready) = (front, VecDeque::new());
    if let Some(end) = front_matter(text) {
        ready.push_back(TextBlock { start: front, level: Level::Block, grain: Grain::Line, heading: None });
        at = end;
    }
    let mut heads_section = false;
    std::iter::from_fn(move || {
        while ready.is_empty() && at < text.len() {
            let end = refill(text, at, (window, largest), &fits, &mut ready);
            // The parser makes no block of link definitions. They go with the block before; at the front there is none.
            if at == front && ready.front().is_none_or(|block| block.start > front) {
                ready.push_front(TextBlock { start: front, level: Level::Block, grain: Grain::Line, heading: None });
            }
            at = end;
        }
        let mut block = ready.pop_front()?;
        if std::mem::replace(&mut heads_section, block.heading.is_some()) {
            block.level = Level::AfterHeading;
        }
        Some(block)
    })
}

/// Parses from the start of a top-level block, and returns that of one which is not yet read.
///
/// A top-level block depends on nothing before it, so one may begin anywhere that one begins. What the end of the window may have
/// torn is its last top-level block; that is dropped and parsed again, in a larger window if there was no other. A block that does not
/// fit into the largest window is read in pieces.
fn refill(
    text: &str,
    start: usize,
    (mut size, largest): (usize, usize),
    fits: &impl Fn(Range<usize>) -> bool,
    ready: &mut VecDeque<TextBlock>,
) -> usize {
    loop {
        let window = lines(&text[start..], size, largest);
        let whole = window.len() == text.len() - start;
        let mut reader = Reader {
            window,
            start,
            fits,
            depth: 0,
            skip: 0,
            carried: None,
            last: 0,
            last_item: 0,
            last_block: 0,
            leaf: Leaf::Prose,
            title: None,
            blocks: Vec::new(),
        };
        for (event, range) in Parser::new_ext(window, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES).into_offset_iter() {
            reader.read(event, range);
        }
        if whole {
            ready.extend(reader.blocks);
            return text.len();
        }
        let torn = if reader.last > 0 {
            reader.last
        } else if size < largest && window.len() < largest {
            size = size.saturating_mul(2);
            continue;
        } else if reader.last_item > 0 {
            // The rest of a list is a list, with the same items.
            reader.last_item
        } else {
            reader.last_block
        };
        if torn > 0 {
            let end = start + torn;
            ready.extend(reader.blocks.into_iter().take_while(|block| block.start < end));
            return end;
        }
        ready.extend(reader.blocks);
        return beyond(text, start + window.len(), reader.leaf);
    }
}

/// Returns where reading goes on behind a single block that is longer than the largest window, which ends at `end`.
///
/// Nothing of such a block tells where it ends but a parse of all of it. Prose goes on as a block of its own with the next line. Other
/// blocks reach to what most likely ends them, so that no line of code is taken for a heading: code in a fence to its fence, and the rest to
/// a blank line.
fn beyond(text: &str, end: usize, leaf: Leaf) -> usize {
    let next_line = |from: usize| text[from..].find('\n').map_or(text.len(), |line_break| from + line_break + 1);
    let is_line_start = end == 0 || text[..end].ends_with('\n');
    let mut at = if is_line_start { end } else { next_line(end) };
    let is_end = |line: &str| match leaf {
        Leaf::Prose => true,
        Leaf::Lines => line.trim().is_empty(),
        Leaf::Fence(mark, length) => {
            let fence = line.trim_matches([' ', '\t', '\r', '\n', '>']);
            fence.len() >= length && fence.chars().all(|character| character == mark)
        }
    };
    while leaf != Leaf::Prose && at < text.len() {
        let next = next_line(at);
        if is_end(&text[at..next]) {
            return next;
        }
        at = next;
    }
    at
}

/// What a long block is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    /// Text, or nothing that is shown.
    Prose,
    /// Lines: a table, HTML, or code that is indented.
    Lines,
    /// Lines between fences: of which character, and of how many.
    Fence(char, usize),
}

/// Returns at least `size` bytes from the front of a text, and the rest of the line: half a line can be another block. But where that is
/// more than `largest`, the line is torn.
fn lines(text: &str, size: usize, largest: usize) -> &str {
    let size = text.ceil_char_boundary(size);
    let most = text.floor_char_boundary(largest).max(size);
    match text[size..most].find('\n') {
        Some(line_break) => &text[..=size + line_break],
        None => &text[..most],
    }
}

/// Returns where the YAML ends that some documents begin with.
///
/// Left to the parser, it would be a rule, and a heading over the last of its lines.
fn front_matter(text: &str) -> Option<usize> {
    let mut lines = text.split_inclusive('\n');
    let mut end = lines.next().filter(|line| line.trim_end() == "---")?.len();
    for (number, line) in lines.enumerate() {
        end += line.len();
        match line.trim_end() {
            "---" | "..." => return Some(end),
            // Before a blank line it is a rule after all.
            "" if number == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Collects blocks from the events of one window.
struct Reader<'t, F> {
    window: &'t str,
    /// Where the window lies in the text.
    start: usize,
    fits: &'t F,
    /// Tags that are open.
    depth: usize,
    /// What begins before this offset of the window is part of a block that has been found.
    skip: usize,
    /// Where an item or a quote began whose first block is still to come: that begins there too.
    carried: Option<(usize, Level)>,
    /// The line on which the last top-level block began.
    last: usize,
    /// The line on which the last item of a top-level list began.
    last_item: usize,
    /// The line on which the last block of any kind began.
    last_block: usize,
    /// What the last block is made of.
    leaf: Leaf,
    /// Of the heading that is being read.
    title: Option<String>,
    blocks: Vec<TextBlock>,
}

impl<F: Fn(Range<usize>) -> bool> Reader<'_, F> {
    fn read(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => {
                self.open(&tag, &range);
                self.depth += 1;
            }
            Event::End(end) => {
                self.depth -= 1;
                if let (TagEnd::Heading(level), Some(title)) = (end, self.title.take_if(|_| self.depth == 0)) {
                    let title = title.split_whitespace().collect::<Vec<_>>().join(" ").into_boxed_str();
                    if let Some(block) = self.blocks.last_mut() {
                        block.heading = Some(Heading { depth: level as u8, title });
                    }
                }
            }
            Event::Rule => {
                self.top_level(&range);
                self.block(&range, Grain::Line);
            }
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) => self.inline(&text, &range),
            Event::SoftBreak | Event::HardBreak => self.inline(" ", &range),
            Event::Html(_)
            | Event::InlineHtml(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => self.inline("", &range),
        }
    }

    fn open(&mut self, tag: &Tag<'_>, range: &Range<usize>) {
        self.top_level(range);
        match tag {
            Tag::Item if self.depth == 1 => self.last_item = self.line(range.start),
            Tag::Paragraph | Tag::Heading { .. } => self.leaf = Leaf::Prose,
            Tag::HtmlBlock | Tag::Table(_) | Tag::CodeBlock(CodeBlockKind::Indented) => self.leaf = Leaf::Lines,
            Tag::CodeBlock(CodeBlockKind::Fenced(_)) => {
                let fence = self.window[range.start..].trim_start_matches(' ');
                let mark = fence.chars().next().unwrap_or('`');
                self.leaf = Leaf::Fence(mark, fence.chars().take_while(|character| *character == mark).count());
            }
            _ => {}
        }
        match tag {
            Tag::Heading { .. } => {
                let top_level = self.depth == 0;
                self.block(range, Grain::Sentence);
                if top_level {
                    self.title = Some(String::new());
                    if let Some(block) = self.blocks.last_mut() {
                        block.level = Level::Section;
                    }
                }
            }
            Tag::Paragraph => self.block(range, Grain::Sentence),
            Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::Table(_) | Tag::MetadataBlock(_) => self.block(range, Grain::Line),
            // It has no border of its own: that of its first item is one.
            Tag::List(_) | Tag::DefinitionList => {}
            Tag::Item
            | Tag::BlockQuote(_)
            | Tag::FootnoteDefinition(_)
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition => {
                if (self.fits)(self.start + range.start..self.start + range.end) {
                    self.block(range, Grain::Sentence);
                } else {
                    self.carry(range);
                }
            }
            Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell
            | Tag::Emphasis
            | Tag::Strong
            | Tag::Strikethrough
            | Tag::Superscript
            | Tag::Subscript
            | Tag::Link { .. }
            | Tag::Image { .. } => self.inline("", range),
        }
    }

    fn top_level(&mut self, range: &Range<usize>) {
        if self.depth == 0 {
            // Its indentation is part of it: code is recognised by that.
            self.last = self.line(range.start);
        }
    }

    /// Returns where the line begins that `at` stands in.
    fn line(&self, at: usize) -> usize {
        self.window[..at].rfind('\n').map_or(0, |line_break| line_break + 1)
    }

    /// Keeps the start of a container for the first block in it.
    fn carry(&mut self, range: &Range<usize>) {
        if range.start >= self.skip && self.carried.is_none() {
            self.carried = Some((range.start, self.level()));
        }
    }

    fn block(&mut self, range: &Range<usize>, grain: Grain) {
        if range.start < self.skip {
            return;
        }
        self.skip = range.end;
        let (start, level) = self.carried.take().unwrap_or((range.start, self.level()));
        self.last_block = self.line(start);
        self.blocks.push(TextBlock { start: self.start + start, level, grain, heading: None });
    }

    /// Takes text, which may be a heading's, or that of a tight list item, which has no paragraph.
    fn inline(&mut self, text: &str, range: &Range<usize>) {
        if let Some(title) = &mut self.title {
            let room = TITLE.saturating_sub(title.chars().count());
            title.extend(text.chars().take(room));
        } else if self.carried.is_some() {
            self.block(range, Grain::Sentence);
        }
    }

    fn level(&self) -> Level {
        // An item of a top-level list is one level down.
        if self.depth <= 1 { Level::Block } else { Level::Nested }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
---
title: Leave
---

[home]: https://example.org

Setext
======
Text that ends
in two lines.
## Empty

### Then one
- an item
- another

  of two paragraphs

      and code
- a third
> quoted
> ```
> code
> ```

    indented

| a | b |
|---|---|
| 1 | 2 |

***
<div>

# not a heading of `HTML`, but one
";

    fn show(text: &str, blocks: impl Iterator<Item = TextBlock>) -> Vec<String> {
        let line = |block: TextBlock| {
            let TextBlock { start, level, grain, heading } = block;
            let first = text[start..].lines().next().unwrap_or_default();
            let heading = heading.map_or_else(String::new, |heading| format!(" {}:{}", heading.depth, heading.title));
            format!("{level:?} {grain:?} {first:?}{heading}")
        };
        blocks.map(line).collect()
    }

    #[test]
    fn a_block_that_fits_is_whole() {
        insta::assert_snapshot!(show(SAMPLE, blocks(SAMPLE, |_| true)).join("\n"));
    }

    #[test]
    fn an_item_that_is_too_long_falls_into_its_blocks() {
        insta::assert_snapshot!(show(SAMPLE, blocks(SAMPLE, |_| false)).join("\n"));
    }

    #[test]
    fn windows_do_not_show() {
        let text = SAMPLE.repeat(3);
        let whole = show(&text, blocks(&text, |_| false));
        for window in (1..400).step_by(7) {
            assert_eq!(show(&text, windowed(&text, |_| false, window, LARGEST)), whole, "in windows of {window}");
        }
    }

    /// Shows the blocks of a text of which no more than 64 bytes are parsed at a time.
    fn in_pieces(text: &str) -> Vec<String> {
        show(text, windowed(text, |range| range.len() < 30, 16, 64))
    }

    #[test]
    fn a_list_and_a_quote_that_are_read_in_pieces_fall_into_the_same_blocks() {
        for text in [
            "- an item\n- another one\n".repeat(20),
            "1. an item\n2. another one\n".repeat(20),
            format!("Before.\n\n{}\nBehind.\n", "- an item\n- another one\n".repeat(20)),
            "- an item of a list\n\n  and a paragraph in it\n\n".repeat(20),
        ] {
            let whole = show(&text, blocks(&text, |range| range.len() < 30));
            assert_eq!(in_pieces(&text), whole);
        }
        let text = "> a paragraph\n>\n> and another\n>\n".repeat(20);
        assert_eq!(in_pieces(&text).len(), blocks(&text, |_| false).count());
    }

    #[test]
    fn what_follows_a_block_that_is_read_in_pieces_is_read_as_ever() {
        let behind = "\n# Behind\n\ntext\n";
        let code = "# no heading\n\ncode\n".repeat(20);
        for block in [
            "words of prose\n".repeat(20),
            format!("{}\n", "words ".repeat(40)),
            format!("| a | b |\n|---|---|\n{}", "| 1 | 2 |\n".repeat(20)),
            format!("```\n{code}```\n"),
            format!("~~~~\n{code}~~~\n{code}~~~~~\n"),
            format!("<div>\n{}</div>\n", "# no heading\n".repeat(20)),
            format!("text\n\n{}", "    # code\n".repeat(20)),
            "[a]: b\n".repeat(40),
            format!("{}text\n", "> ".repeat(100)),
            format!("{}text\n", "* ".repeat(100)),
        ] {
            let text = format!("{block}{behind}");
            let shown = in_pieces(&text);
            let heading = shown.iter().position(|block| block == "Section Sentence \"# Behind\" 1:Behind");
            assert_eq!(heading, Some(shown.len() - 2), "{shown:#?}");
            assert!(shown[..shown.len() - 2].iter().all(|block| !block.contains("Section")), "{shown:#?}");
            let starts: Vec<_> = windowed(&text, |_| false, 16, 64).map(|block| block.start).collect();
            assert!(starts.is_sorted() && starts[0] == 0, "{starts:?}");
        }
    }

    #[test]
    fn text_before_the_first_block_belongs_to_one() {
        let text = "\n[a]: b\n\ntext\n";
        assert_eq!(show(text, blocks(text, |_| true)), ["Block Line \"[a]: b\"", "Block Sentence \"text\""]);
        assert_eq!(show("[a]: b", blocks("[a]: b", |_| true)), ["Block Line \"[a]: b\""]);
    }

    #[test]
    fn a_title_is_what_a_reader_sees() {
        let text = "# A *bold*  `move` [home](x) \\# #\n";
        assert_eq!(blocks(text, |_| true).next().and_then(|block| block.heading).unwrap().title.as_ref(), "A bold move home #");
    }
}
