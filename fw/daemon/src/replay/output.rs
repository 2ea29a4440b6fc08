//! Files for the frames that leave.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use weir_engine::PortIndex;
use weir_hw::pcap::ng::{Interface, Note};
use weir_hw::pcap::{Record, file, ng};

type Out = BufWriter<File>;

/// Where frames go; files that nobody asked for are not there.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Classic pcap, by port.
    each: [Option<(PathBuf, file::Writer<Out>)>; 2],
    /// pcapng with both ports as interfaces.
    both: Option<(PathBuf, ng::Writer<Out>)>,
}

/// A failure, with the name of its file.
fn wrong(path: &Path) -> impl Fn(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

impl Output {
    /// Makes the files; those that exist are overwritten.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(super) fn create(each: [Option<&Path>; 2], both: Option<&Path>) -> Result<Self, String> {
        let mut output = Self::default();
        for (place, path) in output.each.iter_mut().zip(each) {
            let Some(path) = path else { continue };
            let made = File::create(path).map_err(wrong(path))?;
            let writer = file::Writer::new(BufWriter::new(made));
            let writer = writer.map_err(|error| wrong(path)(error.into()))?;
            *place = Some((path.to_owned(), writer));
        }
        if let Some(path) = both {
            let made = File::create(path).map_err(wrong(path))?;
            let names = ["lan", "wan"]
                .map(|name| Interface { name: name.into(), description: String::new() });
            let writer = ng::Writer::new(BufWriter::new(made), "weir replay", &names, 0);
            output.both = Some((path.to_owned(), writer.map_err(wrong(path))?));
        }
        Ok(output)
    }

    /// A frame leaves by a port at `time`, in nanoseconds since 1970.
    ///
    /// # Errors
    /// When its file takes no more.
    pub(super) fn write(&mut self, port: PortIndex, time: u64, frame: &[u8]) -> Result<(), String> {
        if let Some((path, writer)) = &mut self.each[usize::from(port.0 & 1)] {
            let written = writer.write(time, std::iter::once(frame));
            written.map_err(|error| wrong(path)(error.into()))?;
        }
        if let Some((path, writer)) = &mut self.both {
            let length = frame.len() as u32;
            let record = Record { time, length, captured: length };
            let note = Note { direction: Some(ng::Direction::Outbound), comment: "" };
            writer
                .write(port.0.into(), record, std::iter::once(frame), note)
                .map_err(wrong(path))?;
        }
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When a file takes no more.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        for (path, writer) in self.each.iter_mut().flatten() {
            writer.flush().map_err(|error| wrong(path)(error.into()))?;
        }
        self.both.as_mut().map_or(Ok(()), |(path, writer)| writer.flush().map_err(wrong(path)))
    }
}
