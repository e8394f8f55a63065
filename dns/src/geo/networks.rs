//! Networks that the operator maps to sites, inline and in files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use chassis::config::{Diagnostic, Located, Place, Sources};
use ipnet::IpNet;

use super::layer::{Layer, Network};
use super::sites::{SiteId, Sites};

/// Networks of both families.
#[derive(Debug, Default)]
pub(super) struct Networks {
    all: BTreeMap<IpNet, (SiteId, Place)>,
}

/// Larger files are a mistake, or want a database.
const LARGEST_FILE: u64 = 64 << 20;
/// When a file is of another kind altogether, the first mistakes say so.
const MOST_MISTAKES: usize = 20;

impl Networks {
    /// Takes a network that was written at `place`.
    ///
    /// # Errors
    /// When it is not a network, or is there already with another site.
    pub(super) fn add(
        &mut self,
        network: &str,
        site: SiteId,
        place: Place,
        sources: &Sources,
    ) -> Result<(), Diagnostic> {
        let network = parse(network).map_err(|(message, help)| {
            let mistake = Diagnostic::new(place, message);
            match help {
                Some(help) => mistake.help(help),
                None => mistake,
            }
        })?;
        let (other, first) = *self.all.entry(network).or_insert((site, place));
        if other == site {
            return Ok(());
        }
        let message = format!("the network {network} has another site already");
        let help = format!("it is first mapped at {}", sources.locate(first));
        Err(Diagnostic::new(place, message).help(help))
    }

    /// Takes what stands in a file: a network and a site in each line, comments after `#`.
    ///
    /// # Errors
    /// The mistakes, with their places; the first of them when there are many.
    pub(super) fn read(
        &mut self,
        path: &Path,
        named: Place,
        sites: &Sites,
        sources: &mut Sources,
    ) -> Result<(), Vec<Diagnostic>> {
        let failed = |why: String| {
            let message = format!("cannot read {}: {why}", path.display());
            vec![Diagnostic::new(named, message)]
        };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        if size.len() > LARGEST_FILE {
            return Err(failed(format!("more than {} MiB", LARGEST_FILE >> 20)));
        }
        let text = chassis::files::read_text(path).map_err(|error| failed(error.to_string()))?;
        let file = sources.add(path.to_owned(), &text);
        let mut mistakes = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let place = |word: &str| {
                let at = start + (word.as_ptr() as usize - line.as_ptr() as usize);
                Place::new(file, at..at + word.len())
            };
            let written = line.split('#').next().unwrap_or_default();
            if let Err(mistake) = self.line(written, &place, sites, sources) {
                mistakes.push(mistake);
                if mistakes.len() == MOST_MISTAKES {
                    break;
                }
            }
            start += line.len();
        }
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(mistakes),
        }
    }

    fn line(
        &mut self,
        line: &str,
        place: &dyn Fn(&str) -> Place,
        sites: &Sites,
        sources: &Sources,
    ) -> Result<(), Diagnostic> {
        let mut words = line.split_whitespace();
        let Some(network) = words.next() else {
            return Ok(());
        };
        let site = words.next().ok_or_else(|| {
            Diagnostic::new(place(network), "a network without a site")
                .help("write `192.0.2.0/24 fra`")
        })?;
        if let Some(more) = words.next() {
            return Err(Diagnostic::new(
                place(more),
                "more than a network and a site",
            ));
        }
        let id = sites.named(&Located::at(site.to_owned(), place(site)))?;
        self.add(network, id, place(network), sources)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The longest network around an address, its site and where that is written.
    pub(super) fn around(&self, address: IpAddr) -> Option<(IpNet, SiteId, Place)> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (0..=longest).rev().find_map(|bits| {
            let network = IpNet::new(address, bits).ok()?.trunc();
            let (site, place) = self.all.get(&network)?;
            Some((network, *site, *place))
        })
    }

    /// What they say of each family.
    pub(super) fn layers(&self) -> (Layer<u32>, Layer<u128>) {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for (network, (site, _)) in &self.all {
            match network {
                IpNet::V4(network) => four.push((
                    Network {
                        first: network.network().to_bits(),
                        bits: network.prefix_len(),
                    },
                    *site,
                )),
                IpNet::V6(network) => six.push((
                    Network {
                        first: network.network().to_bits(),
                        bits: network.prefix_len(),
                    },
                    *site,
                )),
            }
        }
        (Layer::of_networks(four), Layer::of_networks(six))
    }
}

/// A network, or an address that stands for the network of itself.
fn parse(text: &str) -> Result<IpNet, (String, Option<String>)> {
    let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            let help = "write \"192.0.2.0/24\" or \"2001:db8::/32\"";
            return Err((format!("`{text}` is not a network"), Some(help.into())));
        }
    };
    match network.trunc() == network {
        true => Ok(network),
        false => Err((
            format!("`{text}` has bits beyond its length"),
            Some(format!("did you mean `{}`?", network.trunc())),
        )),
    }
}
