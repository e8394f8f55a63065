//! Databases in MaxMind's format: records to sites, by rules and by distance.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use chassis::config::{Diagnostic, Located, Sources};
use chassis::files;
use ipnet::{Ipv4Net, Ipv6Net};
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::config::{DatabaseConfig, RuleConfig};
use super::distance::Coordinates;
use super::layer::{Address, Builder, Layer, Network};
use super::sites::{SiteId, Sites};

/// A database and its rules, judged.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    file: Located<PathBuf>,
    rules: Vec<Rule>,
    nearest: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    continents: Vec<String>,
    countries: Vec<String>,
    subdivisions: Vec<String>,
    systems: Vec<u32>,
    site: SiteId,
}

/// The largest file that is read: a database of cities with everything is 120 MB.
const LARGEST_FILE: u64 = 1 << 30;
/// Networks of a database, at most. A tree whose branches meet again could have more than the universe has atoms.
const MOST_NETWORKS: usize = 64 << 20;
/// Ranges of a layer, at most: 16 Mi are 512 MiB while a table is made.
const MOST_RANGES: usize = 16 << 20;

/// What rules can ask of a record.
#[derive(Debug, Default, Deserialize)]
struct Record<'a> {
    #[serde(borrow, default)]
    continent: Coded<'a>,
    #[serde(borrow, default)]
    country: Coded<'a>,
    #[serde(borrow, default)]
    registered_country: Coded<'a>,
    #[serde(borrow, default)]
    subdivisions: Vec<Coded<'a>>,
    #[serde(default)]
    location: Location,
    #[serde(default)]
    autonomous_system_number: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
struct Coded<'a> {
    #[serde(default, alias = "iso_code")]
    code: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
struct Location {
    #[serde(default)]
    latitude: Option<f64>,
    #[serde(default)]
    longitude: Option<f64>,
}

impl Record<'_> {
    fn country(&self) -> Option<&str> {
        self.country.code.or(self.registered_country.code)
    }

    fn coordinates(&self) -> Option<Coordinates> {
        Some(Coordinates {
            latitude: self.location.latitude?,
            longitude: self.location.longitude?,
        })
    }
}

impl Rule {
    fn matches(&self, record: &Record<'_>) -> bool {
        fn any(wanted: &[String], found: Option<&str>) -> bool {
            wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|one| one == found))
        }
        let subdivision = || {
            let country = record.country().unwrap_or_default();
            let codes = record.subdivisions.iter().filter_map(|one| one.code);
            let mut names = codes.map(|code| format!("{country}-{code}"));
            names.any(|name| self.subdivisions.contains(&name))
        };
        let system = || record.autonomous_system_number;
        any(&self.continents, record.continent.code)
            && any(&self.countries, record.country())
            && (self.subdivisions.is_empty() || subdivision())
            && (self.systems.is_empty() || system().is_some_and(|one| self.systems.contains(&one)))
    }
}

impl Database {
    /// Judges what is configured, without reading the file.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub(super) fn compile(
        config: &DatabaseConfig,
        sites: &Sites,
        sources: &Sources,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let mut rules = Vec::new();
        for rule in &config.rule {
            match compile_rule(rule, sites) {
                Ok(rule) => rules.push(rule),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let placed = || sites.iter().any(|(_, site)| site.coordinates.is_some());
        if *config.nearest && !placed() {
            let wrong = config.nearest.wrong("no site has coordinates");
            mistakes.push(wrong.help("add `latitude` and `longitude` to the sites"));
        }
        if config.rule.is_empty() && !*config.nearest {
            let wrong = config.file.wrong("nothing follows from this database");
            mistakes.push(wrong.help("add a `[[geo.database.rule]]`, or `nearest = true`"));
        }
        match mistakes.is_empty() {
            true => Ok(Self {
                path: sources.resolve(&config.file, config.file.place()),
                file: config.file.clone(),
                rules,
                nearest: *config.nearest,
            }),
            false => Err(mistakes),
        }
    }

    /// Reads the file and maps all of it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn layers(&self, sites: &Sites) -> Result<(Layer<u32>, Layer<u128>), Diagnostic> {
        let reader = self.open()?;
        let broken = |error| self.broken(&error);
        let mut pass = Pass {
            database: self,
            sites,
            known: FxHashMap::default(),
            networks: 0,
        };
        let four = pass.four(&reader).map_err(broken)?;
        let six = match reader.metadata().ip_version {
            6 => pass.six(&reader).map_err(broken)?,
            _ => Layer::uniform(None),
        };
        Ok((four, six))
    }

