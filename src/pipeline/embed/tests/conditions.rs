//! Rejections of one text, and rejections of every text.

use super::*;

const WORDS: &str = "this is not for you";

/// Lets the stage work on texts some of which are refused.
async fn refused(
    refuses: fn(u64, Duration) -> Option<&'static str>,
    texts_per_call: usize,
    setting: Setting,
) -> (Arc<Service>, Ended) {
    let mut service = Service::new(1);
    service.refuses = refuses;
    service.texts_per_call = NonZeroUsize::new(texts_per_call).unwrap();
    let service = Arc::new(service);
    let ended = work(&service, setting).await;
    (service, ended)
}

fn until(minutes: u64, since: Duration) -> Option<&'static str> {
    (since < Duration::from_mins(minutes)).then_some(WORDS)
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_rejects_every_text_fails_none_and_work_resumes_once_it_is_fixed() {
    for (slots, texts_per_call) in [(1, 1), (2, 1), (64, 1), (1, 96), (4, 96)] {
        let setting = Setting { texts: 400, slots, lasts: Duration::from_hours(4), ..Setting::default() };
        let (service, ended) = refused(|_, since| until(10, since), texts_per_call, setting).await;
        // More than are held for the verdict are left for another time.
        let sums = (ended.embedded + ended.left, ended.rejected);
        assert_eq!(sums, (400, 0), "{slots} slots, {texts_per_call} texts a call: {} left", ended.left);
        assert!(ended.left < slots as u64 + 40, "{slots} slots, {texts_per_call} texts a call: {} left", ended.left);
        let refused = service.state.lock().unwrap().seen.refused;
        // Those in flight, a few halves of theirs, and the probes of ten minutes.
        assert!(refused <= (slots as u64) * 10 + 50, "{slots} slots, {texts_per_call} texts a call: {refused} refusals");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_loses_its_access_for_a_while_loses_no_text() {
    let setting = Setting { texts: 20_000, lasts: Duration::from_hours(4), ..Setting::default() };
    let (service, ended) =
        refused(|_, since| (Duration::from_secs(20)..Duration::from_mins(5)).contains(&since).then_some(WORDS), 1, setting).await;
    assert_eq!((ended.embedded + ended.left, ended.rejected), (20_000, 0));
    assert!(ended.left < 100, "{} are left for another time", ended.left);
    let refused = service.state.lock().unwrap().seen.refused;
    assert!(refused < 64 + 16 + 64 + 60, "{refused} refusals");
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_refused_for_themselves_are_rejected_and_slow_nobody_down() {
    let texts = 10_000;
    let whole = refused(|_, _| None, 1, Setting { texts, ..Setting::default() }).await.1;
    let (service, ended) =
        refused(|number, _| number.is_multiple_of(10).then_some(WORDS), 1, Setting { texts, ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (9_000, 1_000));
    assert!(ended.took <= whole.took.mul_f64(1.1), "{:?} after {:?}", ended.took, whole.took);
    let refused = service.state.lock().unwrap().seen.refused;
    assert!(refused <= 1_100, "{refused} refusals of 1,000 texts");
}

#[tokio::test(start_paused = true)]
async fn bad_texts_that_come_first_are_rejected_once_a_good_one_is_served_however_many_they_are() {
    for (slots, bad) in [(1, 2), (1, 5), (4, 40), (64, 200)] {
        for mode in [Mode::Follow, Mode::Once] {
            let setting = Setting { texts: 300, slots, mode, lasts: Duration::from_hours(8), ..Setting::default() };
            let refuses = match bad {
                2 => |number: u64, _: Duration| (number < 2).then_some(WORDS),
                5 => |number: u64, _: Duration| (number < 5).then_some(WORDS),
                40 => |number: u64, _: Duration| (number < 40).then_some(WORDS),
                _ => |number: u64, _: Duration| (number < 200).then_some(WORDS),
            };
            let (_, ended) = refused(refuses, 1, setting).await;
            let case = format!("{slots} slots, {bad} bad, {mode:?}: {:?}", ended.error);
            assert_eq!((ended.embedded, ended.rejected + ended.left), (300 - bad, bad), "{case}");
            // More than are held for the verdict are left for another time.
            assert!(ended.rejected >= bad.min(16), "{case}: {} were rejected", ended.rejected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_every_text_is_refused_ends_soon_and_fails_none() {
    for (texts, slots, texts_per_call) in [(2, 1, 1), (3, 64, 1), (500, 4, 1), (500, 4, 96)] {
        let setting = Setting { texts, slots, mode: Mode::Once, lasts: Duration::from_hours(4), ..Setting::default() };
        let (_, ended) = refused(|_, _| Some(WORDS), texts_per_call, setting).await;
        let Some(PipelineError::Halted(error)) = ended.error else { panic!("{texts} texts: it went on for {:?}", ended.took) };
        assert!(error.message.contains(WORDS) && error.is_of_configuration(), "{error}");
        assert_eq!(ended.rejected, 0);
        assert!(ended.took < Duration::from_mins(3), "{texts} texts: {:?}", ended.took);
    }
}

#[tokio::test(start_paused = true)]
async fn one_text_that_has_nothing_to_be_compared_with_is_rejected() {
    for mode in [Mode::Follow, Mode::Once] {
        let setting = Setting { texts: 1, mode, lasts: Duration::from_hours(1), ..Setting::default() };
        let (_, ended) = refused(|_, _| Some(WORDS), 1, setting).await;
        assert_eq!((ended.embedded, ended.rejected), (0, 1), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn texts_that_are_refused_in_other_words_each_are_rejected() {
    let refuses = |number: u64, _: Duration| match number {
        0 => Some("no otters"),
        1 => Some("no weirs"),
        2 => Some("no kilns"),
        _ => None,
    };
    let (_, ended) = refused(refuses, 1, Setting { texts: 3, mode: Mode::Once, ..Setting::default() }).await;
    assert_eq!((ended.embedded, ended.rejected), (0, 3), "{:?}", ended.error);
}

#[tokio::test(start_paused = true)]
async fn a_few_bad_texts_among_good_ones_are_rejected_though_they_are_the_last() {
    for mode in [Mode::Follow, Mode::Once] {
        let refuses = |number: u64, _: Duration| (number > 10).then_some(WORDS);
        let (_, ended) =
            refused(refuses, 1, Setting { texts: 20, mode, lasts: Duration::from_hours(1), ..Setting::default() }).await;
        assert_eq!((ended.embedded, ended.rejected, ended.left), (11, 9, 0), "{mode:?}: {:?}", ended.error);
    }
}
