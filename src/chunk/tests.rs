use std::collections::HashSet;
use std::fmt::Write as _;
use std::num::NonZeroUsize;

use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;
use crate::domain::TokenCount;

const ROOMY: Limits = limits(8192, 50_000);

const fn limits(tokens: u64, characters: usize) -> Limits {
    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    Limits {
        texts_per_call: ONE,
        characters_per_text: NonZeroUsize::new(characters).unwrap(),
        tokens_per_text: TokenCount::new(tokens),
        tokens_per_call: TokenCount::new(tokens),
        bytes_per_call: ONE,
    }
}

fn config(max_tokens: u32, overlap_tokens: u32) -> ChunkConfig {
    ChunkConfig { max_tokens: NonZeroU32::new(max_tokens).unwrap(), overlap_tokens, strategy: Strategy::Auto }
}

fn texts<'t>(text: &'t str, chunks: &[Chunk]) -> Vec<&'t str> {
    chunks.iter().map(|chunk| &text[chunk.span.clone()]).collect()
}

/// Asserts what holds for any text.
#[track_caller]
fn check(text: &str, format: Format, config: &ChunkConfig, limits: &Limits) -> Vec<Chunk> {
    let chunks = split(text, format, config, limits);
    let most = u64::from(config.max_tokens.get()).min(limits.tokens_per_text.get());
    let mut end = 0;
    let mut start = 0;
    for chunk in &chunks {
        let span = chunk.span.clone();
        let piece = &text[span.clone()];
        assert_eq!(piece, piece.trim());
        assert!(!piece.is_empty());
        assert_eq!(chunk.tokens, tokens(piece));
        assert!(chunk.tokens.get() <= most, "{piece:?} has {} tokens", chunk.tokens);
        assert!(piece.chars().count() <= limits.characters_per_text.get());
        assert!(start <= span.start && end < span.end, "{span:?} does not follow {start}..{end}");
        if span.start < end {
            let overlap = tokens(&text[span.start..end]).get();
            assert!(overlap <= u64::from(config.overlap_tokens), "an overlap of {overlap} tokens");
        } else {
            assert!(is_blank(&text[end..span.start]));
        }
        (start, end) = (span.start, span.end);
    }
    assert!(is_blank(&text[end..]));
    chunks
}

#[test]
fn a_text_that_fits_is_one_chunk_and_one_that_does_not_is_more() {
    let sections: Vec<_> = (0..6).map(|section| format!("# Section {section}\n\nSome words on it.\n\n")).collect();
    let sections = sections.concat();
    let fits = u32::try_from(tokens(sections.trim()).get()).unwrap();
    let chunks = check(&sections, Format::Markdown, &config(fits, 0), &ROOMY);
    assert_eq!((chunks.len(), &*chunks[0].headings[0]), (1, "Section 0"));
    assert!(check(&sections, Format::Markdown, &config(fits - 1, 0), &ROOMY).len() > 1);
    assert!(check(&sections, Format::Markdown, &config(fits, 0), &limits(8192, sections.trim().len() - 1)).len() > 1);
}

/// Markdown that is wrong in every way, of pieces that mean something.
fn soup() -> impl Generator<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "# ",
            "## ",
            "\n",
            "\n\n",
            "\r\n",
            "- ",
            "1. ",
            "  ",
            "    ",
            "> ",
            "```",
            "```rust\n",
            "|",
            "| a | b |\n",
            "|---|---|\n",
            "---\n",
            "===\n",
            "[a]: b\n",
            "[^1]: note\n",
            "<!--",
            "-->",
            "<div>\n",
            "`",
            "**",
            "![",
            "](x)",
            "word ",
            "One. Two! ",
            "漢字。",
            "ภาษาไทย",
            "👩‍👩‍👧",
            "e\u{301}",
            "\u{feff}",
            "\u{200b}",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "\t",
            "\u{2028}",
            "\\",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_tiled_within_the_limits(text in prop_oneof![any::<String>(), soup()], max in 4..80_u32, overlap in 0..40_u32, characters in 8..200_usize) {
        let limits = limits(60, characters);
        for format in [Format::Text, Format::Markdown] {
            let chunks = check(&text, format, &config(max, overlap), &limits);
            prop_assert_eq!(chunks, split(&text, format, &config(max, overlap), &limits));
        }
    }
}

#[test]
fn white_space_gives_no_chunk() {
    for text in ["", " ", "\n\n\t\u{3000}\r\n"] {
        for format in [Format::Text, Format::Markdown] {
            assert_eq!(check(text, format, &ChunkConfig::default(), &ROOMY), []);
        }
    }
}

