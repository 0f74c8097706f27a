//! Meaningful vectors without a model: texts that share words and parts of words lie close together.
//!
//! ```text
//! text ─▶ words ─▶ weighted features ─▶ one place and sign each ─▶ Hadamard transform ─▶ unit length
//!                  word, 4-grams        (feature hashing)          (every number used)
//! ```
//!
//! Scalar products are kept on average by feature hashing (Weinberger et al., 2009) and exactly by the orthogonal
//! transform after it, which is there because a model's vectors have no zeros: a short text would otherwise be nearly
//! all zeros, with bits and JSON lengths unlike the real thing.

mod features;

use super::hash;
use features::Features;

/// Returns the vector of a text: `[f32; dimensions]`, of unit length, the same on every machine and in every build.
///
/// Case is folded. Any text has a vector, an empty one too; any number of dimensions does, and 0 gives an empty vector.
#[must_use]
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    if dimensions == 0 {
        return vector;
    }
    for (feature, weight) in Features::of(text).weighted() {
        vector[hash::place(feature, dimensions)] += if feature & 1 == 0 { weight } else { -weight };
    }
    spread(&mut vector);
    normalise(&mut vector);
    vector
}

/// Mixes every number into every other one without changing a scalar product, up to one common factor.
///
/// Walsh-Hadamard within blocks of the largest power of two that divides the length. Where that leaves several blocks
/// (1,536 is 3 × 512), a reflection in the diagonal of each row across the blocks joins them.
fn spread(vector: &mut [f32]) {
    let block = 1 << vector.len().trailing_zeros();
    vector.chunks_exact_mut(block).for_each(walsh_hadamard);

    let blocks = vector.len() / block;
    if blocks > 1 {
        #[expect(clippy::cast_precision_loss, reason = "a rounding error here turns the reflection by as little")]
        let factor = 2.0 / blocks as f32;
        for place in 0..block {
            let shift = factor * vector[place..].iter().step_by(block).sum::<f32>();
            vector[place..].iter_mut().step_by(block).for_each(|number| *number -= shift);
        }
    }
}

