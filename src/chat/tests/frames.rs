//! Frames of an event stream, from AWS's description of them.

use serde_json::Value;

/// Returns an event.
pub(super) fn event(kind: &str, payload: &Value) -> Vec<u8> {
    frame(&[(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")], payload)
}

/// Returns a failure.
pub(super) fn exception(kind: &str, message: &str) -> Vec<u8> {
    let payload = serde_json::json!({"message": message});
    frame(&[(":message-type", "exception"), (":exception-type", kind), (":content-type", "application/json")], &payload)
}

fn frame(headers: &[(&str, &str)], payload: &Value) -> Vec<u8> {
    let payload = payload.to_string();
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(12 + head.len() + payload.len() + 4).unwrap();
    let mut frame = [total.to_be_bytes(), u32::try_from(head.len()).unwrap().to_be_bytes()].concat();
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload.as_bytes());
    let crc = crc32fast::hash(&frame);
    frame.extend_from_slice(&crc.to_be_bytes());
    frame
}