#[test]
fn a_short_text_is_one_chunk() {
    let text = "\n  # Title\n\nA paragraph.\n\nAnother.\n";
    assert_eq!(texts(text, &check(text, Format::Markdown, &ChunkConfig::default(), &ROOMY)), [text.trim()]);
}

#[test]
fn any_configuration_works() {
    let text = "Some words, 漢字 🦀 and `code`.\n\n".repeat(40);
    for max in [1, 2, 3, 7, u32::MAX] {
        for overlap in [0, 1, u32::MAX] {
            for characters in [1, 2, 50_000] {
                for format in [Format::Text, Format::Markdown] {
                    let chunks = split(&text, format, &config(max, overlap), &limits(u64::MAX / 4096, characters));
                    assert!(!chunks.is_empty());
                }
            }
        }
    }
}

/// Every block that Markdown has, in three sections.
const HANDBOOK: &str = "\
# Handbook

How we work, and where to ask. It is short on purpose.

## Leave

Everybody has 30 days. They need not be taken at once, and nobody asks what they are for. Ask early if it is August.

### Parents

Parents have what the law gives them and a month more:

- the month may be split into days
- it may be taken until the child is three
  - four for twins
- it is paid

| Country | Weeks | Paid by |
|---------|------:|---------|
| Austria |    16 | the state |
| Belgium |    15 | the state |
| Czechia |    28 | the state |

## Tools

Set up your machine with one command:

```sh
curl https://example.org/setup | sh
setup --all
```

> Read a script before you pipe it into a shell.

Then ask for an account.
";

fn render(text: &str, chunks: &[Chunk]) -> String {
    let mut end = 0;
    let mut rendered = String::new();
    for chunk in chunks {
        let core = chunk.span.start.max(end);
        let path = chunk.headings.join(" > ");
        writeln!(rendered, "── {:?}, {} tokens, {path}", chunk.span, chunk.tokens).unwrap();
        if chunk.span.start < core {
            write!(rendered, "«{}»", &text[chunk.span.start..core]).unwrap();
        }
        rendered += &text[core..chunk.span.end];
        rendered.push('\n');
        end = chunk.span.end;
    }
    rendered
}

#[test]
fn markdown_is_cut_at_its_structure() {
    for max_tokens in [40, 90] {
        let chunks = check(HANDBOOK, Format::Markdown, &config(max_tokens, 12), &ROOMY);
        insta::assert_snapshot!(format!("handbook_{max_tokens}"), render(HANDBOOK, &chunks));
    }
}

#[test]
fn markdown_read_as_text_has_no_headings() {
    let config = ChunkConfig { strategy: Strategy::Text, ..config(60, 12) };
    assert!(check(HANDBOOK, Format::Markdown, &config, &ROOMY).iter().all(|chunk| chunk.headings.is_empty()));
}

#[test]
fn a_chunk_does_not_end_with_a_heading() {
    for seed in 0..20 {
        let text = document("sections", 40, &mut Dice(seed)).join("\n\n");
        for piece in texts(&text, &check(&text, Format::Markdown, &ChunkConfig::default(), &ROOMY)) {
            let last = piece.lines().next_back().unwrap();
            assert!(!last.starts_with('#'), "{last:?}");
        }
    }
}

#[test]
fn an_overlap_does_not_reach_over_a_heading() {
    let text = document("short sections", 200, &mut Dice(1)).join("\n\n");
    let chunks = check(&text, Format::Markdown, &config(100, 30), &ROOMY);
    let crossing = chunks.windows(2).filter(|pair| {
        let overlap = pair[1].span.start..pair[0].span.end;
        !overlap.is_empty() && text[pair[1].span.clone()][..overlap.len() + 3].contains("\n## ")
    });
    assert_eq!(crossing.count(), 0);
}

#[test]
fn words_are_whole() {
    let text = Dice(3).paragraph(4_000).replace('.', "");
    for piece in texts(&text, &check(&text, Format::Text, &config(50, 10), &ROOMY)) {
        assert!(format!(" {text} ").contains(&format!(" {piece} ")), "{piece:?} is cut inside a word");
    }
}

#[test]
fn graphemes_are_whole_even_in_a_word_that_is_cut() {
    let text = "👩‍👩‍👧".repeat(200);
    for piece in texts(&text, &check(&text, Format::Text, &config(60, 15), &ROOMY)) {
        assert_eq!(piece.len() % "👩‍👩‍👧".len(), 0);
    }
}

/// A deterministic source of words.
struct Dice(u64);

