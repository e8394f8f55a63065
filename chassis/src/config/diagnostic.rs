//! What is wrong with a configuration, and where: drawn with the line that it points at.

use std::fmt;
use std::io::IsTerminal;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, ThemeCharacters,
    ThemeStyles,
};

use super::redact::Redacted;
use super::source::{Place, Sources};

/// One mistake in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Place,
    /// A few words that stand under the place.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place,
            label: "here".into(),
            help: None,
        }
    }

    /// Replaces the words under the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Suggests the nearest of the names that exist, or lists them.
    #[must_use]
    pub fn suggest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match suggestion(name, &known) {
            Some(help) => self.help(help),
            None => self,
        }
    }
}

/// The name that was probably meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

pub(super) fn suggestion(name: &str, known: &[&str]) -> Option<String> {
    if let Some(near) = nearest(name, known) {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut names = known.to_vec();
    names.sort_unstable();
    match names.len() {
        0 => None,
        1..=16 => Some(format!("known here: {}", names.join(", "))),
        more => Some(format!("none of the {more} known names is near")),
    }
}

/// Every mistake that was found, with the files to draw them from.
#[derive(Debug)]
pub struct Report {
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
    /// How many there are beyond those.
    more: usize,
}

/// So many mistakes or warnings are told at a time: nobody reads more of them, and each is looked up in its file.
const MOST_TOLD: usize = 50;

impl Report {
    pub(super) fn new(sources: Sources, mut diagnostics: Vec<Diagnostic>) -> Self {
        let more = diagnostics.len().saturating_sub(MOST_TOLD);
        diagnostics.truncate(MOST_TOLD);
        Self {
            sources,
            diagnostics,
            more,
        }
    }

    fn rest(&self) -> Option<String> {
        (self.more > 0).then(|| format!("and {} more mistakes", self.more))
    }

    /// The files that were read, to go on watching them after a failed load.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// One line for each mistake, `file:line:column: message`, for logs.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let lines = self.diagnostics.iter().map(|diagnostic| {
            let diagnostic = &Drawing::new(&self.sources, diagnostic).diagnostic;
            let mut line = format!(
                "{}: {}",
                self.sources.locate(diagnostic.place),
                diagnostic.message
            );
            if let Some(help) = &diagnostic.help {
                line = format!("{line} ({help})");
            }
            line
        });
        lines.chain(self.rest())
    }

    /// Draws the mistakes for a person, in colour on a terminal.
    pub fn draw(&self) -> String {
        let styles = match std::io::stderr().is_terminal() {
            true => ThemeStyles::ansi(),
            false => ThemeStyles::none(),
        };
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme {
            characters: ThemeCharacters::unicode(),
            styles,
        })
        .with_width(100);
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            let drawing = Drawing::new(&self.sources, diagnostic);
            if handler.render_report(&mut out, &drawing).is_err() {
                out.push_str(&drawing.diagnostic.message);
            }
            out.push('\n');
        }
        out.extend(self.rest().map(|rest| format!("  {rest}\n")));
        out
    }
}

/// One line for each of these, `file:line:column: message`: what is sound, but probably not meant.
pub(super) fn warnings(sources: &Sources, found: &[Diagnostic]) -> Vec<String> {
    let told = found.iter().take(MOST_TOLD).map(|warning| {
        let place = sources.locate(warning.place);
        format!("{place}: {}", warning.message)
    });
    let more = found.len().saturating_sub(MOST_TOLD);
    let rest = (more > 0).then(|| format!("and {more} more warnings"));
    told.chain(rest).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.draw())
    }
}

impl std::error::Error for Report {}

/// A diagnostic as the drawing crate wants it, without the secrets of its file.
#[derive(Debug)]
struct Drawing {
    diagnostic: Diagnostic,
    source: Option<NamedSource<String>>,
}

impl Drawing {
    fn new(sources: &Sources, diagnostic: &Diagnostic) -> Self {
        let mut diagnostic = diagnostic.clone();
        let file = diagnostic.place.file().and_then(|at| sources.files.get(at));
        let source = file.map(|file| {
            let shown = Redacted::new(&file.text);
            diagnostic.message = shown.message(&diagnostic.message);
            diagnostic.label = shown.message(&diagnostic.label);
            diagnostic.help = diagnostic.help.take().map(|help| shown.message(&help));
            NamedSource::new(file.path.to_string_lossy(), shown.text)
        });
        Self { diagnostic, source }
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Drawing {}

impl miette::Diagnostic for Drawing {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.diagnostic.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Diagnostic { place, label, .. } = &self.diagnostic;
        self.source.as_ref()?;
        let span = LabeledSpan::new(Some(label.clone()), place.start(), place.len());
        Some(Box::new(std::iter::once(span)))
    }
}
