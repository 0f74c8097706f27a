//! Fault rates, as people write them: `429 10%, 5xx 5%, reset 2%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::hash;

/// Shares of the calls that go wrong, each in its way. Which calls follows from a seed and from the order of their arrival.
///
/// Known are `429`, `500`, `502`, `503`, `504`, `5xx` (any of these four), `408`, `424`, `529`, `reset`, `hang`, `cut` (half a
/// body), `garbage` (a page in place of JSON), `wrong-vectors` (short, missing or infinite) and `no-counts` (no token headers).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FaultRates {
    /// Each at most once, in millionths, together at most one.
    rates: Vec<(FaultKind, u32)>,
}

const WHOLE: u32 = 1_000_000;

/// What a rate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    Throttled,
    Internal,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    AnyServer,
    ModelTimeout,
    ModelError,
    Overloaded,
    Reset,
    Hang,
    Cut,
    Garbage,
    WrongVectors,
    NoCounts,
}

const NAMES: [(&str, FaultKind); 15] = [
    ("429", FaultKind::Throttled),
    ("500", FaultKind::Internal),
    ("502", FaultKind::BadGateway),
    ("503", FaultKind::Unavailable),
    ("504", FaultKind::GatewayTimeout),
    ("5xx", FaultKind::AnyServer),
    ("408", FaultKind::ModelTimeout),
    ("424", FaultKind::ModelError),
    ("529", FaultKind::Overloaded),
    ("reset", FaultKind::Reset),
    ("hang", FaultKind::Hang),
    ("cut", FaultKind::Cut),
    ("garbage", FaultKind::Garbage),
    ("wrong-vectors", FaultKind::WrongVectors),
    ("no-counts", FaultKind::NoCounts),
];

/// Says why a text is no list of rates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{rate}` is no rate of faults: {problem}; write `none`, or several as `429 10%, 5xx 5%, reset 2%, cut 0.5%`")]
pub struct NotRates {
    rate: String,
    problem: String,
}

impl FaultRates {
    /// Decides how a call goes wrong. `chance` is 64 even bits; the same ones always decide the same.
    pub(super) fn draw(&self, chance: u64) -> Fault {
        let drawn = hash::place(chance, WHOLE as usize);
        let mut below = 0;
        let kind = self.rates.iter().find(|(_, rate)| {
            below += *rate as usize;
            drawn < below
        });
        // Other bits choose within a kind than chose the kind.
        kind.map_or(Fault::None, |(kind, _)| kind.fault(hash::finish(chance)))
    }

    pub(super) fn is_none(&self) -> bool {
        self.rates.is_empty()
    }
}

impl FaultKind {
    fn fault(self, chance: u64) -> Fault {
        match self {
            Self::Throttled => Fault::Throttle,
            Self::Internal => Fault::internal(),
            Self::BadGateway => Fault::Gateway { status: 502 },
            Self::Unavailable => Fault::unavailable(),
            Self::GatewayTimeout => Fault::Gateway { status: 504 },
            Self::AnyServer => {
                let any = [Self::Internal, Self::BadGateway, Self::Unavailable, Self::GatewayTimeout];
                any[hash::place(chance, any.len())].fault(chance)
            }
            Self::ModelTimeout => Fault::model_timeout(),
            Self::ModelError => Fault::model_error(),
            Self::Overloaded => Fault::overloaded(),
            Self::Reset => Fault::Reset,
            Self::Hang => Fault::Hang,
            Self::Cut => Fault::CutBody,
            Self::Garbage => Fault::NotJson,
            Self::WrongVectors => {
                let any = [Fault::WrongDimensions, Fault::MissingVector, Fault::NotFinite];
                any[hash::place(chance, any.len())].clone()
            }
            Self::NoCounts => Fault::NoTokenCount,
        }
    }
}

impl FromStr for FaultRates {
    type Err = NotRates;

    fn from_str(text: &str) -> Result<Self, NotRates> {
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let mut rates: Vec<(FaultKind, u32)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let refuse = |problem: String| NotRates { rate: part.to_owned(), problem };
            let (name, share) = part.split_once(' ').ok_or_else(|| refuse("it has no name and share".into()))?;
            let kind = kind(name).map_err(refuse)?;
            if rates.iter().any(|(known, _)| *known == kind) {
                return Err(refuse("it is listed twice".into()));
            }
            let share = millionths(share.trim()).ok_or_else(|| refuse("the share is none from 0% to 100%".into()))?;
            rates.push((kind, share));
            if rates.iter().map(|(_, share)| share).sum::<u32>() > WHOLE {
                return Err(refuse("with those before it, it is more than 100%".into()));
            }
        }
        Ok(Self { rates })
    }
}

