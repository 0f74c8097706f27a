//! Features of a text, weighted by how much each says about its subject.

use std::sync::LazyLock;

use super::super::hash;

/// Characters in a part of a word: long enough to tell subjects apart, short enough for *melt* in *meltwater*.
const GRAM: usize = 4;
/// How much all parts of a word weigh together, next to the word itself.
const GRAMS: f32 = 0.6;
/// Tells texts of the same words apart, without a say in what is near.
const WHOLE_TEXT: f32 = 0.05;
/// A sign that is no letter, digit or space, such as an emoji.
const SIGN: f32 = 0.1;
/// A word that is in every text of its language.
const COMMON: f32 = 0.05;

/// The distinct features of one text, in a table with open addressing: a map of the standard library would take longer
/// to hash the keys, which are hashes already, than all the rest takes together.
pub(super) struct Features {
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0 in a free slot.
    feature: u64,
    count: u32,
    /// Of all occurrences together.
    weight: f32,
}

impl Features {
    pub(super) fn of(text: &str) -> Self {
        // A text has at most one feature for each byte, and its own: the table is at most half full.
        let mut features = Self { slots: vec![Slot::default(); (2 * text.len() + 2).next_power_of_two()] };
        let mut word = Vec::with_capacity(32);
        let mut whole = 0;
        let mut before = None;
        for character in text.chars() {
            let written_without_spaces = is_written_without_spaces(character);
            if character.is_alphanumeric() && !written_without_spaces {
                fold_case(character, &mut word);
                continue;
            }
            whole = features.end_word(&mut word, whole);
            if written_without_spaces {
                // Two characters are about a word; the first of a row is alone.
                let bigram = hash::fold(hash::fold(0, before.map_or(0, u64::from)), u64::from(character));
                whole = hash::fold(whole, bigram);
                features.add(bigram, 1.0);
            } else if !character.is_whitespace() && !character.is_ascii() {
                features.add(u64::from(character), SIGN);
            }
            before = written_without_spaces.then_some(character);
        }
        whole = features.end_word(&mut word, whole);
        features.add(whole, WHOLE_TEXT);
        features
    }

    /// Returns each feature with its weight. The second occurrence says less than the first: 1 + ln(count).
    #[expect(clippy::cast_precision_loss, reason = "no text repeats a word 2^24 times")]
    pub(super) fn weighted(&self) -> impl Iterator<Item = (u64, f32)> {
        let taken = self.slots.iter().filter(|slot| slot.count > 0);
        taken.map(|slot| match slot.count {
            1 => (slot.feature, slot.weight),
            count => (slot.feature, slot.weight / count as f32 * (1.0 + (count as f32).ln())),
        })
    }

    /// Takes the features of a word, and empties it. Returns the hash of the text up to here.
    fn end_word(&mut self, word: &mut Vec<char>, whole: u64) -> u64 {
        if word.is_empty() {
            return whole;
        }
        let hash = hash_word(word.iter().copied());
        let weight = weight_of(word, hash);
        self.add(hash, weight);

        // With a mark at both ends: *ice* in *ice* and in *service* are two things.
        let letters = word.len();
        if weight > COMMON && letters >= GRAM - 1 {
            word.insert(0, '<');
            word.push('>');
            // So that the squares of the parts' weights add up to that of the whole.
            #[expect(clippy::cast_precision_loss, reason = "no word has 2^24 letters")]
            let each = weight * GRAMS / ((letters + 3 - GRAM) as f32).sqrt();
            for gram in word.windows(GRAM) {
                self.add(hash_word(gram.iter().copied()), each);
            }
        }
        word.clear();
        hash::fold(whole, hash)
    }

    fn add(&mut self, feature: u64, weight: f32) {
        let feature = hash::finish(feature);
        let last = self.slots.len() - 1;
        let mut place = hash::place(feature.rotate_left(17), self.slots.len());
        loop {
            let slot = &mut self.slots[place];
            if slot.count == 0 || slot.feature == feature {
                *slot = Slot { feature, count: slot.count + 1, weight: slot.weight + weight };
                return;
            }
            place = (place + 1) & last;
        }
    }
}

/// How much a word says about the subject: nearly nothing if it is common, else the more the longer.
fn weight_of(word: &[char], hash: u64) -> f32 {
    if word.len() <= LONGEST_COMMON && COMMON_WORDS.binary_search(&hash).is_ok() {
        return COMMON;
    }
    match word.len() {
        1 => 0.1,
        2 => 0.3,
        3 => 0.7,
        4 => 0.9,
        _ => 1.0,
    }
}

