//! Whatever the codec accepts, it writes, and reads the same again.

use bytes::Bytes;
use ottla::protocol::frame::RequestFrame;
use ottla::protocol::messages::{decode_metadata_record, encode_metadata_record, visit_all};
use ottla::protocol::wire::reader::Reader;
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Kind, Message, Visitor};

/// A frame as a client sends it, without its length.
pub fn request(data: &[u8]) {
    let Ok(frame) = RequestFrame::decode(Bytes::copy_from_slice(data)) else { return };
    let (key, version) = (frame.api.code(), frame.version);
    let body = frame.into_body().rest();
    visit_all(&mut ReadWriteRead { kind: Kind::Request, key, version, body });
}

/// API key and version, two bytes each, and the body of a response.
pub fn response(data: &[u8]) {
    let mut r = Reader::new(Bytes::copy_from_slice(data));
    let (Ok(key), Ok(version)) = (r.get("key"), r.get("version")) else { return };
    visit_all(&mut ReadWriteRead { kind: Kind::Response, key, version, body: r.rest() });
}

/// The value of a record of the metadata log.
pub fn metadata(data: &[u8]) {
    let Ok((record, version)) = decode_metadata_record(Bytes::copy_from_slice(data)) else {
        return;
    };
    let once = encode_metadata_record(&record, version).expect("what was read can be written");
    let (again, _) = decode_metadata_record(once.clone()).expect("what we wrote can be read");
    let twice = encode_metadata_record(&again, version).expect("what was read can be written");
    assert_eq!(once, twice, "{record:?}");
}

struct ReadWriteRead {
    kind: Kind,
    key: i16,
    version: i16,
    body: Bytes,
}

impl Visitor for ReadWriteRead {
    fn visit<M: Message>(&mut self) {
        if M::KIND != self.kind || M::KEY != self.key {
            return;
        }
        let version = self.version;
        let Ok(message) = M::decode(&mut Reader::new(self.body.clone()), version) else { return };
        // Bytes are compared, not values: a float may be NaN.
        let once = write(&message, version);
        let mut r = Reader::new(once.clone());
        let again = M::decode(&mut r, version).expect("what we wrote can be read");
        r.finish().expect("nothing follows");
        assert_eq!(write(&again, version), once, "{message:?}");
    }
}

fn write<M: Message>(message: &M, version: i16) -> Bytes {
    let mut w = Writer::new();
    message.encode(&mut w, version).expect("what was read can be written");
    w.finish().to_bytes()
}
