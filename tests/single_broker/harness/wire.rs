//! A connection of a client that may misbehave: whole requests, or any bytes at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use ottla::protocol::frame::{decode_response, encode_request};
use ottla::protocol::wire::writer::Writer;
use ottla::protocol::wire::{Request, Text};

use super::PATIENCE;

pub struct Wire {
    pub stream: TcpStream,
    sent: i32,
    awaited: i32,
}

impl Wire {
    pub fn connect(to: SocketAddr) -> Wire {
        let stream = TcpStream::connect(to).expect("somebody listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire { stream, sent: 0, awaited: 0 }
    }

    /// The bytes of the next request, length first.
    pub fn frame<R: Request>(&mut self, request: &R, version: i16) -> Vec<u8> {
        let client_id = Some(Text::from("test"));
        let frame = encode_request(&mut Writer::new(), version, self.sent, client_id, request);
        self.sent += 1;
        frame.expect("the request can be said").to_bytes().to_vec()
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) {
        let frame = self.frame(request, version);
        self.send_bytes(&frame);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// `bytes` as a frame, with its length before it.
    pub fn send_framed(&mut self, bytes: &[u8]) {
        let len = i32::try_from(bytes.len()).unwrap().to_be_bytes();
        self.send_bytes(&[&len, bytes].concat());
    }

    /// The next answer, which must be the one to the oldest request that has none.
    pub fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let frame = self.receive_frame();
        let (got, response) = decode_response::<R>(frame, version).expect("a sound answer");
        assert_eq!(got, self.awaited, "answers come in the order of the requests");
        self.awaited += 1;
        response
    }

    pub fn receive_frame(&mut self) -> Bytes {
        self.try_receive_frame().expect("an answer")
    }

    /// `None`: the broker is gone.
    pub fn try_receive_frame(&mut self) -> Option<Bytes> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version);
        self.receive::<R>(version)
    }

    /// The broker closes the connection without another byte.
    pub fn expect_closed(&mut self) {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => {}
            Ok(_) => panic!("the broker answers where it should close"),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
}
