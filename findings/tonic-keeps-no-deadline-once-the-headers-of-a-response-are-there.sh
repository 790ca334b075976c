#!/usr/bin/env bash
# tonic 0.14.9 (Rust): once the headers of a response are there, no deadline is kept any more: not the request's own
# (set_timeout), not the endpoint's, not the server's. A stream goes on, and a call whose message is late waits.
#
# One would expect what gRPC means by a deadline: that it is for the whole call, after which the client gives up and
# the server stops. set_timeout is documented as the time "the request is allowed to take", with "which Tonic does" for
# a server that keeps to it. But on both sides it is the time until the future of the response is done, and that is when
# the headers are there. Of a stream they come at once, so its deadline never does anything: with a server or a
# network that has stopped in the middle, message() waits for ever. Of a unary call they come together with the message
# if tonic's server sends them; one that sends them first, as many do, has a caller that waits for as long as it likes.
# In a test with a handler that sleeps before it answers, all is well (but for the status, which is Cancelled, not
# DeadlineExceeded). What helps is tokio::time::timeout around all of it, body and all.
#
# Seen, 1 s in all three places: a handler that answers after 4 s: Cancelled after 1.0 s; a stream of 40 messages, one
# each 100 ms: all 40 and Ok, after 4.1 s; a unary call with headers at once and its message after 4 s: Ok after 4.0 s.
# Exits 1 when that is no longer so. Needs cargo (Rust 1.88 or newer); the build takes half a minute to a minute.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CARGO_HOME="$folder/cargo" CARGO_TARGET_DIR="$folder/target" CARGO_INCREMENTAL=0
mkdir -p "$folder/show/src"
cd "$folder/show"
cat >Cargo.toml <<'TOML'
[package]
name = "show"
version = "1.0.0"
edition = "2021"

[dependencies]
bytes = "=1.12.2"
http = "=1.5.0"
tokio = { version = "=1.54.1", features = ["macros", "net", "rt-multi-thread", "time"] }
tokio-stream = { version = "=0.1.19", features = ["net"] }
tonic = { version = "=0.14.9", default-features = false, features = ["channel", "router", "server"] }
tower-service = "=0.3.3"

[profile.dev]
debug = 0
TOML
cat >src/main.rs <<'RS'
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

const DEADLINE: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(4);
const EACH: Duration = Duration::from_millis(100);

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// Messages are bytes, so that no protobuf is needed.
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Plain;
    type Decoder = Plain;
    fn encoder(&mut self) -> Plain {
        Plain
    }
    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Waits `before` its headers, and then `each` before each of its messages.
struct Handler {
    before: Duration,
    each: Duration,
    count: u8,
}

impl tonic::server::ServerStreamingService<Vec<u8>> for Handler {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Later<Result<Response<Messages>, Status>>;
    fn call(&mut self, _: Request<Vec<u8>>) -> Self::Future {
        let (before, each, count) = (self.before, self.each, self.count);
        Box::pin(async move {
            tokio::time::sleep(before).await;
            let messages = tokio_stream::iter(0..count).then(move |n| async move {
                tokio::time::sleep(each).await;
                Ok(vec![n])
            });
            Ok(Response::new(Box::pin(messages) as Messages))
        })
    }
}

#[derive(Clone)]
struct Service;

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "show";
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Later<Result<Self::Response, Infallible>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let now = Duration::ZERO;
        let handler = match request.uri().path() {
            "/show/late" => Handler { before: LATE, each: now, count: 1 },
            "/show/stream" => Handler { before: now, each: EACH, count: 40 },
            _ => Handler { before: now, each: LATE, count: 1 },
        };
        Box::pin(async move { Ok(tonic::server::Grpc::new(Plain).server_streaming(handler, request).await) })
    }
}

/// How many messages came, and the status.
async fn called(channel: &Channel, path: &'static str, unary: bool) -> Result<usize, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("a connection");
    let mut request = Request::new(Vec::new());
    request.set_timeout(DEADLINE);
    let path = PathAndQuery::from_static(path);
    if unary {
        return client.unary(request, path, Plain).await.map(|_: Response<Vec<u8>>| 1);
    }
    let mut messages = client.server_streaming(request, path, Plain).await?.into_inner();
    let mut count = 0;
    while let Some(_) = messages.message().await? {
        count += 1;
    }
    Ok(count)
}

async fn show(name: &str, channel: &Channel, path: &'static str, unary: bool) -> (Result<usize, Code>, Duration) {
    let began = Instant::now();
    let end = called(channel, path, unary).await.map_err(|status| status.code());
    let took = began.elapsed();
    println!("{name}: {end:?} after {:.1} s", took.as_secs_f64());
    (end, took)
}

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = Server::builder().timeout(DEADLINE).add_service(Service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoint = Endpoint::new(address).expect("a URL").timeout(DEADLINE);
    let channel = endpoint.connect().await.expect("a connection");

    let (late, after) = show("an answer after 4 s", &channel, "/show/late", true).await;
    let (stream, whole) = show("a stream of 4 s", &channel, "/show/stream", false).await;
    let (unary, waited) = show("headers at once, the message after 4 s", &channel, "/show/unary", true).await;
    let kept = late == Err(Code::Cancelled) && after < LATE;
    let not_kept = stream == Ok(40) && whole >= LATE && unary == Ok(1) && waited >= LATE;
    std::process::exit(if kept && not_kept { 0 } else { 1 });
}
RS
cargo build -q
"$CARGO_TARGET_DIR/debug/show"
