//! The life of an HTTP/1.x connection: one request after the other, in order.
//!
//! ```text
//! idle -> head -> Session -> Pingora -> Slot -> (rest of the body dropped) -> idle
//!   |       |                             |
//!   end     refused: answer, linger       close or abort
//! ```

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use chassis::problem;
use http::{HeaderValue, header};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_http::{RequestHeader, ResponseHeader};

use super::body::Body;
use super::chunked::Piece;
use super::connection::{Broken, Connection, until, within};
use super::head::HeadParser;
use super::message::judge;
use super::request::request;
use super::response::write_head;
use super::session::{Begin, Session, Slot, Then};
use crate::pace::DROP;
use crate::refusal::Refusal;

/// How the wait for a head ended.
enum Waited {
    Begin(Box<Begin>),
    /// There is no further request.
    Over,
    Refused(Refusal),
}

/// Serves a connection until it ends.
pub(crate) async fn serve<App>(mut connection: Box<Connection>, app: &std::sync::Arc<App>)
where
    App: HttpServerApp + Send + Sync + 'static,
{
    let slot = Slot::default();
    let closing = connection.closing.clone();
    loop {
        let begin = match next(&mut connection).await {
            Waited::Begin(begin) => *begin,
            // In boxes of their own: a connection that waits is to need no room for its end.
            Waited::Over => return Box::pin(connection.close(false)).await,
            Waited::Refused(refusal) => return Box::pin(refused(connection, refusal)).await,
        };
        let session = Session::new(connection, slot.clone(), begin);
        let session = ServerSession::new_custom(Box::new(session));
        app.process_new_http(session, &closing).await;
        let Some((back, then, body)) = slot.take() else {
            return; // a panic took it along
        };
        connection = back;
        match then {
            Then::Next if body.is_done() => {}
            Then::Next => match Box::pin(drop_rest(&mut connection, body)).await {
                true => {}
                false => return Box::pin(connection.close(true)).await,
            },
            Then::Close => return Box::pin(connection.close(true)).await,
            Then::Abort => return connection.abort(),
        }
    }
}

/// Waits for the next head.
async fn next(connection: &mut Connection) -> Waited {
    match wait(connection).await {
        Ok(true) => {}
        Ok(false) | Err(_) => return Waited::Over,
    }
    let due = Instant::now() + connection.listener.timeouts.head;
    let whole = connection.listener.timeouts.request;
    let whole = whole.map(|whole| Instant::now() + whole);
    let mut parser = HeadParser::default();
    loop {
        let limits = connection.listener.http1;
        match parser.parse(&connection.arrived, &limits) {
            Err(refusal) => return Waited::Refused(refusal),
            Ok(Some(head)) => {
                let len = head.len;
                return match begin(connection, &parser, len, whole) {
                    Ok(begin) => Waited::Begin(Box::new(begin)),
                    Err(refusal) => Waited::Refused(refusal),
                };
            }
            Ok(None) => {}
        }
        match until(due, connection.read()).await {
            Ok(0) | Err(Broken::Failed(_)) => return Waited::Over,
            Ok(_) => {}
            Err(Broken::Late) => return Waited::Refused(Refusal::SlowHead),
        }
    }
}

/// Waits for the first byte of a request; false when there will be none.
async fn wait(connection: &mut Connection) -> Result<bool, Broken> {
    if !connection.arrived.is_empty() {
        return Ok(true);
    }
    if connection.ended {
        return Ok(false);
    }
    connection.release_room();
    let idle = connection.listener.timeouts.idle;
    Ok(within(idle, connection.read()).await? > 0)
}

/// Takes a complete head out of what has arrived.
fn begin(
    connection: &mut Connection,
    parser: &HeadParser,
    len: usize,
    due: Option<Instant>,
) -> Result<Begin, Refusal> {
    let bytes: Bytes = connection.arrived.split_to(len).freeze();
    let head = parser.head(&bytes, len);
    let message = judge(&head)?;
    let limit = connection.listener.body;
    let body = Body::new(message.framing, limit, Instant::now())?;
    let mut request = request(&head, &message, &bytes)?;
    if !request.headers.contains_key(header::HOST) {
        name_host(&mut request, message.authority, connection.local());
    }
    Ok(Begin {
        head: request,
        body,
        http11: head.line.http11,
        keep_alive: message.keep_alive,
        expects_continue: message.expects_continue,
        websocket: message.websocket,
        due,
    })
}

/// Gives a request of HTTP/1.0 the host that it must have further on: the target's, or else the
/// address that the client has connected to (RFC 9112, section 3.3).
fn name_host(request: &mut RequestHeader, authority: Option<&[u8]>, local: Option<SocketAddr>) {
    let host = match (authority, local) {
        (Some(authority), _) => HeaderValue::from_bytes(authority).ok(),
        (None, Some(local)) => HeaderValue::try_from(local.to_string()).ok(),
        (None, None) => None,
    };
    let host = host.unwrap_or(HeaderValue::from_static("localhost"));
    let set = request.insert_header(header::HOST, host);
    debug_assert!(set.is_ok(), "name and value are valid");
}

/// Reads what is left of a body that nobody wanted; false when the connection cannot go on.
async fn drop_rest(connection: &mut Connection, mut body: Body) -> bool {
    let enough = body.pace.received.saturating_add(DROP);
    while body.pace.received <= enough {
        let limits = &connection.listener.http1;
        match body.next(&mut connection.arrived, limits, Instant::now()) {
            Ok(Piece::End) => return true,
            Ok(Piece::Data(_)) => continue,
            Ok(Piece::More) => {}
            Err(refusal) => {
                connection.refuse(refusal);
                return false;
            }
        }
        let due = body.due(&connection.listener.timeouts);
        if !matches!(until(due, connection.read_body()).await, Ok(1..)) {
            return false;
        }
    }
    false
}

/// Answers what was refused before it was a request, and ends the connection.
async fn refused(mut connection: Box<Connection>, refusal: Refusal) {
    connection.refuse(refusal);
    let body = refusal.problem().to_json();
    if let Ok(mut head) = ResponseHeader::build_no_case(refusal.status(), Some(2)) {
        let length = body.len().to_string();
        let set = head
            .insert_header(header::CONTENT_TYPE, problem::CONTENT_TYPE)
            .and_then(|()| head.insert_header(header::CONTENT_LENGTH, length));
        debug_assert!(set.is_ok(), "names and values are valid");
        write_head(&mut connection.out, &head, Some("close"));
    }
    let patience = connection.listener.timeouts.linger;
    let _ = connection.send(&body, patience).await;
    connection.close(true).await;
}
