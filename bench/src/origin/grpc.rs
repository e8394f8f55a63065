//! A gRPC service: every unary call is answered with a message of the same length as is sent.

use std::convert::Infallible;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Error, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;

/// Length of the messages, without gRPC's prefix of five bytes.
const MESSAGE: u32 = 80;

/// A message as it goes over the wire: not compressed, its length, its bytes.
pub(crate) fn message() -> Bytes {
    let mut bytes = vec![0];
    bytes.extend(MESSAGE.to_be_bytes());
    bytes.resize(bytes.len() + MESSAGE as usize, b'g');
    bytes.into()
}

/// Serves a connection without TLS to its end.
pub(super) async fn connection(stream: TcpStream) -> Result<Infallible, Error> {
    let mut connection = h2::server::handshake(stream).await?;
    loop {
        match connection.accept().await {
            Some(call) => {
                let (request, respond) = call?;
                tokio::task::spawn_local(async move { answer(request, respond).await.ok() });
            }
            None => return Err(h2::Reason::NO_ERROR.into()),
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Error> {
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        body.flow_control().release_capacity(length)?;
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).map_err(|_| h2::Reason::INTERNAL_ERROR)?;
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message(), false)?;
    let trailers = [("grpc-status", "0")].map(|(name, value)| {
        (
            http::HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    stream.send_trailers(HeaderMap::from_iter(trailers))
}
