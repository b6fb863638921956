//! Logs on the wire: the protobuf messages of PutLogs and PullLogs, and the four compressions.
//!
//! Message layout from sls-api 4.12 (proto2); nothing here knows stores.

use std::io::Read as _;

use prost::Message;

use super::errors::{bad, post_body_invalid};
use crate::wire::ApiError;

/// Largest group after decompression, in bytes.
const MAX_RAW: usize = 30 * 1024 * 1024;

/// Key and value of a log; the value may be any bytes, therefore not a string here.
#[derive(Clone, PartialEq, Message)]
pub struct LogContent {
    /// Field name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Field value.
    #[prost(bytes = "vec", required, tag = "2")]
    pub value: Vec<u8>,
}

/// One log.
#[derive(Clone, PartialEq, Message)]
pub struct WireLog {
    /// Epoch seconds.
    #[prost(uint32, required, tag = "1")]
    pub time: u32,
    /// Fields.
    #[prost(message, repeated, tag = "2")]
    pub contents: Vec<LogContent>,
    /// Nanoseconds within the second.
    #[prost(fixed32, optional, tag = "4")]
    pub time_ns: Option<u32>,
}

/// Key and value of a tag.
#[derive(Clone, PartialEq, Message)]
pub struct LogTag {
    /// Tag name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// Tag value.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// Logs of one source and topic.
#[derive(Clone, PartialEq, Message)]
pub struct LogGroup {
    /// Logs.
    #[prost(message, repeated, tag = "1")]
    pub logs: Vec<WireLog>,
    /// Reserved by the service.
    #[prost(string, optional, tag = "2")]
    pub category: Option<String>,
    /// `__topic__`.
    #[prost(string, optional, tag = "3")]
    pub topic: Option<String>,
    /// `__source__`.
    #[prost(string, optional, tag = "4")]
    pub source: Option<String>,
    /// Machine.
    #[prost(string, optional, tag = "5")]
    pub machine_uuid: Option<String>,
    /// Tags.
    #[prost(message, repeated, tag = "6")]
    pub tags: Vec<LogTag>,
}

/// What PullLogs answers.
#[derive(Clone, PartialEq, Message)]
pub struct LogGroupList {
    /// Groups.
    #[prost(message, repeated, tag = "1")]
    pub groups: Vec<LogGroup>,
}

/// A compression of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A raw LZ4 block without size prefix.
    Lz4,
    /// A Zstandard frame.
    Zstd,
    /// A zlib stream; `gzip` is the same to the official clients.
    Zlib,
}

impl Compression {
    /// The compression of that header value.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            "deflate" | "gzip" => Some(Self::Zlib),
            _ => None,
        }
    }

    /// Value of `x-log-compresstype`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Zlib => "deflate",
        }
    }

    /// Compresses a body.
    ///
    /// # Panics
    /// Never: memory can always be read.
    pub fn compress(self, raw: &[u8]) -> Vec<u8> {
        match self {
            Self::Lz4 => lz4_flex::block::compress(raw),
            Self::Zstd => ruzstd::encoding::compress_to_vec(raw, ruzstd::encoding::CompressionLevel::Fastest),
            Self::Zlib => {
                let mut out = Vec::new();
                let mut encoder = flate2::read::ZlibEncoder::new(raw, flate2::Compression::fast());
                encoder
                    .read_to_end(&mut out)
                    .expect("reading from memory cannot fail");
                out
            }
        }
    }

    /// Restores a body of the announced size.
    pub fn restore(self, body: &[u8], size: usize) -> Result<Vec<u8>, ApiError> {
        let broken = |error: &dyn std::fmt::Display| {
            bad(
                "PostBodyUncompressError",
                format!("Failed to decompress {} body: {error}", self.name()),
            )
        };
        if size > MAX_RAW {
            return Err(bad(
                "PostBodyTooLarge",
                format!("Body size {size} must little than {MAX_RAW}."),
            ));
        }
        let raw = match self {
            Self::Lz4 => lz4_flex::block::decompress(body, size).map_err(|error| broken(&error))?,
            Self::Zstd => {
                let decoder =
                    ruzstd::decoding::StreamingDecoder::new(body).map_err(|error| broken(&error))?;
                read_limited(decoder, size).map_err(|error| broken(&error))?
            }
            Self::Zlib => {
                read_limited(flate2::read::ZlibDecoder::new(body), size).map_err(|error| broken(&error))?
            }
        };
        if raw.len() != size {
            return Err(broken(&format!("{} bytes instead of {size}", raw.len())));
        }
        Ok(raw)
    }
}

/// Reads at most one byte more than announced, so that a bomb stays small.
fn read_limited(reader: impl std::io::Read, size: usize) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    reader.take(size as u64 + 1).read_to_end(&mut raw)?;
    Ok(raw)
}

/// Decodes the body of PutLogs.
pub fn decode_group(raw: &[u8]) -> Result<LogGroup, ApiError> {
    LogGroup::decode(raw)
        .map_err(|error| post_body_invalid(format!("The body is not valid protobuf: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// A group encoded by hand from the published message layout.
    #[test]
    fn a_group_has_the_published_layout() {
        let bytes = [
            0x0a, 0x11, // Logs[0], 17 bytes
            0x08, 0x2a, // Time = 42
            0x12, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v', // Contents[0]
            0x25, 0x07, 0x00, 0x00, 0x00, // TimeNs = 7, fixed32
            0x1a, 0x01, b't', // Topic
            0x22, 0x01, b's', // Source
            0x32, 0x06, 0x0a, 0x01, b'a', 0x12, 0x01, b'b', // LogTags[0]
        ];
        let mut bytes = bytes.to_vec();
        bytes[1] = 15;
        let group = decode_group(&bytes).unwrap();
        assert_eq!(group.logs[0].time, 42);
        assert_eq!(group.logs[0].time_ns, Some(7));
        assert_eq!(group.logs[0].contents[0].value, b"v");
        assert_eq!(
            (group.topic.as_deref(), group.source.as_deref()),
            (Some("t"), Some("s"))
        );
        assert_eq!(group.tags[0].value, "b");
        assert_eq!(group.encode_to_vec(), bytes);
        assert_eq!(decode_group(&[0xff]).unwrap_err().code, "PostBodyInvalid");
    }

    #[test]
    fn broken_and_lying_bodies_are_refused() {
        for compression in [Compression::Lz4, Compression::Zstd, Compression::Zlib] {
            let body = compression.compress(b"some text, some text");
            for (body, size) in [
                (&body[..], 19),
                (&body[..], 21),
                (&body[..3], 20),
                (&b"\xff\xff\xff"[..], 3),
            ] {
                let told = compression.restore(body, size).map_err(|error| error.code);
                assert_eq!(
                    told,
                    Err("PostBodyUncompressError".to_owned()),
                    "{compression:?} {size}"
                );
            }
        }
        assert_eq!(Compression::parse("snappy"), None);
        assert_eq!(Compression::parse("GZIP"), Some(Compression::Zlib));
    }

    proptest! {
        #[test]
        fn every_compression_restores_what_it_was_given(raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for compression in [Compression::Lz4, Compression::Zstd, Compression::Zlib] {
                let body = compression.compress(&raw);
                prop_assert_eq!(&compression.restore(&body, raw.len()).unwrap(), &raw);
            }
        }
    }
}