fn walsh_hadamard(block: &mut [f32]) {
    let mut half = 1;
    while half < block.len() {
        for pair in block.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

fn normalise(vector: &mut [f32]) {
    // In f64: a thousand small squares after a large one lose too much in f32.
    #[expect(clippy::cast_possible_truncation, reason = "a length of numbers that are f32")]
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt() as f32;
    if length > 0.0 {
        for number in vector {
            *number /= length;
        }
    } else {
        // Features may cancel each other out exactly; a direction there must be.
        vector[0] = 1.0;
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAVE: [&str; 3] = [
        "Parents may take up to twelve weeks of paid leave in the first year after the birth or adoption of a child. The \
         request goes to the people team at least four weeks before the leave begins.",
        "Employees who adopt a child or whose partner gives birth are entitled to parental leave. During twelve weeks the \
         company pays the full salary; a further unpaid leave can be arranged with the people team.",
        "How long is parental leave? A parent gets twelve paid weeks, and can split them into two periods of leave within \
         a year of the child's birth.",
    ];
    const ESPRESSO: [&str; 3] = [
        "Before brewing, let the espresso machine heat up for twenty minutes. Grind the coffee fine, tamp it evenly, and \
         pull a shot of about thirty grams in half a minute.",
        "If the shot runs too fast and tastes sour, set the grinder finer. If the coffee drips slowly and tastes bitter, \
         grind coarser. The machine's pressure should stay near nine bar.",
        "Clean the espresso machine every evening: flush the brew group, backflush with detergent once a week, and empty \
         old coffee from the grinder.",
    ];
    const CERTIFICATES: [&str; 3] = [
        "The TLS certificate of the gateway expires in ninety days. Renewal runs every night; when the certificate \
         authority refuses, an alert is sent and the old certificate stays in place.",
        "A browser trusts a server when its certificate chain ends in a known authority. An expired or self-signed \
         certificate breaks the TLS handshake.",
        "To rotate TLS keys, create a signing request, have the authority sign it, install the new certificate on every \
         server, and reload without dropping connections.",
    ];
    const GLACIERS: [&str; 3] = [
        "Glaciers form where more snow falls in winter than melts in summer. Over decades the snow is pressed into ice, \
         and the ice begins to flow down the valley under its own weight.",
        "The glacier has lost a third of its ice since 1950. Its tongue retreats by forty metres a year, and the \
         meltwater feeds a lake in the valley below.",
        "Meltwater runs under the ice in summer and makes the glacier slide faster. Crevasses open where the ice flows \
         over a step in the rock.",
    ];

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn check_subjects(dimensions: usize) {
        let texts = [LEAVE, ESPRESSO, CERTIFICATES, GLACIERS].concat();
        let vectors: Vec<_> = texts.iter().map(|text| vector(text, dimensions)).collect();
        let subject = |text: usize| text / LEAVE.len();
        let (mut same, mut different) = (Vec::new(), Vec::new());
        for one in 0..texts.len() {
            let others = (0..texts.len()).filter(|&other| other != one);
            let similarity = |other: &usize| cosine(&vectors[one], &vectors[*other]);
            let nearest = others.clone().max_by(|a, b| similarity(a).total_cmp(&similarity(b))).unwrap();
            assert_eq!(
                subject(one),
                subject(nearest),
                "{dimensions} dimensions: {:?} is nearest to {:?}",
                texts[one],
                texts[nearest]
            );
            for other in others {
                if subject(one) == subject(other) { &mut same } else { &mut different }.push(similarity(&other));
            }
        }
        let mean = |similarities: &[f32]| similarities.iter().sum::<f32>() / similarities.len() as f32;
        let (same, different) = (mean(&same), mean(&different));
        assert!(same > different + 0.12 && same > 3.0 * different, "{dimensions} dimensions: same {same}, different {different}");
    }

    #[test]
    fn texts_on_one_subject_lie_closer_than_texts_on_two() {
        [256, 384, 512, 1024, 1536].into_iter().for_each(check_subjects);
    }

    #[test]
    fn a_question_finds_its_paragraph() {
        let texts = [LEAVE, ESPRESSO, CERTIFICATES, GLACIERS].concat();
        let question = vector("why does my coffee taste bitter", 1024);
        let nearest =
            texts.iter().max_by(|a, b| cosine(&question, &vector(a, 1024)).total_cmp(&cosine(&question, &vector(b, 1024))));
        assert_eq!(nearest, Some(&ESPRESSO[1]));
    }

    #[test]
    fn subjects_are_distinguished_in_other_languages_too() {
        let check = |one: &str, near: &str, far: &str| {
            let [one, near, far] = [one, near, far].map(|text| vector(text, 1024));
            assert!(cosine(&one, &near) > cosine(&one, &far) + 0.05);
        };
        check("Die Elternzeit dauert zwölf Wochen.", "Zwölf Wochen Elternzeit stehen allen zu.", "Die Maschine muss heiß sein.");
        check("冰川每年融化", "夏天冰川融化得更快", "证书已经过期");
    }

    #[test]
    fn case_and_spacing_make_almost_no_difference() {
        let one = vector("Straße nach Zürich", 1024);
        assert!(cosine(&one, &vector("STRASSE  NACH\nZÜRICH", 1024)) > 0.98);
    }

    #[test]
    fn the_order_of_words_makes_a_different_vector() {
        assert_ne!(vector("the dog bites the man", 256), vector("the man bites the dog", 256));
    }

    #[test]
    fn the_transform_keeps_angles() {
        for dimensions in [96, 256, 1000, 1536] {
            let number = |hash: u64| (hash >> 40) as f32 / (1u32 << 24) as f32 - 0.5;
            let mut one: Vec<f32> = hash::sequence(1).take(dimensions).map(number).collect();
            let mut two: Vec<f32> = hash::sequence(2).take(dimensions).map(number).zip(&one).map(|(a, b)| a + b).collect();
            let angle = |a: &[f32], b: &[f32]| cosine(a, b) / (cosine(a, a) * cosine(b, b)).sqrt();
            let before = angle(&one, &two);
            spread(&mut one);
            spread(&mut two);
            assert!((angle(&one, &two) - before).abs() < 1e-4, "{dimensions}");
        }
    }

    #[test]
    fn a_single_word_leaves_few_numbers_at_zero() {
        assert!(vector("espresso", 1024).iter().filter(|number| **number == 0.0).count() < 512);
    }

    proptest! {
        #[test]
        fn every_text_has_a_vector_of_unit_length(text: String, dimensions in 1..1600usize) {
            let vector = vector(&text, dimensions);
            prop_assert_eq!(vector.len(), dimensions);
            let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
            prop_assert!((length - 1.0).abs() < 1e-5, "{}", length);
        }
    }
}
