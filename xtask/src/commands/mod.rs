//! One module per command.

pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod docs_commands;
pub(crate) mod generate;
pub(crate) mod image;
pub(crate) mod release;
pub(crate) mod test;
pub(crate) mod tools;
