//! Development commands of ramtrail, and the harness its tests run on.
//!
//! The binary (`cargo xtask`) holds the commands. This library holds what both the commands and the
//! integration tests need: a real control plane built from Go modules, the emulator and the operator as
//! supervised processes, and a Python environment with the official SDKs.
//!
//! - [`workspace`]: where the checkout, the built binaries and the cache are
//! - [`archive`]: archives that are the same bytes for the same content
//! - [`assets`]: kube-apiserver, kube-controller-manager, kubectl, etcd, helm, Argo CD and promtool, built once
//! - [`argo_cd`]: the forms of the health checks for Argo CD
//! - [`crates`]: programs from crates.io, built once
//! - [`earlier`]: the operator of earlier versions, built once from the history
//! - [`needs`] and [`ahead`]: all of these by name, and made before they are needed
//! - [`book`]: pages, links and command blocks of the documentation
//! - [`canary`]: marked secrets, and where they must not be
//! - [`chart`]: the README of the Helm chart
//! - [`python`]: the environment of the official SDKs
//! - [`process`]: child processes that cannot outlive us
//! - [`control_plane`]: etcd and kube-apiserver in a temporary folder
//! - [`grants`]: what a ServiceAccount may do, beside what it did
//! - [`kubectl`] and [`kubeconfig`]: acting on a cluster, as anyone
//! - [`api_proxy`]: faults on the way to the API server
//! - [`emulator`] and [`operator`]: our two binaries as processes
//! - [`deployment`]: the process that a Deployment describes
//! - [`reference`]: the API reference, made from the CRDs
//! - [`sbom`]: what a binary is made of
//! - [`share`]: a part of a matrix that changes with a seed
//! - [`temp_dir`]: folders that go away with us
//! - [`wait`]: waiting for a condition with a deadline
//! - [`terminal`]: what a person sees

pub mod ahead;
pub mod api_proxy;
pub mod archive;
pub mod argo_cd;
pub mod assets;
pub mod book;
pub mod canary;
pub mod chart;
pub mod control_plane;
pub mod crates;
pub mod deployment;
pub mod earlier;
pub mod emulator;
pub mod grants;
pub mod kubeconfig;
pub mod kubectl;
pub mod needs;
pub mod operator;
pub mod process;
pub mod python;
pub mod reference;
pub mod sbom;
pub mod share;
pub mod temp_dir;
pub mod terminal;
pub mod wait;
pub mod workspace;
