//! `application/vnd.amazon.eventstream`, written by hand from its specification: the SDK's own reader is what it is held to.
//!
//! ```text
//! total u32 │ headers u32 │ crc32 of these eight bytes │ headers │ payload │ crc32 of all before it       (big-endian)
//! header:  length of the name u8 │ name │ 7, a string │ length of the value u16 │ value
//! ```

/// The two lengths and their checksum, and the checksum at the end.
const FRAMING: usize = 16;
/// The type of a header that is a string.
const STRING: u8 = 7;

/// Returns an event in a frame of its own.
pub(super) fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    frame(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], payload)
}

/// Returns an exception that the service's model knows, as it comes after a 200: `throttlingException`.
pub(super) fn exception(name: &str, payload: &[u8]) -> Vec<u8> {
    frame(&[(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")], payload)
}

/// Returns an error that the service's model does not know: two headers and no payload.
pub(super) fn error(code: &str, message: &str) -> Vec<u8> {
    frame(&[(":error-code", code), (":error-message", message), (":message-type", "error")], b"")
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in headers {
        // Names are this file's own; a value may come from a script, and is cut to what its length can say.
        let value = &value.as_bytes()[..value.floor_char_boundary(usize::from(i16::MAX.unsigned_abs()))];
        written.push(u8::try_from(name.len()).expect("the names are short"));
        written.extend_from_slice(name.as_bytes());
        written.push(STRING);
        written.extend_from_slice(&u16::try_from(value.len()).expect("it was cut").to_be_bytes());
        written.extend_from_slice(value);
    }
    let total = FRAMING + written.len() + payload.len();
    let length = |length: usize| u32::try_from(length).expect("no answer has 4 GiB").to_be_bytes();
    let mut frame = Vec::with_capacity(total);
    frame.extend_from_slice(&length(total));
    frame.extend_from_slice(&length(written.len()));
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&written);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first vector of the specification's test suite: no headers, no payload.
    #[test]
    fn an_empty_message_has_the_bytes_of_the_specification() {
        assert_eq!(frame(&[], b""), [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]);
    }

    #[test]
    fn a_frame_has_its_lengths_its_header_and_its_checksums() {
        let frame = frame(&[("a", "bc")], b"{}");
        assert_eq!(frame.len(), 16 + 7 + 2);
        assert_eq!(frame[..8], [0, 0, 0, 25, 0, 0, 0, 7]);
        assert_eq!(frame[12..21], [1, b'a', 7, 0, 2, b'b', b'c', b'{', b'}']);
        assert_eq!(frame[8..12], crc32fast::hash(&frame[..8]).to_be_bytes());
        assert_eq!(frame[21..], crc32fast::hash(&frame[..21]).to_be_bytes());
    }

    #[test]
    fn a_header_too_long_for_its_length_is_cut_at_a_character() {
        let frame = error("code", &"ä".repeat(40_000));
        let total = u32::from_be_bytes(frame[..4].try_into().unwrap());
        assert_eq!(frame.len(), total as usize);
        assert!(frame.len() < 33_000);
    }
}