fn hash_word(letters: impl Iterator<Item = char>) -> u64 {
    letters.fold(0, |hash, letter| hash::fold(hash, u64::from(letter)))
}

fn fold_case(character: char, word: &mut Vec<char>) {
    match character {
        _ if character.is_ascii() => word.push(character.to_ascii_lowercase()),
        'ß' | 'ẞ' => word.extend(['s', 's']),
        'ς' => word.push('σ'),
        _ => word.extend(character.to_lowercase()),
    }
}

/// Thai, Lao, Burmese, Khmer, kana and ideographs: where a word ends is not to be seen.
fn is_written_without_spaces(character: char) -> bool {
    matches!(character,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

const LONGEST_COMMON: usize = 7;

/// The hashes of [`COMMON_LIST`], sorted.
static COMMON_WORDS: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut hashes: Vec<u64> = COMMON_LIST.split_whitespace().map(|word| hash_word(word.chars())).collect();
    hashes.sort_unstable();
    hashes
});

/// English, German, French, Spanish, Italian, Portuguese, Dutch.
const COMMON_LIST: &str = "
    the a an and or but if of to in on at by for from with as is are was were be been being it its this that these those
    he she they we you i his her their our your my not no so than then there here when where which who what how why can
    could may might must shall should will would do does did has have had after before into over under up down out about
    also any all each every some such only own same other more most few many much very too just both per between during
    der die das den dem des ein eine einen einem einer und oder aber wenn von zu zum zur im in am an auf aus bei mit nach
    für durch über unter um ist sind war waren sein wird werden hat haben hatte nicht kein keine auch als wie so nur noch
    er sie es wir ihr ich sich dass daß was wer wo man mehr sehr kann können muss müssen soll sollen alle dieser diese
    le la les un une des du de et ou mais si dans sur sous par pour avec sans est sont était être a ont pas ne plus que
    qui ce cette ces il elle ils elles on nous vous je se son sa ses leur leurs au aux comme tout tous
    el los las una unos unas del y o pero si en por para con sin es son era ser fue ha han no más que quien este esta
    estos estas su sus lo al como todo todos se me te
    il lo gli uno dello della dei delle e ed ma se nel nella da di per con senza è sono era essere ha hanno non più che
    chi questo questa questi queste suo sua al alla come tutto tutti si
    o os as um uma do da dos das em no na nos nas por para com sem é são era ser foi tem não mais que quem este esta
    seu sua ao à como todo todos se
    de het een en of maar als van tot te in op aan bij voor door over onder uit met zonder is zijn was waren wordt
    worden heeft hebben niet geen ook dan dat die deze dit wie wat hij zij wij ik naar meer zeer
";

#[cfg(test)]
mod tests {
    use super::*;

    fn features(text: &str) -> Vec<(u64, f32)> {
        let mut features: Vec<_> = Features::of(text).weighted().collect();
        features.sort_by_key(|(feature, _)| *feature);
        features
    }

    #[test]
    fn common_words_are_short_and_weigh_little() {
        assert!(COMMON_LIST.split_whitespace().all(|word| word.chars().count() <= LONGEST_COMMON));
        let weight = |word: &str| weight_of(&word.chars().collect::<Vec<_>>(), hash_word(word.chars()));
        assert!(["the", "über", "être", "not"].into_iter().all(|word| weight(word) == COMMON));
        assert!(weight("leave") > 10.0 * COMMON);
    }

    #[test]
    fn a_repeated_word_weighs_less_than_twice() {
        let heaviest = |text| features(text).into_iter().map(|(_, weight)| weight).fold(0.0, f32::max);
        let (once, twice) = (heaviest("glacier"), heaviest("glacier glacier"));
        assert!(once < twice && twice < 2.0 * once);
    }

    #[test]
    fn a_word_has_one_feature_for_itself_and_one_for_each_part() {
        // The word, `<ici` `icin` `cing` `ing>`, the text.
        assert_eq!(features("icing").len(), 6);
    }

    #[test]
    fn a_text_without_words_has_features() {
        assert_eq!(features("").len(), 1);
        assert_eq!(features("🦀🧊").len(), 3);
    }
}
