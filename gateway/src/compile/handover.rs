//! Where a successor can take over.

use super::{Compiler, Findings};
use crate::config::Config;
use crate::state::HandoverState;

impl Compiler<'_> {
    pub(super) fn handover(
        &self,
        config: &Config,
        findings: &mut Findings,
    ) -> Option<HandoverState> {
        let handover = config.handover.as_ref()?;
        let place = handover.socket.place();
        let door = self.absolute(&handover.socket, place);
        let judged = chassis::net::validate_socket_path(&door);
        findings.keep(judged.map_err(|why| handover.socket.wrong(why)))?;
        Some(HandoverState {
            door,
            place,
            drain: *handover.drain,
        })
    }
}
