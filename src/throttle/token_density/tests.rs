//! Learned densities, compared with known tokenizers.

use super::*;

const ENGLISH: &str = "Parents may take up to twelve weeks of paid leave in the first year after the birth or adoption of a child. \
                       Requests go to the people team at least four weeks before the leave begins.";
const RUSSIAN: &str = "Родители могут взять до двенадцати недель оплачиваемого отпуска в первый год после рождения ребёнка.";
const CHINESE: &str = "父母在孩子出生后的第一年内最多可以享受十二周的带薪休假。";
const NUMBERS: &str = "2024-11-26 17:03:22 | 4,091.50 | 0x1f9a | 1187; 22 / 7 = 3.142857";

/// A tokenizer that costs so much for a character of each script.
fn tokenizer(latin: f64, cyrillic: f64, cjk: f64, others: f64) -> impl Fn(&str) -> TokenCount {
    move |text: &str| {
        let rate = |character| match Script::of(character) {
            Script::Latin | Script::Space => latin,
            Script::Cyrillic => cyrillic,
            Script::Cjk => cjk,
            _ => others,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        TokenCount::new(text.chars().map(rate).sum::<f64>().round() as u64)
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn off(rates: &Rates, text: &str, billed: TokenCount) -> f64 {
    rates.expected(&Mix::of(text)) / billed.get() as f64 - 1.0
}

#[test]
fn before_any_call_the_range_holds_the_tokenizers_that_are_known() {
    let rates = Rates::default();
    #[expect(clippy::cast_precision_loss, reason = "a short text")]
    let check = |text: &str, characters_per_token: &[f64]| {
        let range = rates.range(&Mix::of(text));
        let characters = text.chars().count() as f64;
        for per_token in characters_per_token {
            let tokens = characters / per_token;
            assert!(range.low <= tokens && tokens <= range.high, "{per_token} characters a token: {tokens} is not in {range:?}");
        }
        assert!(range.low < range.expected && range.expected < range.high);
    };
    check(ENGLISH, &[3.1, 4.0, 4.7, 5.3]);
    check(RUSSIAN, &[2.0, 3.1, 4.5]);
    check(CHINESE, &[0.8, 1.0, 1.8]);
}

#[test]
fn one_script_is_learned_at_once_and_then_there_is_no_range_any_more() {
    let bill = tokenizer(1.0 / 3.1, 0.0, 0.0, 1.0 / 3.1);
    let mut rates = Rates::default();
    for _ in 0..20 {
        rates.learn(&Mix::of(ENGLISH), bill(ENGLISH));
    }
    assert!(off(&rates, ENGLISH, bill(ENGLISH)).abs() < 0.02);
    let range = rates.range(&Mix::of(ENGLISH));
    assert!(range.high / range.low < 1.1, "{range:?}");
    let unseen = rates.range(&Mix::of(CHINESE));
    assert!(unseen.high / unseen.low > 2.0, "Chinese has not been seen: {unseen:?}");
}

#[test]
fn mixed_texts_teach_the_rate_of_each_script() {
    let bill = tokenizer(0.25, 0.55, 1.2, 0.9);
    let mut rates = Rates::default();
    for round in 0..2000 {
        // Never one alone, and never in the same proportion.
        let [english, russian, chinese, numbers] = [round % 3, round % 5, round % 7, round % 2];
        let text = [ENGLISH.repeat(english), RUSSIAN.repeat(russian), CHINESE.repeat(chinese), NUMBERS.repeat(numbers)].concat();
        rates.learn(&Mix::of(&text), bill(&text));
    }
    for text in [ENGLISH, RUSSIAN, CHINESE, NUMBERS] {
        assert!(off(&rates, text, bill(text)).abs() < 0.15, "{text}: {}", off(&rates, text, bill(text)));
    }
}

#[test]
fn what_was_learned_survives_being_kept() {
    let mut rates = Rates::default();
    rates.learn(&Mix::of(ENGLISH), TokenCount::new(60));
    assert_eq!(Rates::new(rates.learned()), rates);
    let broken =
        [(Script::Latin, Sum { characters: f64::NAN, tokens: 1.0 }), (Script::Cjk, Sum { characters: 1.0, tokens: -1.0 })];
    assert_eq!(Rates::new(broken), Rates::default());
}

#[test]
fn a_tokenizer_that_changes_is_learned_again() {
    let (before, after) = (tokenizer(0.2, 0.0, 0.0, 0.5), tokenizer(0.3, 0.0, 0.0, 0.75));
    let mut rates = Rates::default();
    let text = ENGLISH.repeat(500);
    for _ in 0..500 {
        rates.learn(&Mix::of(&text), before(&text));
    }
    for _ in 0..300 {
        rates.learn(&Mix::of(&text), after(&text));
    }
    assert!(off(&rates, ENGLISH, after(ENGLISH)).abs() < 0.05, "{}", off(&rates, ENGLISH, after(ENGLISH)));
}

#[test]
fn the_better_of_two_estimates_is_taken() {
    let bill = tokenizer(0.5, 0.5, 0.5, 0.5);
    let english = Mix::of(ENGLISH);
    let density = Density::new([Rates::default(); 2], false);
    assert_eq!(density.estimate(&english, TokenCount::new(7)), TokenCount::new(7), "nothing is known yet");
    for round in 1..50 {
        let text = ENGLISH.repeat(round);
        // The other estimate is off by a third, one way and the other.
        let given = bill(&text).get() * (2 + 2 * (round as u64 % 2)) / 3;
        density.learn(&Mix::of(&text), TokenCount::new(given), bill(&text), false);
    }
    let own = density.estimate(&english, TokenCount::new(7));
    assert!(own.get().abs_diff(bill(ENGLISH).get()) <= 2, "{own}");

    // Where what is billed has nothing to do with the text, the other one knows better.
    let density = Density::new([Rates::default(); 2], false);
    for round in 1..50 {
        let billed = TokenCount::new(1 + (round * 7919) % 8000);
        density.learn(&english, billed, billed, false);
    }
    assert_eq!(density.estimate(&english, TokenCount::new(7)), TokenCount::new(7));
}

#[test]
fn an_emulators_tokens_say_nothing_of_a_models() {
    let density = Density::new([Rates::default(); 2], false);
    density.learn(&Mix::of(ENGLISH), TokenCount::new(10), TokenCount::new(10), true);
    assert!(density.rates(false).is_empty() && !density.rates(true).is_empty());
}
