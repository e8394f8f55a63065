//! The sites, and which of them takes another's clients.

use std::collections::BTreeMap;

use chassis::config::{Diagnostic, Located, Place};

use super::config::SiteConfig;
use super::distance::Coordinates;

/// A site by its number: its place in the alphabetic order of names, so that nothing follows from the order
/// in which sites are configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub(super) u16);

impl SiteId {
    /// Its number, from 0, dense.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// A site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Where it is, if that is configured.
    pub coordinates: Option<Coordinates>,
    /// Itself, and then who takes its clients: as configured, then the nearest first, then by name.
    pub order: Vec<SiteId>,
    /// Where its name is written.
    pub(super) place: Place,
}

/// All sites.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sites {
    all: Vec<Site>,
    by_name: BTreeMap<String, SiteId>,
}

/// More make tables of policies large, and nobody has them.
const MOST_SITES: usize = 1000;

impl Sites {
    /// Judges the sites.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(configs: &[SiteConfig]) -> Result<Self, Vec<Diagnostic>> {
        match Self::judge(configs) {
            (sites, mistakes) if mistakes.is_empty() => Ok(sites),
            (_, mistakes) => Err(mistakes),
        }
    }

    /// The sites by their names, whatever else is wrong with them, so that what names them can be judged at the same time;
    /// and every mistake.
    pub(crate) fn judge(configs: &[SiteConfig]) -> (Self, Vec<Diagnostic>) {
        let mut mistakes = Vec::new();
        let mut by_name: BTreeMap<String, &SiteConfig> = BTreeMap::new();
        for config in configs {
            if let Err(mistake) = judge_name(&config.name) {
                mistakes.push(mistake);
            }
            if by_name.insert(config.name.to_string(), config).is_some() {
                let twice = format!("the site `{}` is there twice", *config.name);
                mistakes.push(config.name.wrong(twice));
            }
        }
        if let Some(config) = configs.get(MOST_SITES) {
            mistakes.push(config.name.wrong(format!("at most {MOST_SITES} sites")));
            return (Self::default(), mistakes);
        }
        let numbers = (0u16..).map(SiteId);
        let mut sites = Self {
            all: Vec::new(),
            by_name: by_name.keys().cloned().zip(numbers).collect(),
        };
        for (name, config) in &by_name {
            sites.all.push(Site {
                name: name.clone(),
                coordinates: coordinates(config, &mut mistakes),
                order: Vec::new(),
                place: config.name.place(),
            });
        }
        for config in configs {
            if let Some(own) = sites.id(&config.name) {
                sites.all[own.index()].order = sites.order(own, config, &mut mistakes);
            }
        }
        (sites, mistakes)
    }

    /// The number of a site that a configuration names.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn named(&self, name: &Located<String>) -> Result<SiteId, Diagnostic> {
        self.id(name).ok_or_else(|| {
            name.wrong(format!("there is no site `{}`", **name))
                .suggest(name, self.by_name.keys().map(String::as_str))
        })
    }

    /// The number of a site by its name.
    pub fn id(&self, name: &str) -> Option<SiteId> {
        self.by_name.get(name).copied()
    }

    /// A site by its number.
    pub fn site(&self, id: SiteId) -> &Site {
        &self.all[id.index()]
    }

    /// Every site, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (SiteId, &Site)> {
        (0u16..).map(SiteId).zip(&self.all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The nearest site that has coordinates, and how far it is, in kilometres. The first by name of equals.
    pub fn nearest(&self, from: Coordinates) -> Option<(SiteId, f64)> {
        self.iter()
            .filter_map(|(id, site)| Some((id, site.coordinates?.distance(from))))
            .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)))
    }

    fn order(
        &self,
        own: SiteId,
        config: &SiteConfig,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Vec<SiteId> {
        let mut order = vec![own];
        for name in &config.failover {
            match self.named(name) {
                Ok(other) if order.contains(&other) => {
                    mistakes.push(name.wrong(format!("`{}` is there already", **name)));
                }
                Ok(other) => order.push(other),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let here = self.site(own).coordinates;
        let distance = |site: &Site| Some(here?.distance(site.coordinates?));
        let mut rest: Vec<(f64, SiteId)> = self
            .iter()
            .filter(|(id, _)| !order.contains(id))
            .map(|(id, site)| (distance(site).unwrap_or(f64::INFINITY), id))
            .collect();
        rest.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        order.extend(rest.into_iter().map(|(_, id)| id));
        order
    }
}

fn judge_name(name: &Located<String>) -> Result<(), Diagnostic> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 63 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(name
            .wrong("not a name for a site")
            .help("letters, digits, `-`, `_` and `.`, at most 63")),
    }
}

fn coordinates(config: &SiteConfig, mistakes: &mut Vec<Diagnostic>) -> Option<Coordinates> {
    let (latitude, longitude) = (&config.latitude, &config.longitude);
    if let (Some(one), None) | (None, Some(one)) = (latitude, longitude) {
        mistakes.push(one.wrong("a place needs both `latitude` and `longitude`"));
    }
    let mut within = |value: &Option<Located<f64>>, limit: f64| {
        let value = value.as_ref()?;
        if !(-limit..=limit).contains(&**value) {
            mistakes.push(value.wrong(format!("must be from -{limit} to {limit}")));
            return None;
        }
        Some(**value)
    };
    let (latitude, longitude) = (within(latitude, 90.0), within(longitude, 180.0));
    Some(Coordinates {
        latitude: latitude?,
        longitude: longitude?,
    })
}
