//! Images and services.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Name;
use super::variables::Variables;
use crate::parser::document::Node;

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, variables in it.
    pub name: Name,
    /// What to start in place of its entrypoint.
    pub entrypoint: Option<Arc<[SmolStr]>>,
    /// When to pull; the first that works counts.
    pub pull_policy: Option<Arc<[SmolStr]>>,
    /// `docker`: platform, user.
    pub docker: Option<Node>,
    /// `kubernetes`: user.
    pub kubernetes: Option<Node>,
    /// `ports`, as written.
    pub ports: Option<Node>,
    /// As written.
    pub node: Node,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its image.
    pub image: Image,
    /// The names under which the job reaches it.
    pub alias: Option<SmolStr>,
    /// What to start in place of its command.
    pub command: Option<Arc<[SmolStr]>>,
    /// Its own variables.
    pub variables: Option<Arc<Variables>>,
}
