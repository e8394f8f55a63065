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
            return Err(mistakes);
        }
        let numbers = (0u16..).map(SiteId);
        let mut sites = Self {
            all: Vec::new(),
            by_name: by_name.keys().cloned().zip(numbers).collect(),
        };
        for (name, config) in &by_name {
            match coordinates(config) {
                Ok(coordinates) => sites.all.push(Site {
                    name: name.clone(),
                    coordinates,
                    order: Vec::new(),
                    place: config.name.place(),
                }),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        for config in configs {
            match sites.order(config) {
                Ok((site, order)) => sites.all[site.index()].order = order,
                Err(mistake) => mistakes.push(mistake),
            }
        }
        match mistakes.is_empty() {
            true => Ok(sites),
            false => Err(mistakes),
        }
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

    fn order(&self, config: &SiteConfig) -> Result<(SiteId, Vec<SiteId>), Diagnostic> {
        let own = self.named(&config.name)?;
        let mut order = vec![own];
        for name in &config.failover {
            let other = self.named(name)?;
            if order.contains(&other) {
                return Err(name.wrong(format!("`{}` is there already", **name)));
            }
            order.push(other);
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
        Ok((own, order))
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

fn coordinates(config: &SiteConfig) -> Result<Option<Coordinates>, Diagnostic> {
    let (latitude, longitude) = match (&config.latitude, &config.longitude) {
        (None, None) => return Ok(None),
        (Some(latitude), Some(longitude)) => (latitude, longitude),
        (Some(one), None) | (None, Some(one)) => {
            return Err(one.wrong("a place needs both `latitude` and `longitude`"));
        }
    };
    for (value, limit) in [(latitude, 90.0), (longitude, 180.0)] {
        if !(-limit..=limit).contains(&**value) {
            return Err(value.wrong(format!("must be from -{limit} to {limit}")));
        }
    }
    Ok(Some(Coordinates {
        latitude: **latitude,
        longitude: **longitude,
    }))
}
