//! Our bytes against those of the public `kafka-protocol` crate, for every request and response
//! that both know: what the tables draw, it must read to the end and write back unchanged. That
//! our codec does the same is tested in `codec`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription, DefaultPrincipalData,
    EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, RequestHeader, RequestKind,
    ResponseHeader, ResponseKind, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
};
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::schema::{Kind, Message};
use crate::wire_bytes::{self, Draw};

const BODIES_PER_VERSION: u64 = 20;
/// Keeps the comparison from becoming empty unseen.
const BODIES_COMPARED_MIN: usize = 9_000;
/// The newest version of some requests is unstable there.
const UNKNOWN_VERSION: &str = "specified version not supported by this message type";

#[test]
fn another_implementation_reads_and_writes_the_same_bytes() {
    let mut compared = 0;
    let mut differing = vec![];
    for table in wire_bytes::messages() {
        if !matches!(table.kind, Kind::Request | Kind::Response) {
            continue;
        }
        let Ok(api) = ApiKey::try_from(table.key) else { continue };
        let known = api.valid_versions();
        for version in table.versions.0.max(known.min)..=table.versions.1.min(known.max) {
            for seed in 0..BODIES_PER_VERSION {
                let bytes = wire_bytes::body(&table, version, seed % 4 != 0, &mut Draw(seed));
                match there_and_back(&table, api, bytes.into(), version) {
                    Ok(()) => compared += 1,
                    Err(error) if error.contains(UNKNOWN_VERSION) => {}
                    Err(error) => differing.push(format!("{} {version}: {error}", table.name)),
                }
            }
        }
    }
    assert!(compared >= BODIES_COMPARED_MIN, "only {compared} compared");
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn another_implementation_reads_and_writes_the_same_headers_and_control_records() {
    data::<RequestHeader>("RequestHeader");
    data::<ResponseHeader>("ResponseHeader");
    data::<ConsumerProtocolAssignment>("ConsumerProtocolAssignment");
    data::<ConsumerProtocolSubscription>("ConsumerProtocolSubscription");
    data::<DefaultPrincipalData>("DefaultPrincipalData");
    data::<EndTxnMarker>("EndTxnMarker");
    data::<KRaftVersionRecord>("KRaftVersionRecord");
    data::<LeaderChangeMessage>("LeaderChangeMessage");
    data::<SnapshotFooterRecord>("SnapshotFooterRecord");
    data::<SnapshotHeaderRecord>("SnapshotHeaderRecord");
    data::<VotersRecord>("VotersRecord");
}

fn data<T: Decodable + Encodable>(name: &str) {
    let table = wire_bytes::messages().into_iter().find(|table| table.name == name).unwrap();
    for version in table.versions.0..=table.versions.1 {
        for seed in 0..BODIES_PER_VERSION {
            let mut bytes = wire_bytes::body(&table, version, true, &mut Draw(seed));
            if table.fields[0].name == "version" {
                // Control records repeat their version, and that crate decodes by it.
                bytes[..2].copy_from_slice(&version.to_be_bytes());
            }
            let bytes = Bytes::from(bytes);
            let (mut rest, mut again) = (bytes.clone(), BytesMut::new());
            let message = T::decode(&mut rest, version);
            let message = message.unwrap_or_else(|e| panic!("{name} {version}: {e}"));
            message.encode(&mut again, version).unwrap();
            assert_eq!((again.freeze(), rest.len()), (bytes, 0), "{name} {version}");
        }
    }
}

fn there_and_back(table: &Message, api: ApiKey, bytes: Bytes, version: i16) -> Result<(), String> {
    let (mut rest, mut again) = (bytes.clone(), BytesMut::new());
    let result = match table.kind {
        Kind::Request => RequestKind::decode(api, &mut rest, version)
            .and_then(|request| request.encode(&mut again, version)),
        _ => ResponseKind::decode(api, &mut rest, version)
            .and_then(|response| response.encode(&mut again, version)),
    };
    result.map_err(|error| format!("{error:#}\n  {bytes:x?}"))?;
    if !rest.is_empty() {
        return Err(format!("{} bytes left", rest.len()));
    }
    if again != bytes {
        return Err(format!("other bytes\n  {bytes:x?}\n  {:x?}", &again[..]));
    }
    Ok(())
}
