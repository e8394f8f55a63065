//! `access_log`: a line for every request, written off the hot path.

mod format;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use chassis::config::{Diagnostic, Located};
use chassis::telemetry::{LineLog, LineTarget};
use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, Opts, proto};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::format::Fields;
use crate::plugin::{Finished, Plugin};
use crate::registry::{Registration, Setting};

pub(crate) const REGISTRATION: Registration =
    Registration::new::<Config>("access_log", build).metrics(metrics);

/// Writes a line for every request. Lines are dropped, and counted, rather than
/// holding up a request when the disk does not keep up.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// A file to append to; standard output when it is not set. SIGHUP opens it anew.
    file: Option<Located<PathBuf>>,
    /// How a line looks.
    format: Format,
    /// Whether to log the query, which may hold secrets.
    query: bool,
    /// Whether JSON lines have `tls_version`, `tls_cipher` and `tls_name` (SNI) of connections
    /// with TLS.
    tls: bool,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// The combined format of nginx and Apache.
    Combined,
}

struct AccessLog {
    log: Option<Arc<LineLog>>,
    target: LineTarget,
    format: Format,
    fields: Fields,
}

fn build(setting: &Setting<'_>) -> Result<Arc<dyn Plugin>, Diagnostic> {
    let config: Config = setting.config()?;
    let target = match &config.file {
        Some(file) => LineTarget::File(setting.path(file)),
        None => LineTarget::Stdout,
    };
    let previous = setting
        .previous::<AccessLog>()
        .filter(|old| old.target == target);
    let log = match (previous.and_then(|old| old.log.clone()), setting.runtime) {
        (Some(log), _) => {
            log.reopen();
            Some(log)
        }
        (None, None) => None,
        (None, Some(_)) => Some(open(setting, &config, &target)?),
    };
    Ok(Arc::new(AccessLog {
        log,
        target,
        format: config.format,
        fields: Fields {
            query: config.query,
            tls: config.tls,
        },
    }))
}

fn open(
    setting: &Setting<'_>,
    config: &Config,
    target: &LineTarget,
) -> Result<Arc<LineLog>, Diagnostic> {
    let log = LineLog::open(target.clone()).map_err(|error| {
        let place = config
            .file
            .as_ref()
            .map_or(setting.table.place(), Located::place);
        Diagnostic::new(place, format!("cannot open the access log: {error}"))
    })?;
    Dropped::of(setting.name, &log);
    Ok(log)
}

impl Plugin for AccessLog {
    fn finished(&self, finished: &Finished<'_>) {
        let Some(log) = &self.log else { return };
        let now = finished.exchange.started_at + finished.duration;
        log.line(|out| match self.format {
            Format::Json => format::json(out, finished, now, self.fields),
            Format::Combined => format::combined(out, finished, now, self.fields.query),
        });
    }
}

/// Tells, when scraped, how many lines each log dropped.
#[derive(Clone)]
struct Dropped(IntCounterVec);

type Logs = std::sync::Mutex<Vec<(String, std::sync::Weak<LineLog>, u64)>>;

static LOGS: LazyLock<Logs> = LazyLock::new(Logs::default);

static DROPPED: LazyLock<Dropped> = LazyLock::new(|| {
    let opts = Opts::new(
        "tidegate_access_log_dropped_total",
        "Lines dropped because the disk did not keep up",
    );
    Dropped(IntCounterVec::new(opts, &["plugin"]).expect("name and label are valid"))
});

impl Dropped {
    fn of(name: &str, log: &Arc<LineLog>) {
        DROPPED.0.with_label_values(&[name]);
        let mut logs = LOGS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        logs.retain(|(_, log, _)| log.strong_count() > 0);
        logs.push((name.into(), Arc::downgrade(log), 0));
    }
}

impl Collector for Dropped {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut logs = LOGS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (name, log, counted) in logs.iter_mut() {
            let dropped = log.upgrade().map_or(*counted, |log| log.dropped());
            self.0
                .with_label_values(&[name.as_str()])
                .inc_by(dropped - *counted);
            *counted = dropped;
        }
        self.0.collect()
    }
}

fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(DROPPED.clone())]
}
