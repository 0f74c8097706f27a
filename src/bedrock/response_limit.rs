//! Bounds how much of an answer is read: a body without end must not fill the memory.
//!
//! | what | at most |
//! |---|---|
//! | vectors (`…/invoke`) | what the model's vectors take, and the texts once more: Cohere sends them back |
//! | an answer (`…/converse`) | 4 MiB and what was sent: a guardrail's trace may repeat that |
//! | a piece of a streamed answer | 1 MiB; the sum is bounded where the pieces are put together |
//! | an error | 256 KiB |
//! | credentials, roles, sign-ins, metadata | 256 KiB |

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// An answer of a chat model, beside what was sent: some hundred thousand tokens.
const ANSWER: usize = 4 << 20;
/// A piece of a streamed answer.
const PIECE: usize = 1 << 20;
/// An error, credentials.
const SMALL: usize = 256 << 10;
/// Bytes of an answer beside its vectors.
const AROUND: usize = 64 << 10;

/// The most bytes that the vectors of one call take, as far as it is known which model makes them.
#[derive(Debug, Clone)]
pub(super) struct Vectors(Arc<AtomicUsize>);

impl Default for Vectors {
    /// What the largest call of any model takes.
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(16 << 20)))
    }
}

impl Vectors {
    /// Says how many vectors a call makes at most, and of how many numbers.
    pub(super) fn expect(&self, vectors: usize, numbers: u32) {
        /// The longest number is `-1.2345678901234567e-38` with its comma; white space may be around it.
        const NUMBER: usize = 32;
        /// An answer may hold its vectors in several types.
        const TYPES: usize = 5;
        let numbers = vectors.saturating_mul(numbers as usize);
        self.0.store(numbers.saturating_mul(NUMBER * TYPES), Relaxed);
    }
}

/// What may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Most {
    Bytes(usize),
    BytesOfAPiece(usize),
}

/// Returns how much may come back to a request, by its path, status and length.
fn most(path: &str, is_success: bool, sent: usize, vectors: usize) -> Most {
    // A character of a text may come back as `\u0041`.
    let repeated = sent.saturating_mul(6);
    match path.rsplit_once('/') {
        _ if !is_success => Most::Bytes(SMALL),
        Some((_, "invoke")) => Most::Bytes(AROUND.saturating_add(vectors).saturating_add(repeated)),
        Some((_, "converse")) => Most::Bytes(ANSWER.saturating_add(repeated)),
        Some((_, "converse-stream")) => Most::BytesOfAPiece(PIECE.saturating_add(repeated)),
        _ => Most::Bytes(SMALL),
    }
}

/// A connector whose answers' bodies end, at the latest, in an error.
#[derive(Debug)]
pub(super) struct Bounded {
    connector: SharedHttpConnector,
    vectors: Vectors,
}

impl Bounded {
    pub(super) fn new(connector: SharedHttpConnector, vectors: Vectors) -> Self {
        Self { connector, vectors }
    }
}

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri();
        let path = uri.split(['?', '#']).next().unwrap_or(uri).to_owned();
        let sent = request.body().bytes().map_or(0, <[u8]>::len);
        let vectors = self.vectors.0.load(Relaxed);
        let answer = self.connector.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            let most = most(&path, answer.status().is_success(), sent, vectors);
            Ok(answer.map(|body| match most {
                Most::Bytes(most) => SdkBody::from_body_1_x(Limited::new(body, most)),
                Most::BytesOfAPiece(most) => SdkBody::from_body_1_x(Pieces { body, most, left: 0, length: Vec::new() }),
            }))
        })
    }
}

/// A body of the event stream's messages, none of which is longer than it may be. The SDK keeps a message whole while it reads it.
///
/// Each begins with its length in four bytes, which counts itself (`application/vnd.amazon.eventstream`).
struct Pieces {
    body: SdkBody,
    most: usize,
    /// Bytes of the message that are still to come.
    left: usize,
    /// The bytes of the next one's length so far.
    length: Vec<u8>,
}

/// A message that is too long.
#[derive(Debug, thiserror::Error)]
#[error("a piece of the answer has {length} bytes, more than the {most} that are read")]
struct TooLong {
    length: usize,
    most: usize,
}

impl Pieces {
    fn see(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            let inside = self.left.min(bytes.len());
            self.left -= inside;
            bytes = &bytes[inside..];
            while let (0, Some((first, rest))) = (self.left, bytes.split_first()) {
                self.length.push(*first);
                bytes = rest;
                if let Some(length) = self.length.first_chunk::<4>() {
                    let length = u32::from_be_bytes(*length) as usize;
                    if length > self.most {
                        return Err(TooLong { length, most: self.most });
                    }
                    self.left = length.saturating_sub(4);
                    self.length.clear();
                }
            }
        }
        Ok(())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
            && let Err(too_long) = self.see(bytes)
        {
            return Poll::Ready(Some(Err(too_long.into())));
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

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_body_has_its_bound() {
        let vectors = Vectors::default();
        vectors.expect(1, 1024);
        let most = |path, is_success| most(path, is_success, 1000, vectors.0.load(Relaxed));
        assert_eq!(most("/model/amazon.titan-embed-text-v2%3A0/invoke", true), Most::Bytes(AROUND + 1024 * 160 + 6000));
        assert_eq!(most("/model/m/invoke", false), Most::Bytes(SMALL));
        assert_eq!(most("/prefix/model/m/converse", true), Most::Bytes(ANSWER + 6000));
        assert_eq!(most("/model/m/converse-stream", true), Most::BytesOfAPiece(PIECE + 6000));
        assert_eq!(most("/model/m/converse-stream", false), Most::Bytes(SMALL));
        assert_eq!(most("/latest/meta-data/iam/security-credentials/", true), Most::Bytes(SMALL));
    }

    #[test]
    fn a_piece_is_measured_however_the_bytes_come() {
        let message = |length: u32| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.resize(length as usize, 7);
            bytes
        };
        let stream: Vec<u8> = [16, 100, 30].into_iter().flat_map(message).collect();
        for step in [1, 3, 7, 64, 1000] {
            let pieces = || Pieces { body: SdkBody::empty(), most: 100, left: 0, length: Vec::new() };
            let mut fits = pieces();
            stream.chunks(step).for_each(|bytes| fits.see(bytes).unwrap());
            assert_eq!((fits.left, fits.length.len()), (0, 0));
            let mut short = Pieces { most: 99, ..pieces() };
            let seen: Result<(), TooLong> = stream.chunks(step).try_for_each(|bytes| short.see(bytes));
            assert_eq!(seen.unwrap_err().length, 100);
        }
    }
}
