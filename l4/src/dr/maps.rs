//! The program's maps: what it reads, written; what it counts, read.

use std::path::Path;

use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};

use super::DrError;
use super::layout::{CounterBytes, EVENTS, EndpointBytes, Key, KeyBytes, Mac, ServiceValue, Slots};
use super::plan::{Book, Change};

/// The program as clang has built it.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/forward.bpf.o"));

/// The maps, open.
pub(super) struct Maps {
    services: HashMap<MapData, KeyBytes, [u8; 8]>,
    tables: ArrayOfMaps<MapData, Array<MapData, Slots>>,
    endpoints: Array<MapData, EndpointBytes>,
    counted: PerCpuArray<MapData, CounterBytes>,
    events: PerCpuArray<MapData, u64>,
    interfaces: HashMap<MapData, u32, [u8; 8]>,
}

/// What an endpoint got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were sent to it.
    pub packets: u64,
    /// Their bytes, with the headers of Ethernet.
    pub bytes: u64,
    /// Flows that were led to it, new ones and those of others that went.
    pub flows: u64,
}

/// Loads the program with maps that are kept in this folder, or are there already.
///
/// # Errors
/// When the kernel does not take it.
pub(super) fn load(folder: &Path, flows: u32) -> Result<(Ebpf, Maps), DrError> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("flows", flows)
        .default_map_pin_directory(folder)
        .load(PROGRAM)
        .map_err(|error| DrError::Load(chain(&error)))?;
    let mut map = |name: &str| ebpf.take_map(name).expect("the program has this map");
    let maps = Maps {
        services: map("services").try_into()?,
        tables: map("tables").try_into()?,
        endpoints: map("endpoints").try_into()?,
        counted: map("counted").try_into()?,
        events: map("events").try_into()?,
        interfaces: map("interfaces").try_into()?,
    };
    Ok((ebpf, maps))
}

/// An error with what it comes from, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Maps {
    /// What the maps say, whoever has written it.
    pub(super) fn book(&self) -> Result<Book, MapError> {
        let mut services = Vec::new();
        for entry in self.services.iter() {
            let (key, value) = entry?;
            if let Some(key) = Key::parse(&key) {
                services.push((key, ServiceValue::parse(&value)));
            }
        }
        let mut endpoints = Vec::new();
        for (number, value) in (0..).zip(self.endpoints.iter()) {
            endpoints.push((number, value?));
        }
        Ok(Book::read(services, endpoints))
    }

    /// Makes a change.
    pub(super) fn make(&mut self, change: Change) -> Result<(), MapError> {
        match change {
            Change::Endpoint {
                number,
                value,
                anew,
            } => {
                if anew {
                    self.begin_counting(number)?;
                }
                self.endpoints.set(number, value, 0)
            }
            Change::Table { table, slots } => {
                let mut inner = Array::<MapData, Slots>::create(1, 0)?;
                let slots: &Slots = &slots;
                inner.set(0, slots, 0)?;
                // The kernel waits here until no packet uses the old one.
                self.tables.set(table, &inner, 0)
            }
            Change::Service { key, value } => self.services.insert(key.bytes(), value.bytes(), 0),
            Change::NoService { key } => self.services.remove(&key.bytes()),
        }
    }

    fn begin_counting(&mut self, number: u32) -> Result<(), MapError> {
        let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
        let zero = PerCpuValues::try_from(vec![[0; 3]; cpus]).map_err(MapError::IoError)?;
        self.counted.set(number, zero, 0)
    }

    /// Frames to this address on this interface are ours.
    pub(super) fn set_interface(&mut self, ifindex: u32, mac: Mac) -> Result<(), MapError> {
        let mut value = [0; 8];
        value[..6].copy_from_slice(&mac);
        self.interfaces.insert(ifindex, value, 0)
    }

    /// Forgets all other interfaces.
    pub(super) fn keep_interfaces(&mut self, interfaces: &[u32]) -> Result<(), MapError> {
        let known: Result<Vec<u32>, _> = self.interfaces.keys().collect();
        for gone in known?.iter().filter(|known| !interfaces.contains(known)) {
            self.interfaces.remove(gone)?;
        }
        Ok(())
    }

    /// What an endpoint got, by its number.
    pub(super) fn counters(&self, number: u32) -> Result<Counters, MapError> {
        let values = self.counted.get(&number, 0)?;
        let mut sum = Counters::default();
        for [packets, bytes, flows] in values.iter() {
            sum.packets += packets;
            sum.bytes += bytes;
            sum.flows += flows;
        }
        Ok(sum)
    }

    /// What else was counted, in the order of [`EVENTS`].
    pub(super) fn events(&self) -> Result<[u64; EVENTS.len()], MapError> {
        let mut sums = [0; EVENTS.len()];
        for (at, sum) in (0..).zip(&mut sums) {
            *sum = self.events.get(&at, 0)?.iter().sum();
        }
        Ok(sums)
    }
}