    /// What the file says now of an address, in words, and the site that follows.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn explain(
        &self,
        address: IpAddr,
        sites: &Sites,
    ) -> Result<(Option<SiteId>, String), Diagnostic> {
        let reader = self.open()?;
        let broken = |error| self.broken(&error);
        let found = reader.lookup(address).map_err(broken)?;
        let name = self.path.display();
        let Some(record) = found.decode::<Record<'_>>().map_err(broken)? else {
            return Ok((None, format!("{name} has no record of it")));
        };
        let network = found.network().map_err(broken)?;
        let (site, why) = self.decide(&record, sites);
        Ok((site, format!("{name}: {network} {}: {why}", told(&record))))
    }

    fn open(&self) -> Result<Reader<Vec<u8>>, Diagnostic> {
        // Read, not mapped: the file is read once, and one that is cut short meanwhile would end the process.
        let size = std::fs::metadata(&self.path).map_err(|error| self.broken(&error.into()))?;
        if size.len() > LARGEST_FILE {
            let limit = format!("{} is larger than 1 GiB", self.path.display());
            return Err(self.file.wrong(limit));
        }
        let bytes = files::read(&self.path).map_err(|error| self.broken(&error.into()))?;
        Reader::from_source(bytes).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &MaxMindDbError) -> Diagnostic {
        let message = format!("cannot read {}: {error}", self.path.display());
        self.file.wrong(message)
    }

    fn decide(&self, record: &Record<'_>, sites: &Sites) -> (Option<SiteId>, String) {
        if let Some(at) = self.rules.iter().position(|rule| rule.matches(record)) {
            return (Some(self.rules[at].site), format!("rule {}", at + 1));
        }
        let place = record.coordinates().filter(|_| self.nearest);
        match place.and_then(|place| sites.nearest(place)) {
            Some((site, distance)) => (Some(site), format!("nearest, at {distance:.0} km")),
            None => (None, "no rule matches".into()),
        }
    }
}

/// One walk over a database. Records are judged once, however many networks have them.
struct Pass<'a> {
    database: &'a Database,
    sites: &'a Sites,
    known: FxHashMap<usize, Option<SiteId>>,
    networks: usize,
}

