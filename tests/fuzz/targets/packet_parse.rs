//! The first three bytes choose how the frame is lent; the rest is the frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_engine::frame::{Checksum, Frames, Owned, PortIndex};
use weir_engine::packet::{Packet, Transport, checksum};
use weir_engine::reflect;

fuzz_target!(|data: &[u8]| {
    let Some((&[how, cut, more], frame)) = data.split_first_chunk() else { return };
    let cut = usize::from(cut).min(frame.len());
    let mut frames = Owned::new();
    if how & 1 == 0 {
        frames.push(PortIndex::LAN, frame);
    } else {
        frames.push_segments(PortIndex::LAN, &[&frame[..cut], &frame[cut..]]);
    }
    let meta = frames.meta_mut(0);
    if how & 2 != 0 {
        meta.gso_size = 1448;
        meta.length += u32::from(more) << 8;
    }
    if how & 4 != 0 {
        meta.checksum = Checksum::MaybePartial;
    }
    let meta = *meta;
    let Ok(packet) = Packet::parse(frames.head(0), &meta) else { return };
    let head = frames.head(0);
    assert!(packet.network_offset < packet.transport_offset);
    assert!(usize::from(packet.transport_offset) <= head.len());
    assert!(u32::from(packet.network_offset) + packet.length <= meta.length);
    packet.tcp_options(head).for_each(drop);
    checksum::finish_partial(&packet, &mut frames, 0);
    checksum::verify(&packet, &frames, 0);
    let made = match packet.transport {
        Transport::Tcp(_) => reflect::reset(&mut frames, 0, &packet, None),
        _ => reflect::unreachable(&mut frames, 0, &packet, 1),
    };
    if made.is_ok() {
        frames.meta_mut(0).checksum = Checksum::Unknown;
        let answer = Packet::parse(frames.head(0), &frames.meta(0)).expect("well-formed");
        assert!(checksum::verify(&answer, &frames, 0));
    }
});