/// Returns the fault of a name, as written before its share; where the name covers several, the first.
pub(super) fn named(name: &str) -> Result<Fault, String> {
    kind(name).map(|kind| kind.fault(0))
}

fn kind(name: &str) -> Result<FaultKind, String> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
        format!("there is no fault `{name}`, but there are {}", names.join(", "))
    })
}

/// Reads `0.5%` exactly, down to a ten-thousandth of a percent.
fn millionths(share: &str) -> Option<u32> {
    let percent = share.strip_suffix('%')?.trim_end();
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 4 {
        return None;
    }
    let millionths = whole.parse::<u32>().ok()? * 10_000 + format!("{part:0<4}").parse::<u32>().ok()?;
    (millionths <= WHOLE).then_some(millionths)
}

impl fmt::Display for FaultRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rates.is_empty() {
            return f.write_str("none");
        }
        for (number, (kind, share)) in self.rates.iter().enumerate() {
            let (name, _) = NAMES.iter().find(|(_, known)| known == kind).expect("every kind has a name");
            let part = format!("{:04}", share % 10_000);
            let point = if share % 10_000 == 0 { "" } else { "." };
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}{point}{}%", share / 10_000, part.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl TryFrom<String> for FaultRates {
    type Error = NotRates;

    fn try_from(text: String) -> Result<Self, NotRates> {
        text.parse()
    }
}

impl From<FaultRates> for String {
    fn from(rates: FaultRates) -> Self {
        rates.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_printed_as_they_were_written() {
        for text in ["none", "429 10%", "429 10%, 5xx 5%, reset 2%, hang 1%, cut 0.5%", "cut 0.0001%, garbage 99.9999%"] {
            assert_eq!(text.parse::<FaultRates>().unwrap().to_string(), text);
        }
        assert!(NAMES.iter().all(|(name, kind)| format!("{name} 1%").parse::<FaultRates>().unwrap().rates[0].0 == *kind));
    }

    #[test]
    fn what_are_no_rates_say_what_is_wrong_with_which() {
        for (text, problem) in [
            ("", "`` is no rate of faults: it has no name and share"),
            ("429", "it has no name and share"),
            ("429 10", "the share is none from 0% to 100%"),
            ("429 -1%", "the share is none"),
            ("429 101%", "the share is none"),
            ("429 1.23456%", "the share is none"),
            ("reset 5%, 418 1%", "`418 1%` is no rate of faults: there is no fault `418`, but there are 429, 500,"),
            ("cut 1%, cut 2%", "it is listed twice"),
            ("cut 60%, hang 40.1%", "it is more than 100%"),
        ] {
            let error = text.parse::<FaultRates>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn faults_come_as_often_as_their_rates_say() {
        let rates: FaultRates = "429 10%, 5xx 5%, reset 2%, cut 0.5%".parse().unwrap();
        let mut drawn = [0_u32; 5];
        for chance in hash::sequence(7).take(100_000) {
            drawn[match rates.draw(chance) {
                Fault::None => 0,
                Fault::Throttle => 1,
                Fault::Error { .. } | Fault::Gateway { .. } => 2,
                Fault::Reset => 3,
                Fault::CutBody => 4,
                other => panic!("{other:?}"),
            }] += 1;
        }
        for (found, expected) in drawn.into_iter().zip([82_500_u32, 10_000, 5_000, 2_000, 500]) {
            assert!(found.abs_diff(expected) < expected.isqrt() * 5, "{drawn:?}");
        }
    }

    #[test]
    fn a_kind_that_covers_several_faults_gives_each_of_them() {
        let among = |text: &str| {
            let rates: FaultRates = text.parse().unwrap();
            let mut faults: Vec<_> = hash::sequence(1).take(100).map(|chance| rates.draw(chance)).collect();
            faults.sort_by_key(|fault| format!("{fault:?}"));
            faults.dedup();
            faults
        };
        let server = [Fault::internal(), Fault::unavailable(), Fault::Gateway { status: 502 }, Fault::Gateway { status: 504 }];
        assert_eq!(among("5xx 100%"), server);
        assert_eq!(among("wrong-vectors 100%"), [Fault::MissingVector, Fault::NotFinite, Fault::WrongDimensions]);
        assert_eq!(among("429 100%"), [Fault::Throttle]);
    }
}
