//! One connection of a client: negotiates versions, then requests and their answers, in order.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CallError, ClientOptions, refusal};
use crate::env::clock::Clock;
use crate::env::net::Conn;
use crate::env::{ConnOf, Env, ReaderOf, WriterOf};
use crate::protocol::api::ApiKey;
use crate::protocol::error::ErrorCode;
use crate::protocol::frame::{correlation_id, decode_response, encode_request};
use crate::protocol::messages::api_versions_request::ApiVersionsRequest;
use crate::protocol::messages::api_versions_response::ApiVersionsResponse;
use crate::protocol::wire::writer::Writer;
use crate::protocol::wire::{Request, Text};

/// A frame grows by this much at a time, so that a length alone makes nobody allocate.
const READ_BYTES: usize = 64 << 10;

pub struct Connection<E: Env> {
    env: E,
    reader: ReaderOf<E>,
    writer: WriterOf<E>,
    client_id: Text,
    frame_bytes_max: u32,
    /// What the broker advertises.
    versions: BTreeMap<ApiKey, (i16, i16)>,
    sent: i32,
    /// The correlation id of the answer that comes next.
    awaited: i32,
}

/// A request on its way. Answers are received in the order of sending.
#[must_use]
#[derive(Debug)]
pub struct Sent<R> {
    correlation_id: i32,
    version: i16,
    request: PhantomData<R>,
}

impl<E: Env> Connection<E> {
    pub async fn open(
        env: &E,
        conn: ConnOf<E>,
        options: &ClientOptions,
    ) -> Result<Connection<E>, CallError> {
        let (reader, writer) = conn.split();
        let mut connection = Connection {
            env: env.clone(),
            reader,
            writer,
            client_id: Text::new(&options.client_id),
            frame_bytes_max: options.frame_bytes_max,
            versions: BTreeMap::new(),
            sent: 0,
            awaited: 0,
        };
        connection.negotiate(options.call_max()).await?;
        Ok(connection)
    }

    async fn negotiate(&mut self, limit: Duration) -> Result<(), CallError> {
        let newest = *ApiKey::ApiVersions.stable_versions().end();
        let mut response = self.ask_versions(newest, limit).await?;
        if response.error_code == ErrorCode::UnsupportedVersion.code() {
            response = self.ask_versions(0, limit).await?;
        }
        refusal(response.error_code)?;
        for api in response.api_keys {
            if let Some(key) = ApiKey::from_code(api.api_key) {
                self.versions.insert(key, (api.min_version, api.max_version));
            }
        }
        Ok(())
    }

    /// A broker that does not know the version answers in version 0, which is a beginning of all
    /// others; one that does answers as asked.
    async fn ask_versions(
        &mut self,
        version: i16,
        limit: Duration,
    ) -> Result<ApiVersionsResponse, CallError> {
        let request = ApiVersionsRequest {
            client_software_name: Text::new("ottla"),
            client_software_version: Text::new(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let clock = self.env.clock().clone();
        let exchange = async {
            let sent = self.send_version(&request, version).await?;
            let frame = self.receive_frame(sent.correlation_id).await?;
            let asked = decode_response::<ApiVersionsRequest>(frame.clone(), version);
            let (_, response) =
                asked.or_else(|_| decode_response::<ApiVersionsRequest>(frame, 0))?;
            Ok(response)
        };
        let timed_out = CallError::TimedOut { api: ApiKey::ApiVersions, limit };
        clock.timeout(limit, exchange).await.unwrap_or(Err(timed_out))
    }

    /// The newest version of `api` that both sides speak.
    pub fn version(&self, api: ApiKey) -> Result<i16, CallError> {
        let ours = api.stable_versions();
        let spoken = self.versions.get(&api).and_then(|(low, high)| {
            let newest = *high.min(ours.end());
            (newest >= *low.max(ours.start())).then_some(newest)
        });
        spoken.ok_or(CallError::Unsupported { api })
    }

    /// After an error the connection is of no more use.
    pub async fn call<R: Request>(
        &mut self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, CallError> {
        let clock = self.env.clock().clone();
        let exchange = async {
            let sent = self.send(request).await?;
            self.receive(sent).await
        };
        let timed_out = CallError::TimedOut { api: R::API, limit };
        clock.timeout(limit, exchange).await.unwrap_or(Err(timed_out))
    }

    /// Sends without waiting for the answer. No time limit: the caller has one for the whole.
    pub async fn send<R: Request>(&mut self, request: &R) -> Result<Sent<R>, CallError> {
        let version = self.version(R::API)?;
        self.send_version(request, version).await
    }

    async fn send_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<Sent<R>, CallError> {
        let mut writer = Writer::new();
        let (correlation_id, client_id) = (self.sent, Some(self.client_id.clone()));
        let frame = encode_request(&mut writer, version, correlation_id, client_id, request)?;
        self.sent = self.sent.wrapping_add(1);
        self.writer.write_all(&frame.to_bytes()).await?;
        self.writer.flush().await?;
        Ok(Sent { correlation_id, version, request: PhantomData })
    }

    pub async fn receive<R: Request>(&mut self, sent: Sent<R>) -> Result<R::Response, CallError> {
        let frame = self.receive_frame(sent.correlation_id).await?;
        let (_, response) = decode_response::<R>(frame, sent.version)?;
        Ok(response)
    }

    async fn receive_frame(&mut self, expected: i32) -> Result<Bytes, CallError> {
        assert_eq!(expected, self.awaited, "answers are received in the order of sending");
        let len = self.reader.read_u32().await?;
        if len > self.frame_bytes_max {
            let len_max = self.frame_bytes_max;
            return Err(CallError::TooLarge { len: u64::from(len), len_max });
        }
        let (mut frame, len) = (BytesMut::new(), len as usize);
        while frame.len() < len {
            let from = frame.len();
            frame.resize(len.min(from + READ_BYTES), 0);
            self.reader.read_exact(&mut frame[from..]).await?;
        }
        let frame = frame.freeze();
        let got = correlation_id(&frame)?;
        if got != expected {
            return Err(CallError::OutOfTurn { got, expected });
        }
        self.awaited = self.awaited.wrapping_add(1);
        Ok(frame)
    }
}