impl Pass<'_> {
    fn four(&mut self, reader: &Reader<Vec<u8>>) -> Result<Layer<u32>, MaxMindDbError> {
        let all = Ipv4Net::default();
        let all = (IpAddr::V4(all.addr()), all.prefix_len());
        self.walk(reader, all, |address, bits| match address {
            IpAddr::V4(address) => Some((address.to_bits(), bits)),
            // A record above all of IPv4 in a database of IPv6.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some((0, 0)),
            IpAddr::V6(_) => None,
        })
    }

    fn six(&mut self, reader: &Reader<Vec<u8>>) -> Result<Layer<u128>, MaxMindDbError> {
        let all = Ipv6Net::default();
        let all = (IpAddr::V6(all.addr()), all.prefix_len());
        // IPv4 addresses stand below ::/96 there: nobody has those in IPv6.
        self.walk(reader, all, |address, bits| match address {
            IpAddr::V6(address) => Some((address.to_bits(), bits)),
            IpAddr::V4(_) => None,
        })
    }

    fn walk<A: Address>(
        &mut self,
        reader: &Reader<Vec<u8>>,
        all: (IpAddr, u8),
        network: impl Fn(IpAddr, u8) -> Option<(A, u8)>,
    ) -> Result<Layer<A>, MaxMindDbError> {
        let all = format!("{}/{}", all.0, all.1).parse();
        let all = all.map_err(MaxMindDbError::InvalidNetwork)?;
        let mut builder = Builder::new();
        for found in reader.within(all, WithinOptions::default())? {
            let found = found?;
            self.networks += 1;
            if self.networks > MOST_NETWORKS || builder.len() > MOST_RANGES {
                return Err(MaxMindDbError::invalid_database("too many networks"));
            }
            let site = self.judge(&found)?;
            let at = found.network()?;
            if let Some((first, bits)) = network(at.network(), at.prefix()) {
                builder.network(Network { first, bits }, site);
            }
        }
        Ok(builder.finish())
    }

    fn judge(
        &mut self,
        found: &LookupResult<'_, Vec<u8>>,
    ) -> Result<Option<SiteId>, MaxMindDbError> {
        let Some(offset) = found.offset() else {
            return Ok(None);
        };
        if let Some(known) = self.known.get(&offset) {
            return Ok(*known);
        }
        let record: Record<'_> = found.decode()?.unwrap_or_default();
        let (site, _) = self.database.decide(&record, self.sites);
        self.known.insert(offset, site);
        Ok(site)
    }
}

fn told(record: &Record<'_>) -> String {
    let mut parts: BTreeMap<&str, String> = BTreeMap::new();
    let mut tell = |name, value: Option<String>| value.map(|value| parts.insert(name, value));
    tell("continent", record.continent.code.map(str::to_owned));
    tell("country", record.country().map(str::to_owned));
    let first = record.subdivisions.first();
    tell(
        "subdivision",
        first.and_then(|one| one.code).map(str::to_owned),
    );
    tell(
        "asn",
        record.autonomous_system_number.map(|asn| asn.to_string()),
    );
    let place = record.coordinates();
    tell(
        "place",
        place.map(|at| format!("{:.2},{:.2}", at.latitude, at.longitude)),
    );
    let parts = parts.iter().map(|(name, value)| format!("{name} {value}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn compile_rule(config: &RuleConfig, sites: &Sites) -> Result<Rule, Diagnostic> {
    const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];
    let upper = |text: &str| text.chars().all(|c| c.is_ascii_uppercase());
    let mut conditions = config.asn.len();
    let texts = |list: &[Located<String>], right: &dyn Fn(&str) -> bool, help: &str| {
        let wrong = list.iter().find(|one| !right(one));
        match wrong {
            Some(one) => Err(one.wrong(format!("not {help}"))),
            None => Ok(list.iter().map(|one| one.to_string()).collect::<Vec<_>>()),
        }
    };
    let continents = texts(
        &config.continent,
        &|one| CONTINENTS.contains(&one),
        "a continent: AF, AN, AS, EU, NA, OC or SA",
    )?;
    let countries = texts(
        &config.country,
        &|one| one.len() == 2 && upper(one),
        "a country by ISO 3166-1, such as DE",
    )?;
    let subdivision = |one: &str| {
        one.split_once('-').is_some_and(|(country, code)| {
            country.len() == 2 && upper(country) && (1..=3).contains(&code.len())
        })
    };
    let subdivisions = texts(
        &config.subdivision,
        &subdivision,
        "a subdivision by ISO 3166-2, such as US-CA",
    )?;
    conditions += continents.len() + countries.len() + subdivisions.len();
    if conditions == 0 {
        let wrong = config.site.wrong("a rule without a condition");
        return Err(wrong.help("add `continent`, `country`, `subdivision` or `asn`"));
    }
    Ok(Rule {
        continents,
        countries,
        subdivisions,
        systems: config.asn.iter().map(|asn| **asn).collect(),
        site: sites.named(&config.site)?,
    })
}
