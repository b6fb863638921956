//! What checks need besides the workspace, by name: programs from Go modules, from crates and from the history, and the Python SDKs.

use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};

use crate::assets::{self, Tool};
use crate::crates::{self, Program};
use crate::earlier;
use crate::process::output;
use crate::python::Python;

/// Something that is made once into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program from a Go module.
    Tool(Tool),
    /// A program from crates.io.
    Program(Program),
    /// The official Python SDKs.
    Sdks,
    /// What the image's binaries are built with.
    ImageTools,
    /// The program that puts images together; it is the system's own.
    Buildah,
    /// The operator of each earlier version that is kept; no check wants it by itself.
    EarlierOperators,
}

impl Need {
    /// The API server with what belongs to it.
    pub const CONTROL_PLANE: [Self; 4] = [
        Self::Tool(Tool::Etcd),
        Self::Tool(Tool::KubeApiserver),
        Self::Tool(Tool::Kubectl),
        Self::Tool(Tool::KubeControllerManager),
    ];
    const OTHERS: [Self; 12] = [
        Self::Tool(Tool::Helm),
        Self::Sdks,
        Self::Tool(Tool::Actionlint),
        Self::Tool(Tool::Promtool),
        Self::Tool(Tool::ArgoCd),
        Self::Tool(Tool::Redis),
        Self::Program(Program::CargoDeny),
        Self::Program(Program::Mdbook),
        Self::Program(Program::CargoAuditable),
        Self::ImageTools,
        Self::Buildah,
        Self::EarlierOperators,
    ];

    /// All, with what most commands need in front.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::CONTROL_PLANE.into_iter().chain(Self::OTHERS)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tool(tool) => tool.name(),
            Self::Program(program) => program.name(),
            Self::Sdks => "python-sdks",
            Self::ImageTools => "image-tools",
            Self::Buildah => "buildah",
            Self::EarlierOperators => "earlier-operators",
        }
    }

    /// Makes it if it is not there; where it is.
    ///
    /// # Errors
    /// Fails as [`assets::ensure`], [`crates::ensure`], [`Python::ensure`] and [`earlier::ensure_all`]; buildah is not made, but
    /// must be there.
    pub fn meet(self) -> Result<PathBuf> {
        match self {
            Self::Tool(tool) => assets::ensure(tool),
            Self::Program(program) => crates::ensure(program),
            Self::Sdks => Ok(PathBuf::from(Python::ensure()?.command().get_program())),
            Self::ImageTools => Ok(Python::for_image()?.programs().to_owned()),
            Self::Buildah => {
                let program = PathBuf::from("buildah");
                output(Command::new(&program).arg("--version")).context(
                    "buildah is missing: install it (Debian's package buildah), or build the Dockerfile with another tool",
                )?;
                Ok(program)
            }
            Self::EarlierOperators => earlier::ensure_all(),
        }
    }
}

impl FromStr for Need {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(need) = Self::all().find(|need| need.name() == text) {
            return Ok(need);
        }
        let names: Vec<&str> = Self::all().map(Self::name).collect();
        bail!("{text:?} is none of: {}", names.join(", "));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_others_are_refused_with_the_list() {
        for need in Need::all() {
            assert_eq!(need.name().parse::<Need>().unwrap(), need);
        }
        let refused = "kubectle".parse::<Need>().unwrap_err().to_string();
        assert!(
            refused.contains("\"kubectle\"") && refused.contains(" kubectl,"),
            "{refused}"
        );
    }
}
