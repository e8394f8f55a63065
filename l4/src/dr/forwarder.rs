//! The program, its maps and its places, in one hand.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use aya::Ebpf;

use crate::forward::Service;

use super::layout::{self, EVENTS, Key, Mac, Way};
use super::maps::{self, Counters, Maps};
use super::neighbours::Interface;
use super::pins::Pins;
use super::plan::{self, Book};
use super::{DrError, DrOptions, program};

/// One process has it at a time.
pub(super) struct Forwarder {
    options: Arc<DrOptions>,
    pins: Pins,
    ebpf: Ebpf,
    maps: Maps,
    book: Book,
    /// By index: the name, the address for frames to us, and whether the program is native.
    attached: BTreeMap<u32, (String, Mac, bool)>,
    /// Whether everything of an earlier process that is not ours has been put away.
    tidy: bool,
}

impl Forwarder {
    /// Takes over what an earlier process has left, or begins anew. Packets go as before until [`apply`](Self::apply).
    ///
    /// # Errors
    /// When the kernel does not take the program, or another process has the maps.
    pub(super) fn open(options: Arc<DrOptions>) -> Result<Self, DrError> {
        let pins = Pins::take(&options.pins)?;
        let folder = pins.maps(&layout::name(options.flows))?;
        let (mut ebpf, maps) = maps::load(&folder, options.flows)?;
        program::load(&mut ebpf)?;
        let book = maps.book()?;
        Ok(Self {
            options,
            pins,
            ebpf,
            maps,
            book,
            attached: BTreeMap::new(),
            tidy: false,
        })
    }

    /// Makes the kernel forward what is wanted. Cheap when nothing has changed.
    ///
    /// # Errors
    /// What the kernel refuses. What could be done is done.
    pub(super) fn apply(
        &mut self,
        wanted: &[Service],
        interfaces: &[Interface],
        ways: &HashMap<IpAddr, Way>,
    ) -> Result<(), DrError> {
        let changes = self.book.change(wanted, ways);
        let changes = changes.map_err(|full| DrError::Full(full.to_string()));
        let made = changes.and_then(|changes| {
            for change in changes {
                self.maps.make(change)?;
            }
            Ok(())
        });
        if made.is_err() {
            self.book = self.maps.book()?;
        }
        made?;
        self.attach(interfaces)
    }

    /// Puts the program on every interface that is configured and there.
    fn attach(&mut self, interfaces: &[Interface]) -> Result<(), DrError> {
        let ours = |interface: &&Interface| self.options.interfaces.contains(&interface.name);
        let ours: Vec<&Interface> = interfaces.iter().filter(ours).collect();
        let indices: Vec<u32> = ours.iter().map(|interface| interface.ifindex).collect();
        let known = self.attached.len();
        self.attached.retain(|ifindex, _| indices.contains(ifindex));
        if !self.tidy || self.attached.len() < known {
            self.maps.keep_interfaces(&indices)?;
        }
        // One that refuses does not keep the others from theirs.
        let outcomes: Vec<_> = ours.into_iter().map(|one| self.settle(one)).collect();
        if !self.tidy {
            self.tidy(&indices);
        }
        outcomes.into_iter().collect()
    }

    /// Lets an interface be as it is to be.
    fn settle(&mut self, interface: &Interface) -> Result<(), DrError> {
        let attached = self.attached.get(&interface.ifindex);
        if attached.is_some_and(|(_, mac, _)| *mac == interface.mac) {
            return Ok(());
        }
        self.maps.set_interface(interface.ifindex, interface.mac)?;
        let native = match attached {
            Some((_, _, native)) => *native,
            None => self.begin(interface)?,
        };
        let entry = (interface.name.clone(), interface.mac, native);
        self.attached.insert(interface.ifindex, entry);
        Ok(())
    }

    fn begin(&mut self, interface: &Interface) -> Result<bool, DrError> {
        let wanted = self.options.attach;
        let native = program::attach(&mut self.ebpf, &self.pins, interface, wanted)?;
        let kind = if native { "native" } else { "generic" };
        tracing::info!(
            interface = interface.name,
            kind,
            "direct return is attached"
        );
        Ok(native)
    }

    fn tidy(&mut self, interfaces: &[u32]) {
        let layout = layout::name(self.options.flows);
        let detached = self.pins.detach_others(interfaces);
        match detached.and_then(|()| self.pins.forget_other_maps(&layout)) {
            Ok(()) => self.tidy = true,
            Err(error) => tracing::warn!(%error, "what an earlier process has pinned stays"),
        }
    }

    /// What every endpoint got, by its service and address.
    pub(super) fn endpoints(&self) -> Result<Vec<Known>, DrError> {
        let known = self.book.endpoints().map(|(number, value)| {
            Ok(Known {
                service: value.service,
                address: value.address,
                live: value.live,
                way: value.way,
                counters: self.maps.counters(number)?,
            })
        });
        known.collect()
    }

    /// What else was counted, by name.
    pub(super) fn events(&self) -> Result<Vec<(&'static str, u64)>, DrError> {
        Ok(EVENTS.into_iter().zip(self.maps.events()?).collect())
    }

    /// Where the program is, and whether natively.
    pub(super) fn attached(&self) -> impl Iterator<Item = (&str, bool)> {
        self.attached
            .values()
            .map(|(name, _, native)| (&**name, *native))
    }

    /// Lets go of the kernel's part, which forwards on, or takes it away.
    pub(super) fn close(self, keep: bool) {
        if keep {
            return;
        }
        if let Err(error) = self.pins.remove() {
            tracing::error!(%error, "direct return is still attached");
        }
    }
}

/// An endpoint as the kernel has it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) service: Key,
    pub(super) address: IpAddr,
    pub(super) live: bool,
    pub(super) way: Way,
    pub(super) counters: Counters,
}

/// The listeners' names by service.
pub(super) fn names(wanted: &[Service]) -> HashMap<Key, Arc<str>> {
    plan::names(wanted)
}
