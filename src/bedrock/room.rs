//! Room for long answers. A model, or what answers in its place, decides how long an answer is, and many that are long at once must not fill
//! the memory: beyond a few each waits for one before it to be committed, and its bytes wait with their sender.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use aws_smithy_types::body::SdkBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use crate::domain::Held;

/// Bytes of an answer that takes no room: about what the most tokens are that a model writes. In flight and in queues there are some hundred
/// answers at most.
pub const SHORT: usize = 256 << 10;

/// Longer answers that are held at once, from their reading until they are committed or dropped.
const LONG: usize = 4;

/// Room for long answers. Clones are the same room.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LONG)))
    }
}

impl Room {
    /// Waits until there is room for a long answer, which is held as long as what is returned. Cancel safe.
    pub async fn take(&self) -> Held {
        Held::of(Arc::clone(&self.0).acquire_owned().await.expect("nobody closes it"))
    }

    /// Returns a body that takes room once it is long, and leaves in `held` what holds it.
    pub(super) fn measure(&self, body: SdkBody, held: Arc<Mutex<Held>>) -> SdkBody {
        let room = PollSemaphore::new(Arc::clone(&self.0));
        SdkBody::from_body_1_x(Measured { body, bytes: 0, room, held, is_held: false })
    }
}

struct Measured {
    body: SdkBody,
    bytes: usize,
    room: PollSemaphore,
    held: Arc<Mutex<Held>>,
    is_held: bool,
}

impl Body for Measured {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.bytes > SHORT && !self.is_held {
            let permit = ready!(self.room.poll_acquire(context)).expect("nobody closes it");
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::of(permit);
            self.is_held = true;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// Returns a body of so many pieces, each just short enough to take no room alone.
    fn body(pieces: usize) -> SdkBody {
        let piece = || Ok::<_, aws_smithy_types::body::Error>(Frame::data(Bytes::from(vec![7; SHORT])));
        SdkBody::from_body_1_x(StreamBody::new(futures::stream::iter((0..pieces).map(move |_| piece()))))
    }

    #[tokio::test]
    async fn short_answers_take_no_room_and_long_ones_wait_for_those_before_them() {
        let room = Room::default();
        let read = |pieces: usize| {
            let held = Arc::<Mutex<Held>>::default();
            let body = room.measure(body(pieces), Arc::clone(&held));
            async move { (body.collect().await.unwrap().to_bytes().len(), held) }
        };
        let mut long = Vec::new();
        for _ in 0..LONG {
            long.push(read(3).await);
        }
        assert!(long.iter().all(|(bytes, held)| *bytes == 3 * SHORT && held.lock().unwrap().is_any()));
        let mut next = Box::pin(read(3));
        assert!(next.as_mut().now_or_never().is_none(), "one more than there is room for is read");
        let (bytes, held) = read(1).await;
        assert!(bytes == SHORT && !held.lock().unwrap().is_any(), "a short answer takes no room");
        long.pop();
        assert_eq!(next.await.0, 3 * SHORT);
        assert_eq!(room.0.available_permits(), 1, "what is dropped takes none");
    }
}
