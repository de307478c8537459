//! Every message of `schema/`, a module each: `produce_request::ProduceRequest` beside
//! `produce_request::TopicProduceData` and so on. Made by the build script.
//!
//! A message has the fields of all its versions; decoding leaves at its default what a version
//! lacks, encoding refuses to drop another value unless the table says that it may.
//!
//! A record of the metadata log is framed: frame version, key and record version as unsigned
//! varints, then the body, then nothing.

// The generator writes one form for all messages; what is odd in some of them costs nothing.
#![allow(unused_imports)]
#![allow(clippy::field_reassign_with_default, clippy::nonminimal_bool, clippy::too_many_lines)]

use bytes::Bytes;

use super::wire::reader::Reader;
use super::wire::writer::Writer;
use super::wire::{DecodeError, EncodeError, Message};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

const METADATA_FRAME_VERSION: u32 = 1;

/// Reads the value of a record of the metadata log, and its version. Unknown tagged fields are
/// dropped, unknown records and versions kept.
pub fn decode_metadata_record(value: Bytes) -> Result<(MetadataRecord, i16), DecodeError> {
    let mut r = Reader::new(value);
    let frame = r.unsigned_varint("frame version")?;
    if frame != METADATA_FRAME_VERSION {
        return Err(DecodeError::Version {
            name: "frame of a metadata record",
            version: frame as i32,
        });
    }
    let key = r.unsigned_varint("record key")?;
    let version = r.unsigned_varint("record version")?;
    let Ok(version) = i16::try_from(version) else {
        return Err(DecodeError::Version { name: "metadata record", version: version as i32 });
    };
    let record = match MetadataRecord::decode_known(&mut r, key, version)? {
        Some(record) => record,
        None => MetadataRecord::Unknown { key, body: r.rest() },
    };
    r.finish()?;
    Ok((record, version))
}

/// The value of a record of the metadata log. The metadata.version decides about `version`.
pub fn encode_metadata_record(record: &MetadataRecord, version: i16) -> Result<Bytes, EncodeError> {
    let mut w = Writer::new();
    w.put_unsigned_varint(METADATA_FRAME_VERSION);
    w.put_unsigned_varint(record.key());
    w.put_unsigned_varint(u32::from(version.unsigned_abs()));
    record.encode_known(&mut w, version)?;
    Ok(w.finish().to_bytes())
}
