//! The program on its interfaces.

use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{Xdp, XdpMode};

use super::maps::chain;
use super::neighbours::Interface;
use super::pins::Pins;
use super::{Attach, DrError};

/// Has the kernel judge and translate the program.
///
/// # Errors
/// What it does not like.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), DrError> {
    let load = |error: aya::programs::ProgramError| DrError::Load(chain(&error));
    program(ebpf).load().map_err(load)
}

pub(super) fn program(ebpf: &mut Ebpf) -> &mut Xdp {
    let program = ebpf.program_mut("forward").expect("the object has it");
    program.try_into().expect("it is for XDP")
}

/// Puts the program on an interface, in the place of an earlier one of ours, if there is one, between two packets.
/// Whether it is native. It stays there without this process.
///
/// # Errors
/// What the kernel says, and of the last kind that was tried.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    pins: &Pins,
    interface: &Interface,
    attach: Attach,
) -> Result<bool, DrError> {
    let kinds: &[bool] = match attach {
        Attach::Auto => &[true, false],
        Attach::Native => &[true],
        Attach::Generic => &[false],
    };
    for native in kinds {
        let pin = pins.link(interface.ifindex, *native);
        if pin.exists() && replace(ebpf, &pin) {
            return Ok(*native);
        }
    }
    let mut refused = String::new();
    for native in [true, false] {
        // Of a kind that is not wanted, or of an interface that is gone: there is one program at a time.
        let _ = std::fs::remove_file(pins.link(interface.ifindex, native));
    }
    for native in kinds {
        match begin(
            ebpf,
            &pins.link(interface.ifindex, *native),
            interface,
            *native,
        ) {
            Ok(()) => return Ok(*native),
            Err(error) => {
                tracing::debug!(interface = interface.name, native, error, "not attached");
                refused = error;
            }
        }
    }
    Err(DrError::Attach {
        interface: interface.name.clone(),
        attach: attach.name(),
        error: refused,
    })
}

/// Whether the program is now where an earlier one was.
fn replace(ebpf: &mut Ebpf, pin: &Path) -> bool {
    let Ok(pinned) = PinnedLink::from_pin(pin) else {
        return false;
    };
    let Ok(link) = XdpLink::try_from(FdLink::from(pinned)) else {
        return false;
    };
    let program = program(ebpf);
    match program.attach_to_link(link) {
        // The pin holds it.
        Ok(id) => program.take_link(id).is_ok(),
        Err(_) => false,
    }
}

fn begin(ebpf: &mut Ebpf, pin: &Path, interface: &Interface, native: bool) -> Result<(), String> {
    let program = program(ebpf);
    let mode = if native {
        XdpMode::Driver
    } else {
        XdpMode::Skb
    };
    let id: XdpLinkId = program
        .attach_to_if_index(interface.ifindex, mode)
        .map_err(|error| chain(&error))?;
    let link = program.take_link(id).map_err(|error| chain(&error))?;
    let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
    link.pin(pin).map_err(|error| chain(&error))?;
    Ok(())
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
