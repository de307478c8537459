//! Requests and responses with their headers and lengths.
//!
//! On the wire a frame is a length of four bytes, a header, a body. Decoding takes a frame without
//! its length, encoding makes one with it. Bytes behind the body of a request are ignored, as
//! Kafka does; behind that of a response they are an error.

use bytes::Bytes;

use super::api::ApiKey;
use super::messages::request_header::RequestHeader;
use super::messages::response_header::ResponseHeader;
use super::wire::reader::Reader;
use super::wire::writer::{Encoded, Writer};
use super::wire::{DecodeError, EncodeError, Message, Request, Text};

/// A request whose header was read and whose body was not. Its version may be one that nobody
/// speaks: ApiVersions answers even that, everything else closes the connection.
#[derive(Clone, Debug)]
pub struct RequestFrame {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Text>,
    body: Reader,
}

impl RequestFrame {
    pub fn decode(frame: Bytes) -> Result<RequestFrame, DecodeError> {
        let mut r = Reader::new(frame.clone());
        let key: i16 = r.get("request_api_key")?;
        let version: i16 = r.get("request_api_version")?;
        let api = ApiKey::from_code(key).ok_or(DecodeError::UnknownApi { key })?;

        let mut body = Reader::new(frame);
        let header = RequestHeader::decode(&mut body, api.request_header_version(version))?;
        let RequestHeader { correlation_id, client_id, .. } = header;
        Ok(RequestFrame { api, version, correlation_id, client_id, body })
    }

    pub fn body<R: Request>(self) -> Result<R, DecodeError> {
        assert!(R::API == self.api, "{} read as {}", self.api, R::NAME);
        let version = self.version;
        R::decode(&mut self.into_body(), version)
    }

    /// The body as it came.
    pub fn into_body(self) -> Reader {
        self.body
    }
}

pub fn encode_request<R: Request>(
    w: &mut Writer,
    version: i16,
    correlation_id: i32,
    client_id: Option<Text>,
    request: &R,
) -> Result<Encoded, EncodeError> {
    let header = RequestHeader {
        request_api_key: R::KEY,
        request_api_version: version,
        correlation_id,
        client_id,
    };
    encode(w, &header, R::API.request_header_version(version), request, version)
}

/// `M` is the response of `api`.
pub fn encode_response<M: Message>(
    w: &mut Writer,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &M,
) -> Result<Encoded, EncodeError> {
    assert!(api.code() == M::KEY, "{} answers no {api}", M::NAME);
    let header = ResponseHeader { correlation_id };
    encode(w, &header, api.response_header_version(version), response, version)
}

/// The correlation id tells which request a response answers, and so how to read it.
pub fn correlation_id(response: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(response.clone()).get("correlation_id")
}

pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
) -> Result<(i32, R::Response), DecodeError> {
    let mut r = Reader::new(frame);
    let header = ResponseHeader::decode(&mut r, R::API.response_header_version(version))?;
    let response = R::Response::decode(&mut r, version)?;
    r.finish()?;
    Ok((header.correlation_id, response))
}

fn encode(
    w: &mut Writer,
    header: &impl Message,
    header_version: i16,
    body: &impl Message,
    version: i16,
) -> Result<Encoded, EncodeError> {
    w.begin_frame();
    let encoded = header.encode(w, header_version).and_then(|()| body.encode(w, version));
    let encoded = encoded.and_then(|()| w.finish_frame());
    if encoded.is_err() {
        w.reset();
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::heartbeat_request::HeartbeatRequest;
    use crate::protocol::messages::heartbeat_response::HeartbeatResponse;

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let request = HeartbeatRequest { group_id: "g".into(), ..HeartbeatRequest::default() };
        for version in HeartbeatRequest::VERSIONS {
            let client_id = (version != 1).then(|| Text::from("me"));
            let mut w = Writer::new();
            let sent = encode_request(&mut w, version, 9, client_id.clone(), &request).unwrap();
            let sent = sent.to_bytes();
            assert_eq!(sent[..4], (sent.len() as u32 - 4).to_be_bytes());

            let frame = RequestFrame::decode(sent.slice(4..)).unwrap();
            assert_eq!((frame.api, frame.version), (ApiKey::Heartbeat, version));
            assert_eq!((frame.correlation_id, &frame.client_id), (9, &client_id));
            assert_eq!(frame.body::<HeartbeatRequest>().as_ref(), Ok(&request));
        }
    }

    #[test]
    fn a_response_arrives_as_it_was_sent() {
        let response = HeartbeatResponse { error_code: 27, ..HeartbeatResponse::default() };
        for version in HeartbeatResponse::VERSIONS {
            let mut w = Writer::new();
            let sent = encode_response(&mut w, ApiKey::Heartbeat, version, 9, &response).unwrap();
            let frame = sent.to_bytes().slice(4..);
            assert_eq!(correlation_id(&frame), Ok(9));
            let arrived = decode_response::<HeartbeatRequest>(frame, version);
            assert_eq!(arrived, Ok((9, response.clone())));
        }
    }

    #[test]
    fn a_value_that_the_version_lacks_is_refused_and_the_writer_is_usable() {
        let mut w = Writer::new();
        let request =
            HeartbeatRequest { group_instance_id: Some("i".into()), ..Default::default() };
        let error = encode_request(&mut w, 2, 9, None, &request);
        let field = "HeartbeatRequest.group_instance_id";
        assert_eq!(error, Err(EncodeError::Lacks { field, version: 2 }));
        assert!(encode_request(&mut w, 3, 9, None, &request).is_ok());
    }

    #[test]
    fn an_unknown_api_is_named() {
        let error = RequestFrame::decode(Bytes::from_static(&[0x03, 0xe7, 0, 0, 0, 0, 0, 1]));
        assert_eq!(error.unwrap_err(), DecodeError::UnknownApi { key: 999 });
    }
}
