//! A body of events: one after another, each after a pause, and an end that may come too soon.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use tokio::time::{Instant, Sleep};

use super::response::Broken;

/// Frames on their way to a client.
#[derive(Debug)]
pub(super) struct Events {
    waiting: VecDeque<Bytes>,
    pause: Duration,
    /// Runs between two frames; none before the first, nor where there is no pause.
    timer: Option<Pin<Box<Sleep>>>,
    end: BodyEnd,
}

/// How a body of events ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    Whole,
    /// The connection is closed before the body's end.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing comes any more.
    Never,
    /// The last frames have to leave the process before the connection may break.
    Flushed(Broken),
}

impl Events {
    pub(super) fn new(frames: Vec<Vec<u8>>, pause: Duration, end: BodyEnd) -> Self {
        Self { waiting: frames.into_iter().map(Bytes::from).collect(), pause, timer: None, end }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
            self.timer = None;
        }
        if let Some(frame) = self.waiting.pop_front() {
            if !self.pause.is_zero() {
                self.timer = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.pause)));
            }
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let broken = match self.end {
            BodyEnd::Whole => return Poll::Ready(None),
            // Dropped when the client goes away or the emulator stops.
            BodyEnd::Never => return Poll::Pending,
            BodyEnd::Flushed(broken) => return Poll::Ready(Some(Err(broken))),
            BodyEnd::Cut => Broken::Cut,
            BodyEnd::Reset => Broken::Reset,
        };
        // hyper flushes when a body has nothing to give, and drops what it has when a body fails.
        self.end = BodyEnd::Flushed(broken);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
