//! Compares what came with what a case expects, and says each difference.

use super::case::{Case, Reply, Sight, Traits};
use super::message::{Head, shown};
use super::play::{Answer, Outcome};
use super::recorder::Seen;

/// What is wrong with the client's side of a conversation.
pub(super) fn client_side(case: &Case, outcome: &Outcome) -> Vec<String> {
    let expected: Vec<&Reply> = case.answers().collect();
    let mut wrong = Vec::new();
    for (number, (reply, answer)) in expected.iter().zip(&outcome.answers).enumerate() {
        let mut say = |what: String| wrong.push(format!("answer {}: {what}", number + 1));
        if !reply.statuses.contains(&answer.status) {
            let wanted: Vec<String> = reply.statuses.iter().map(u16::to_string).collect();
            let body = shown(&answer.body);
            say(format!(
                "{} and not {}: {body}",
                answer.status,
                wanted.join(" or ")
            ));
            continue;
        }
        traits(&reply.traits, &answer.head, Some(&answer.body)).for_each(&mut say);
        if reply.is_refusal() {
            refusal(answer).into_iter().for_each(say);
        }
    }
    wrong.extend(outcome.wrong.clone());
    wrong
}

/// What is wrong with what the upstream saw.
pub(super) fn upstream_side(case: &Case, seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected = case.seen.iter();
    for request in seen {
        let Some(sight) = expected.next() else {
            wrong.push(format!("the upstream saw, too: {}", told(request)));
            continue;
        };
        let mut say = |what: String| wrong.push(format!("the upstream saw {what}"));
        if request.first() != sight.first {
            say(format!("{} and not {}", told(request), sight.first));
        }
        sight_of(sight, request).for_each(&mut say);
        forwarded(&request.head).into_iter().for_each(say);
    }
    let missing = expected.filter(|sight| !sight.cut);
    wrong.extend(missing.map(|sight| format!("the upstream did not see {}", sight.first)));
    wrong
}

fn told(seen: &Seen) -> String {
    let body = seen.body.as_deref().map(shown);
    let broken = seen.broken.as_deref().unwrap_or("unfinished");
    format!("{}, {}", seen.head, body.as_deref().unwrap_or(broken))
}

fn sight_of<'a>(sight: &'a Sight, seen: &'a Seen) -> impl Iterator<Item = String> + 'a {
    let whole = match (&seen.body, sight.cut) {
        (Some(_), true) => Some("all of it".to_owned()),
        (None, true) if seen.broken.is_none() => Some("that it goes on".to_owned()),
        (None, false) => Some(told(seen)),
        _ => None,
    };
    let traits = traits(&sight.traits, &seen.head, seen.body.as_deref());
    whole.into_iter().chain(traits)
}

fn traits<'a>(
    wanted: &'a Traits,
    head: &'a Head,
    body: Option<&'a [u8]>,
) -> impl Iterator<Item = String> + 'a {
    let fields = wanted.fields.iter().filter_map(|(name, value)| {
        let found = head.all(name);
        let shown = || found.iter().map(|value| shown(value)).collect::<Vec<_>>();
        (!found.contains(&value.as_slice()))
            .then(|| format!("{name}: {:?} and not {}", shown(), value.escape_ascii()))
    });
    let present = wanted.present.iter().filter_map(|name| {
        let found = head.all(name);
        found.is_empty().then(|| format!("no {name}"))
    });
    let absent = wanted.absent.iter().filter_map(|name| {
        let found = head.all(name);
        (!found.is_empty()).then(|| format!("{name}: {}", shown(found[0])))
    });
    let text = head.to_string();
    let nowhere = wanted.nowhere.iter();
    let nowhere = nowhere.filter_map(move |part| {
        let found = text.contains(&**part);
        match found {
            true => Some(format!("{part:?} in {text}")),
            false => None,
        }
    });
    let body = wanted.body.as_deref().filter(|wanted| body != Some(wanted));
    let body = body.map(|wanted| format!("a body that is not {}", shown(wanted)));
    fields
        .chain(present)
        .chain(absent)
        .chain(nowhere)
        .chain(body)
}

/// What every refusal must be: a problem, of this status, and the last answer.
fn refusal(answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    if answer.head.all("content-type") != [b"application/problem+json"] {
        wrong.push("no application/problem+json".to_owned());
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if body["status"] != answer.status {
        wrong.push(format!("the problem is {}", shown(&answer.body)));
    }
    if !answer.head.lists("connection", "close") {
        wrong.push("no `Connection: close`".to_owned());
    }
    wrong
}

/// What no request to an upstream may be, whatever the client sent.
fn forwarded(head: &Head) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in ["keep-alive", "proxy-connection", "te", "trailer"] {
        if !head.all(name).is_empty() {
            wrong.push(format!("the hop-by-hop field {name}"));
        }
    }
    let hosts = head.all("host").len();
    if hosts != 1 {
        wrong.push(format!("{hosts} Host fields"));
    }
    let mut words = head.first.split(' ').skip(1);
    let sound = words.next().is_some_and(|target| target.starts_with('/'))
        && words.next() == Some("HTTP/1.1")
        && words.next().is_none();
    if !sound {
        wrong.push(format!("the request line {:?}", head.first));
    }
    wrong
}
