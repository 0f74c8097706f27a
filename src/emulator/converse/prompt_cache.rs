//! Prompt caching: the text before a cache point is read from the cache while it lives, and written to it otherwise.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::hash;
use super::content::{Block, Ttl};
use super::request::Conversation;
use super::token_count;

/// Prefixes remembered at once; beyond that the emulator forgets them all.
const MAX_PREFIXES: usize = 10_000;

/// A cache point of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Of everything before it.
    prefix: u64,
    /// Of everything before it.
    tokens: u64,
    ttl: Ttl,
}

/// What the cache did for one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) read: u64,
    pub(super) written: u64,
    /// Tokens written, by how long they stay.
    pub(super) details: Vec<(Ttl, u64)>,
}

/// The prefixes that are in the cache, and until when.
#[derive(Debug, Default)]
pub(super) struct Cache {
    until: HashMap<u64, Instant>,
}

impl Cache {
    /// Takes a call's cache points in their order. `model` keeps models apart; shorter prefixes than `least` are never cached.
    pub(super) fn take(&mut self, model: &str, points: &[Point], least: u64, now: Instant) -> Cached {
        self.until.retain(|_, until| *until > now);
        let key = |point: &Point| hash::fold(hash::text(model), point.prefix);
        let read = points.iter().rev().find(|point| self.until.contains_key(&key(point)));
        let read = read.map_or(0, |point| point.tokens);
        let mut cached = Cached { read, ..Cached::default() };
        let mut before = read;
        for point in points.iter().filter(|point| point.tokens >= least) {
            if point.tokens > before {
                cached.details.push((point.ttl, point.tokens - before));
                before = point.tokens;
            }
            if self.until.len() >= MAX_PREFIXES {
                self.until.clear();
            }
            // Reading it makes it live again.
            let lives = match point.ttl {
                Ttl::FiveMinutes => Duration::from_mins(5),
                Ttl::OneHour => Duration::from_hours(1),
            };
            self.until.insert(key(point), now + lives);
        }
        cached.written = before - read;
        cached
    }
}

/// Returns the cache points of a request: tools come first, then the system texts, then the turns.
pub(super) fn points(conversation: &Conversation) -> Vec<Point> {
    let mut points = Vec::new();
    let (mut prefix, mut tokens) = (0, 0);
    if let Some(tools) = &conversation.tools {
        for tool in &tools.specs {
            let text = format!("{}\n{}\n{}", tool.name, tool.description, tool.schema);
            prefix = hash::fold(prefix, hash::text(&text));
            tokens += token_count::tool(tool);
        }
        points.extend(tools.cache_point.map(|ttl| Point { prefix, tokens, ttl }));
    }
    let system = conversation.system.iter().map(|block| ("system", block));
    let turns = conversation.messages.iter().flat_map(|turn| turn.content.iter().map(|block| (turn.role.name(), block)));
    for (role, block) in system.chain(turns) {
        if let Block::CachePoint(ttl) = block {
            points.push(Point { prefix, tokens, ttl: *ttl });
        } else {
            // Printed whole: two prefixes are the same where every letter is.
            prefix = hash::fold(prefix, hash::text(&format!("{role} {block:?}")));
            tokens += token_count::block(block);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(prefix: u64, tokens: u64, ttl: Ttl) -> Point {
        Point { prefix, tokens, ttl }
    }

    #[test]
    fn a_prefix_is_written_once_and_read_while_it_lives() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let points = [point(1, 2_000, Ttl::FiveMinutes)];
        let mut take = |minutes| {
            let cached = cache.take("m", &points, 1_024, start + Duration::from_mins(minutes));
            (cached.read, cached.written)
        };
        assert_eq!(take(0), (0, 2_000));
        assert_eq!(take(4), (2_000, 0));
        // Read at minute 4, it lives until minute 9.
        assert_eq!(take(8), (2_000, 0));
        assert_eq!(take(13), (0, 2_000));
    }

    #[test]
    fn what_follows_a_cached_prefix_is_written_beside_it() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let first = point(1, 2_000, Ttl::OneHour);
        cache.take("m", &[first], 1_024, now);
        let cached = cache.take("m", &[first, point(2, 2_500, Ttl::FiveMinutes)], 1_024, now);
        assert_eq!(cached, Cached { read: 2_000, written: 500, details: vec![(Ttl::FiveMinutes, 500)] });
        let later = cache.take("m", &[first, point(2, 2_500, Ttl::FiveMinutes)], 1_024, now + Duration::from_mins(30));
        assert_eq!((later.read, later.written), (2_000, 500));
    }

    #[test]
    fn short_prefixes_and_other_models_are_not_cached() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let short = [point(1, 1_000, Ttl::FiveMinutes)];
        assert_eq!(cache.take("m", &short, 1_024, now), Cached::default());
        assert_eq!(cache.take("m", &short, 1_024, now), Cached::default());
        let long = [point(2, 3_000, Ttl::FiveMinutes)];
        assert_eq!(cache.take("m", &long, 1_024, now).written, 3_000);
        assert_eq!(cache.take("n", &long, 1_024, now).read, 0);
    }
}
