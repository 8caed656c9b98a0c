//! Addresses of components: `server/group/project/name@version`.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::parser::document::{Node, Span};

/// An address in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) project: String,
    pub(super) name: String,
    pub(super) version: String,
}

impl Address {
    /// The parts of an address.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let (path, version) = address.rsplit_once('@')?;
        let (host, path) = path.split_once('/')?;
        let (project, name) = path.rsplit_once('/')?;
        let whole = !host.is_empty() && !name.is_empty() && !version.is_empty() && project.contains('/');
        whole.then(|| Self {
            host: host.to_owned(),
            project: project.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Where the component may lie in its project.
    pub(super) fn paths(&self) -> [String; 2] {
        super::super::component::paths(&self.name)
    }

    /// The facts that a component's header may ask for.
    pub(super) fn facts(&self, commit: &str, version: Option<&str>, span: Span) -> BTreeMap<SmolStr, Node> {
        let facts = [
            ("name", Some(self.name.as_str())),
            ("sha", Some(commit)),
            ("version", version),
            ("reference", Some(self.version.as_str())),
        ];
        let node = |text: Option<&str>| text.map_or_else(|| Node::plain("", span), |text| Node::text(text, span));
        facts.into_iter().map(|(name, text)| (SmolStr::from(name), node(text))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_four_parts() {
        let address = Address::parse("gitlab.example.com/group/sub/project/build@1.0").unwrap();
        assert_eq!(
            (address.host.as_str(), address.project.as_str(), address.name.as_str(), address.version.as_str()),
            ("gitlab.example.com", "group/sub/project", "build", "1.0")
        );
        assert_eq!(address.paths(), ["templates/build.yml", "templates/build/template.yml"]);
        for wrong in ["gitlab.example.com/group/project/build", "project/build@1", "@1", "gitlab.example.com/p/@1"] {
            assert_eq!(Address::parse(wrong), None, "{wrong}");
        }
    }
}
