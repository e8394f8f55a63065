//! A plugin in one file: refuses clients by a word in their `User-Agent`.
//!
//! `cargo run -p tidegate-gateway --example own_plugin -- -c gateway.toml` with
//! `[plugin.no_robots]`, `kind = "refuse_agents"`, `words = ["robot"]`.

use std::process::ExitCode;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_gateway::Gateway;
use tidegate_gateway::plugins::{
    Diagnostic, Flow, Plugin, Problem, Registration, Reply, Request, Setting, http::header,
};

/// What stands in the plugin's table. The comments become its reference.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Words that must not be part of the `User-Agent`.
    words: Vec<String>,
}

/// The compiled state: one value for all requests, so it is prepared once.
struct RefuseAgents {
    words: Vec<String>,
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let words = config.words.iter().map(|word| word.to_lowercase());
    Ok(Arc::new(RefuseAgents {
        words: words.collect(),
    }))
}

impl Plugin for RefuseAgents {
    fn request(&self, request: &mut Request<'_>) -> Flow {
        let agent = request.head.header(&header::USER_AGENT);
        let agent = agent.and_then(|value| value.to_str()).unwrap_or_default();
        let agent = agent.to_lowercase();
        match self.words.iter().any(|word| agent.contains(word)) {
            true => {
                Reply::problem(Problem::new(403, "agent-refused", "Not for this client")).into()
            }
            false => Flow::Continue,
        }
    }
}

fn main() -> ExitCode {
    Gateway::builder()
        .plugin(Registration::new::<Config>("refuse_agents", build))
        .build()
        .command_line()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_gateway::plugins::testing::{Bench, build};

    #[test]
    fn robots_are_refused() {
        let registration = Registration::new::<Config>("refuse_agents", super::build);
        let mut bench = Bench::of(build(&registration, "words = [\"Robot\"]", None).unwrap());
        assert!(bench.send("GET", "/", &[("user-agent", "curl/8")]).is_ok());
        let reply = bench
            .send("GET", "/", &[("user-agent", "a robot")])
            .unwrap_err();
        assert_eq!(reply.status, 403);
    }
}
