//! The life of an HTTP/1.x connection: one request after the other, in order.
//!
//! ```text
//! idle -> head -> Session -> exchange -> (rest of the body dropped) -> idle
//!   |       |                 |  |
//!   |       |                 |  Pingora's proxy -> Slot
//!   end     refused: answer   close or abort
//! ```

use std::cell::RefCell;
use std::time::Instant;

use bytes::Buf;
use chassis::problem;
use http::{HeaderValue, StatusCode, header};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use plugins::{RequestHead, ResponseHead};

use super::body::Body;
use super::chunked::Piece;
use super::connection::{Connection, Limit};
use super::head::{Head, RequestLine, RequestParser};
use super::message::judge;
use super::request::request;
use super::response::write_head;
use super::session::{Back, Begin, Session, Slot, Then};
use crate::deadline::Broken;
use crate::exchange;
use crate::pace::DROP;
use crate::proxy::{Proxies, hand_over};
use crate::refusal::Refusal;
use crate::serve::Owing;

/// Why there is no request.
enum Over {
    /// There is no further one.
    Ended,
    Refused(Refusal),
}

/// A request that has arrived.
struct Incoming {
    head: RequestHead,
    begin: Begin,
    /// When the head had been read.
    now: Instant,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(mut connection: Box<Connection>, proxies: &Proxies) {
    while matches!(wait(&mut connection).await, Ok(true)) {
        // In a box of its own: a connection that waits is to need no room for a request.
        match Box::pin(one(connection, proxies)).await {
            Some(back) => connection = back,
            None => return,
        }
    }
    Box::pin(connection.close()).await;
}

/// Serves one request; the connection, when it goes on.
async fn one(mut connection: Box<Connection>, proxies: &Proxies) -> Option<Box<Connection>> {
    let owing = &proxies.shared().owing;
    let mut incoming = None;
    // In boxes of their own, as is all that is rare: it is to need no room in every request.
    match next(&mut connection, &mut incoming).await {
        Ok(()) => {}
        Err(Over::Ended) => {
            Box::pin(connection.close()).await;
            return None;
        }
        Err(Over::Refused(refusal)) => {
            Box::pin(refused(connection, refusal, owing)).await;
            return None;
        }
    }
    let Incoming { head, begin, now } = incoming?;
    let session = Session::new(connection, begin);
    // Nothing comes back when a panic took it along.
    let (mut connection, then, body) = answer(session, head, now, proxies).await?;
    match then {
        Then::Next if body.is_done() => return Some(connection),
        Then::Next if Box::pin(drop_rest(&mut connection, body)).await => return Some(connection),
        Then::End => connection.end(owing).await,
        Then::Next | Then::Close => Box::pin(connection.linger(owing)).await,
        Then::Abort => {}
    }
    None
}

/// Answers a request; what is left afterwards.
async fn answer(
    mut session: Session,
    head: RequestHead,
    now: Instant,
    proxies: &Proxies,
) -> Option<Back> {
    let shared = proxies.shared();
    let mut started = exchange::serve(shared, &mut session, head, now).await;
    if started.is_none() {
        return session.release();
    }
    let slot = Slot::default();
    let closing = session.connection().closing.clone();
    let handed = hand_over(&mut started).and_then(|head| session.forward(head, slot.clone()));
    if let (Err(error), Some(started)) = (handed, &mut started) {
        exchange::end(shared, &mut session, started, Err(error)).await;
        return session.release();
    }
    let session = ServerSession::new_custom(Box::new(session));
    proxies.proxy().process_new_http(session, &closing).await;
    slot.take()
}

/// Waits for the next head. It is written to where it is needed: it is too large to be moved about.
async fn next(connection: &mut Connection, incoming: &mut Option<Incoming>) -> Result<(), Over> {
    let now = Instant::now();
    let due = now + connection.timeouts().head;
    let whole = connection.timeouts().request.map(|whole| now + whole);
    // Most heads are here already: a parser of the thread's has room for their fields.
    PARSER.with_borrow_mut(|parser| {
        parser.restart();
        take(parser, connection, now, whole, incoming)
    })?;
    if incoming.is_some() {
        return Ok(());
    }
    let mut parser = RequestParser::default();
    while incoming.is_none() {
        match connection.read(Limit::Until(due)).await {
            Ok(0) | Err(Broken::Failed(_)) => return Err(Over::Ended),
            Ok(_) => {}
            Err(Broken::Late) => return Err(Over::Refused(Refusal::SlowHead)),
        }
        take(&mut parser, connection, Instant::now(), whole, incoming)?;
    }
    Ok(())
}

thread_local! {
    static PARSER: RefCell<RequestParser> = RefCell::default();
}

/// Takes a head out of what has arrived, if it is complete.
fn take(
    parser: &mut RequestParser,
    connection: &mut Connection,
    now: Instant,
    due: Option<Instant>,
    incoming: &mut Option<Incoming>,
) -> Result<(), Over> {
    let limits = connection.listener().http1;
    let parsed = parser.parse(&connection.arrived, &limits);
    if let Some(head) = parsed.map_err(Over::Refused)? {
        let outcome = begin(&head, connection, now, due);
        let len = head.len;
        connection.arrived.advance(len);
        *incoming = Some(outcome.map_err(Over::Refused)?);
    }
    Ok(())
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
    let idle = connection.timeouts().idle;
    Ok(connection.read(Limit::Within(idle)).await? > 0)
}

/// Makes a request of a complete head.
fn begin(
    head: &Head<'_, RequestLine>,
    connection: &Connection,
    now: Instant,
    due: Option<Instant>,
) -> Result<Incoming, Refusal> {
    let message = judge(head)?;
    let limit = connection.listener().body;
    let body = Body::new(message.framing, limit, now)?;
    let mut request = request(head, &message)?;
    if request.header(&header::HOST).is_none() {
        name_host(&mut request, message.authority, connection);
    }
    let begin = Begin {
        body,
        head: *request.method() == http::Method::HEAD,
        http11: head.line.http11,
        keep_alive: message.keep_alive,
        expects_continue: message.expects_continue,
        websocket: message.websocket,
        due,
    };
    Ok(Incoming {
        head: request,
        begin,
        now,
    })
}

/// Gives a request of HTTP/1.0 the host that it must have further on: the target's, or else the
/// address that the client has connected to (RFC 9112, section 3.3).
fn name_host(request: &mut RequestHead, authority: Option<&[u8]>, connection: &Connection) {
    let host = match (authority, connection.connected.local) {
        (Some(authority), _) => HeaderValue::from_bytes(authority).ok(),
        (None, Some(local)) => HeaderValue::try_from(local.to_string()).ok(),
        (None, None) => None,
    };
    let host = host.unwrap_or(HeaderValue::from_static("localhost"));
    request.set_header(&header::HOST, host);
}

/// Reads what is left of a body that nobody wanted; false when the connection cannot go on.
async fn drop_rest(connection: &mut Connection, mut body: Body) -> bool {
    let enough = body.pace.received.saturating_add(DROP);
    while body.pace.received <= enough {
        let limits = connection.listener().http1;
        match body.next(&mut connection.arrived, &limits, Instant::now()) {
            Ok(Piece::End) => return true,
            Ok(Piece::Data(_)) => continue,
            Ok(Piece::More) => {}
            Err(refusal) => {
                connection.refuse(refusal);
                return false;
            }
        }
        let due = body.due(connection.timeouts());
        if !matches!(connection.read_body(due).await, Ok(1..)) {
            return false;
        }
    }
    false
}

/// Answers what was refused before it was a request, and ends the connection.
async fn refused(mut connection: Box<Connection>, refusal: Refusal, owing: &Owing) {
    connection.refuse(refusal);
    let body = refusal.problem().to_json();
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut head = ResponseHead::new(status);
    let kind = HeaderValue::from_static(problem::CONTENT_TYPE);
    head.set_header(&header::CONTENT_TYPE, kind);
    head.set_header(&header::CONTENT_LENGTH, body.len().into());
    write_head(&mut connection.out, &head, Some("close"));
    let patience = connection.timeouts().linger;
    let _ = connection.send(&body, patience).await;
    connection.linger(owing).await;
}