impl Dice {
    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn roll(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A paragraph of about so many tokens.
    fn paragraph(&mut self, tokens: u64) -> String {
        let mut text = String::new();
        while (text.len() as u64) < tokens * 4 {
            let word = self.next();
            for letter in 0..2 + word % 7 {
                text.push(char::from(b'a' + u8::try_from((word >> (8 + 5 * letter)) % 26).unwrap()));
            }
            text += if word >> 60 == 0 { ". " } else { " " };
        }
        text.trim_end().to_owned() + "."
    }
}

/// Kinds of documents.
const KINDS: [(&str, Format); 9] = [
    ("lines", Format::Text),
    ("paragraphs", Format::Text),
    ("mixed", Format::Text),
    ("long paragraphs", Format::Text),
    ("repeated", Format::Text),
    ("alternating", Format::Text),
    ("sections", Format::Markdown),
    ("short sections", Format::Markdown),
    ("list", Format::Markdown),
];

/// A document of a kind, as its paragraphs.
fn document(kind: &str, length: usize, dice: &mut Dice) -> Vec<String> {
    let paragraph = |at: usize| {
        let tokens = match kind {
            "lines" => dice.roll(4..12),
            "paragraphs" => dice.roll(40..150),
            "mixed" if at.is_multiple_of(3) => dice.roll(3..15),
            "mixed" => dice.roll(20..180),
            "long paragraphs" => dice.roll(150..240),
            "sections" if at.is_multiple_of(7) => return format!("## {}", dice.paragraph(4)),
            "sections" => dice.roll(15..180),
            "short sections" if at.is_multiple_of(2) => return format!("## {}", dice.paragraph(4)),
            "short sections" => dice.roll(10..60),
            "list" => return format!("- {}", dice.paragraph(9)),
            "repeated" => {
                return "The same paragraph again, word for word. It says nothing new, and it says so at length.".to_owned();
            }
            "alternating" => {
                return ["First of two, which take turns.", "And the second one, which is longer."][at % 2].to_owned();
            }
            _ => unreachable!("{kind}"),
        };
        dice.paragraph(tokens)
    };
    (0..length).map(paragraph).collect()
}

fn hashes(text: &str, chunks: &[Chunk]) -> HashSet<blake3::Hash> {
    texts(text, chunks).into_iter().map(|text| blake3::hash(text.as_bytes())).collect()
}

/// Returns how many texts the new version has that the old one had not.
fn changed(known: &HashSet<blake3::Hash>, new: &[String], format: Format) -> usize {
    let text = new.join("\n\n");
    hashes(&text, &split(&text, format, &ChunkConfig::default(), &ROOMY)).difference(known).count()
}

/// Makes an edit at each place of each kind of document, and asserts that it changes at most 3 chunks.
fn check_edits(edit: impl Fn(&mut Vec<String>, usize, &mut Dice)) {
    for (seed, (kind, format)) in (1..).zip(KINDS) {
        let mut dice = Dice(seed);
        let old = document(kind, 60, &mut dice);
        let text = old.join("\n\n");
        let known = hashes(&text, &check(&text, format, &ChunkConfig::default(), &ROOMY));
        for at in 0..old.len() {
            let mut new = old.clone();
            edit(&mut new, at, &mut dice);
            let changed = changed(&known, &new, format);
            assert!(changed <= 3, "{kind}: {changed} chunks change with paragraph {at}");
        }
    }
}

#[test]
fn replacing_one_paragraph_changes_at_most_3_chunks_wherever_it_is() {
    for tokens in [6, 40, 70] {
        check_edits(|paragraphs, at, dice| paragraphs[at] = dice.paragraph(tokens));
    }
}

#[test]
fn inserting_one_paragraph_changes_at_most_3_chunks() {
    check_edits(|paragraphs, at, dice| paragraphs.insert(at, dice.paragraph(50)));
}

#[test]
fn removing_one_paragraph_changes_at_most_3_chunks() {
    check_edits(|paragraphs, at, _| drop(paragraphs.remove(at)));
}

#[test]
fn replacing_one_paragraph_changes_at_most_3_of_1_000_chunks() {
    let mut dice = Dice(7);
    let old = document("mixed", 3_000, &mut dice);
    let text = old.join("\n\n");
    let chunks = check(&text, Format::Text, &ChunkConfig::default(), &ROOMY);
    assert!(chunks.len() > 1_000, "{}", chunks.len());
    let known = hashes(&text, &chunks);
    for at in (0..old.len()).step_by(300) {
        let mut new = old.clone();
        new[at] = dice.paragraph(70);
        let changed = changed(&known, &new, Format::Text);
        assert!((1..=3).contains(&changed), "{changed} chunks change with paragraph {at}");
    }
}
