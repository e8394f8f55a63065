use proptest::prelude::*;

use super::*;
use crate::h1::head::AnswerParser;

/// What a head means: status, where the body ends, whether the connection goes on.
fn judged(method: &Method, text: &str) -> Result<(u16, String, bool), Refusal> {
    let mut parser = AnswerParser::default();
    let head = parser.parse(text.as_bytes(), &LIMITS)?;
    let answer = judge(&head.expect("it is complete"), method)?;
    let body = match answer.body {
        Body::Done => "done".into(),
        Body::Length(length) => length.to_string(),
        Body::Chunked(_) => "chunked".into(),
        Body::Close => "close".into(),
    };
    Ok((answer.head.status().as_u16(), body, answer.keep_alive))
}

#[test]
fn answers_end_where_their_heads_say() {
    for (head, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            (200, "5", true),
        ),
        (
            "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
            (200, "done", true),
        ),
        ("HTTP/1.1 200 \r\n\r\n", (200, "close", true)),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
            (200, "5", false),
        ),
        (
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 5\r\n\r\n",
            (200, "5", true),
        ),
        ("HTTP/1.1 204 None\r\n\r\n", (204, "done", true)),
        (
            "HTTP/1.1 304 Same\r\ncontent-length: 9\r\n\r\n",
            (304, "done", true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            (200, "chunked", true),
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            (200, "chunked", false),
        ),
        (
            "HTTP/1.1 200 OK\r\nconnection: x, close\r\ncontent-length: 1\r\n\r\n",
            (200, "1", false),
        ),
    ] {
        let (status, body, keep_alive) = expected;
        let outcome = judged(&Method::GET, head);
        assert_eq!(outcome, Ok((status, body.into(), keep_alive)), "{head:?}");
    }
    let of_head = judged(
        &Method::HEAD,
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
    );
    assert_eq!(of_head, Ok((200, "done".into(), true)));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let with = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    for (head, reason) in [
        ("HTTP/2.0 200 OK\r\n\r\n", Refusal::Version),
        ("HTTP/1.1 20 OK\r\n\r\n", Refusal::RequestLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", Refusal::RequestLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Refusal::RequestLine),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Refusal::RequestLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Refusal::ControlCharacter),
        ("HTTP/1.1 200 OK\n\n", Refusal::BareLineEnd),
        (&with("a: b\r\n c\r\n"), Refusal::FoldedHeader),
        (&with("a : b\r\n"), Refusal::SpaceBeforeColon),
        (
            &with("content-length: 1\r\ncontent-length: 1\r\n"),
            Refusal::ContentLength,
        ),
        (&with("content-length: 1, 1\r\n"), Refusal::ContentLength),
        (&with("content-length: +1\r\n"), Refusal::ContentLength),
        (
            &with("transfer-encoding: gzip, chunked\r\n"),
            Refusal::TransferEncoding,
        ),
        (
            &with("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            Refusal::TransferEncoding,
        ),
    ] {
        assert_eq!(judged(&Method::GET, head), Err(reason), "{head:?}");
    }
}

/// The body that arrives in these pieces; none when it is not complete.
fn read(body: &mut Body, pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, Refusal> {
    let (mut arrived, mut read) = (Vec::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match body.next(&arrived)? {
                Piece::Skip(bytes) => drop(arrived.drain(..bytes)),
                Piece::Data(bytes, last) => {
                    read.extend(arrived.drain(..bytes));
                    if last {
                        return Ok(Some(read));
                    }
                }
                Piece::More => break,
                Piece::End => return Ok(Some(read)),
            }
        }
    }
    Ok(None)
}

#[test]
fn bodies_end_where_they_should() {
    let whole = read(&mut Body::Length(3), &[b"a", b"bcd"]);
    assert_eq!(whole, Ok(Some(b"abc".to_vec())));
    let whole = read(
        &mut Body::Chunked(Chunked::default()),
        &[b"3\r\nabc\r", b"\n0\r\n\r\n"],
    );
    assert_eq!(whole, Ok(Some(b"abc".to_vec())));
    let mut body = Body::Close;
    assert_eq!(read(&mut body, &[b"abc"]), Ok(None));
    assert_eq!(body.close(), Ok(()));
    assert_eq!(Body::Length(1).close(), Err(Refusal::BodyIncomplete));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut parser = AnswerParser::default();
        if let Ok(Some(head)) = parser.parse(&bytes, &LIMITS) {
            let _ = judge(&head, &Method::GET);
        }
        let _ = read(&mut Body::Chunked(Chunked::default()), &[&bytes]);
    }
}
