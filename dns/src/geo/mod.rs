//! Where clients are: an address to a site.
//!
//! ```text
//! networks (inline, files)   the longest prefix      \
//! databases, in order        rules, then the nearest  } layers, one over the next --> one table a family
//! the default                                        /
//! ```
//!
//! All is compiled when a configuration is read. [`Geo::find`] looks an address up without allocating, and says the
//! prefix length that the answer holds for: the scope of EDNS Client Subnet (RFC 7871). This module
//! must not know which sites are well.

mod config;
mod database;
mod distance;
mod layer;
mod networks;
mod sites;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use chassis::config::{Diagnostic, Place, Sources};

pub use self::config::{DatabaseConfig, GeoConfig, RuleConfig, SiteConfig};
pub use self::distance::Coordinates;
pub use self::sites::{Site, SiteId, Sites};

use self::database::Database;
use self::layer::Layer;
use self::networks::Networks;
use self::table::Table;

/// The compiled map of clients to sites.
#[derive(Debug)]
pub struct Geo {
    four: Table<u32>,
    six: Table<u128>,
    default: SiteId,
    networks: Networks,
    databases: Vec<Database>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its site.
    pub site: SiteId,
    /// The length of the shortest prefix of the address in which every address has this site.
    pub scope: u8,
}

impl Geo {
    /// Judges the map, and reads the files that it names, which are added to `sources`: so they are watched.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(
        config: &GeoConfig,
        sites: &Sites,
        sources: &mut Sources,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let default = default_site(config, sites).map_err(|mistake| mistakes.push(mistake));
        let networks = networks(config, sites, sources, &mut mistakes);
        let mut databases = Vec::new();
        let mut layers = vec![networks.layers()];
        for config in &config.database {
            // Without its text, which nothing points into: it is watched also while it is absent or broken.
            let path = sources.resolve(&config.file, config.file.place());
            sources.add(path, "");
            match Database::compile(config, sites, sources) {
                Err(found) => mistakes.extend(found),
                Ok(database) => {
                    let read = database.layers(sites);
                    layers.extend(read.map_err(|mistake| mistakes.push(mistake)));
                    databases.push(database);
                }
            }
        }
        let Ok(default) = default else {
            return Err(mistakes);
        };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let nothing = (Layer::uniform(None), Layer::uniform(None));
        let merged = layers.iter().fold(nothing, |(four, six), below| {
            (four.over(&below.0), six.over(&below.1))
        });
        Ok(Self {
            four: Table::new(&merged.0, default),
            six: Table::new(&merged.1, default),
            default,
            networks,
            databases,
        })
    }

    /// The site of an address, and the prefix length that it holds for.
    pub fn find(&self, address: IpAddr) -> Found {
        let (site, scope) = match address.to_canonical() {
            IpAddr::V4(address) => self.four.find(address.to_bits()),
            IpAddr::V6(address) => self.six.find(address.to_bits()),
        };
        Found { site, scope }
    }

    /// The site of an address.
    pub fn site(&self, address: IpAddr) -> SiteId {
        match address.to_canonical() {
            IpAddr::V4(address) => self.four.site(address.to_bits()),
            IpAddr::V6(address) => self.six.site(address.to_bits()),
        }
    }

    /// How the site of an address is found, a line for each step. Databases are read anew for that.
    ///
    /// # Errors
    /// When a database cannot be read.
    pub fn explain(
        &self,
        address: IpAddr,
        sites: &Sites,
        sources: &Sources,
    ) -> Result<Vec<String>, Diagnostic> {
        let address = address.to_canonical();
        let mut steps = Vec::new();
        let mut decided = None;
        match self.networks.around(address) {
            Some((network, site, place)) => {
                let (name, at) = (&sites.site(site).name, sources.locate(place));
                steps.push(format!("network {network} is mapped to {name} at {at}"));
                decided = Some(site);
            }
            None => steps.push(format!("none of {} networks holds it", self.networks.len())),
        }
        for database in &self.databases {
            if decided.is_none() {
                let (site, why) = database.explain(address, sites)?;
                steps.push(why);
                decided = site;
            }
        }
        if decided.is_none() {
            steps.push(format!("the default is {}", sites.site(self.default).name));
        }
        let Found { site, scope } = self.find(address);
        if decided.unwrap_or(self.default) != site {
            steps.push("the table is older than the files: reload".into());
        }
        let name = &sites.site(site).name;
        steps.push(format!("site {name}; the same for all of its /{scope}"));
        Ok(steps)
    }

    /// Ranges of the IPv4 and the IPv6 table.
    pub fn ranges(&self) -> (usize, usize) {
        (self.four.len(), self.six.len())
    }

    /// Bytes of both tables in memory.
    pub fn bytes(&self) -> usize {
        self.four.bytes() + self.six.bytes()
    }
}

fn networks(
    config: &GeoConfig,
    sites: &Sites,
    sources: &mut Sources,
    mistakes: &mut Vec<Diagnostic>,
) -> Networks {
    let mut networks = Networks::default();
    for (network, site) in &config.networks {
        let added = sites
            .named(site)
            .and_then(|site| networks.add(network, site, network.place(), sources));
        mistakes.extend(added.err());
    }
    for file in &config.files {
        let path = sources.resolve(file, file.place());
        let read = networks.read(&path, file.place(), sites, sources);
        mistakes.extend(read.err().into_iter().flatten());
    }
    networks
}

fn default_site(config: &GeoConfig, sites: &Sites) -> Result<SiteId, Diagnostic> {
    if let Some(default) = &config.default {
        return sites.named(default);
    }
    let mut all = sites.iter();
    match (all.next(), all.next()) {
        (Some((only, _)), None) => Ok(only),
        (None, _) => Err(Diagnostic::new(Place::default(), "there is no site")
            .help("add a `[[site]]` with a `name`")),
        (_, Some((_, another))) => Err(Diagnostic::new(
            another.place,
            "several sites, and no `default` of `geo` for clients that nothing maps",
        )
        .suggest("", sites.iter().map(|(_, site)| site.name.as_str()))),
    }
}
