//! gRPC-Web: gRPC for pages, whose trailers come as a last piece of the body.
//!
//! Pingora's translation is used without its module, which every request would pay for.

use chassis::problem::Problem;
use http::header;
use pingora_core::protocols::http::bridge::grpc_web::GrpcWebCtx;
use pingora_http::RequestHeader;
use plugins::Reply;

/// Makes a gRPC request of a gRPC-Web request; a reply for a kind of it that is not understood.
pub(super) fn request(grpc_web: &mut GrpcWebCtx, head: &mut RequestHeader) -> Option<Reply> {
    if is_text(head) {
        let problem = Problem::new(415, "grpc-web-text", "Unsupported media type");
        return Some(Reply::problem(
            problem.detail("only application/grpc-web is translated"),
        ));
    }
    grpc_web.init();
    grpc_web.request_header_filter(head);
    None
}

/// Says to the service that trailers are understood: Pingora has taken that of the client away.
pub(super) fn upstream(
    grpc_web: &GrpcWebCtx,
    head: &mut RequestHeader,
) -> pingora_core::Result<()> {
    match grpc_web {
        GrpcWebCtx::Upgrade => head.insert_header(header::TE, "trailers"),
        _ => Ok(()),
    }
}

/// Whether it is a call of gRPC, translated or not.
pub(super) fn is_grpc(head: &RequestHeader) -> bool {
    has_type(head, b"application/grpc")
}

/// Whether the body is in base64.
fn is_text(head: &RequestHeader) -> bool {
    has_type(head, b"application/grpc-web-text")
}

fn has_type(head: &RequestHeader, wanted: &[u8]) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE);
    let start = kind.and_then(|kind| kind.as_bytes().get(..wanted.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(wanted))
}
