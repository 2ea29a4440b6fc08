//! tmp
use crate::frame::Frames;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::time::Instant;
#[derive(Default)]
pub struct Budget;
impl Budget {
    pub fn spend(&mut self, _now: Instant) -> Result<(), Reason> {
        Ok(())
    }
}
pub fn reset<F: Frames>(
    _f: &mut F,
    _i: usize,
    _p: &Packet,
    _ttl: Option<u8>,
) -> Result<(), Reason> {
    Ok(())
}
pub fn unreachable<F: Frames>(_f: &mut F, _i: usize, _p: &Packet, _code: u8) -> Result<(), Reason> {
    Ok(())
}
