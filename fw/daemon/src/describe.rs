//! What a log record shows, in tcpdump's words.

use weir_engine::LogRecord;

/// One line about the frame.
pub(crate) fn describe(record: &LogRecord) -> String {
    format!("{} bytes", record.length)
}
