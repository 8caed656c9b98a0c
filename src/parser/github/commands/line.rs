//! Commands in a line of output: `::name key=value,key=value::data`, and the older `##[name key=value;key=value]data`.

/// A command as it was written, its escapes undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its name, as written.
    pub name: String,
    /// Its properties in order; empty ones are dropped.
    pub properties: Vec<(String, String)>,
    /// What follows.
    pub data: String,
}

impl Command {
    /// The property of this name, whatever its case. The last one counts.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The command in `line`, if there is one whose name `is_known`. The newer form begins the line (but for white space), the older
/// one may stand anywhere in it.
pub fn parse(line: &str, is_known: &dyn Fn(&str) -> bool) -> Option<Command> {
    parse_colons(line, is_known).or_else(|| parse_brackets(line, is_known))
}

fn parse_colons(line: &str, is_known: &dyn Fn(&str) -> bool) -> Option<Command> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, data) = rest.split_once("::")?;
    let (name, properties) = split_head(head);
    is_known(name).then(|| Command {
        name: name.to_owned(),
        properties: pairs(properties, ',', COLON_PROPERTY),
        data: unescape(data, COLON_DATA),
    })
}

fn parse_brackets(line: &str, is_known: &dyn Fn(&str) -> bool) -> Option<Command> {
    let (_, rest) = line.split_once("##[")?;
    let (head, data) = rest.split_once(']')?;
    let (name, properties) = split_head(head);
    is_known(name).then(|| Command {
        name: name.to_owned(),
        properties: pairs(properties, ';', BRACKET),
        data: unescape(data, BRACKET),
    })
}

fn split_head(head: &str) -> (&str, &str) {
    head.split_once(' ').map_or((head, ""), |(name, properties)| (name, properties.trim()))
}

fn pairs(text: &str, separator: char, escapes: Escapes) -> Vec<(String, String)> {
    text.split(separator)
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .map(|(key, value)| (key.to_owned(), unescape(value, escapes)))
        .collect()
}

type Escapes = &'static [(&'static str, &'static str)];

// In the order in which they are undone: the percent sign last, so that what it makes is not read again.
const COLON_DATA: Escapes = &[("%0D", "\r"), ("%0A", "\n"), ("%25", "%")];
const COLON_PROPERTY: Escapes = &[("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")];
const BRACKET: Escapes = &[("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%25", "%")];

fn unescape(text: &str, escapes: Escapes) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| if text.contains(from) { text.replace(from, to) } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> bool {
        name.eq_ignore_ascii_case("warning")
    }

    #[test]
    fn names_are_known_in_any_case_and_properties_found_in_any() {
        let command = parse("  ::WARNING FILE=a.rs,line=3::x%0Ay%250A", &known).unwrap();
        assert_eq!(command.property("file"), Some("a.rs"));
        assert_eq!(command.property("Line"), Some("3"));
        assert_eq!(command.data, "x\ny%0A");
    }

    #[test]
    fn what_is_no_command_is_left_alone() {
        for line in ["::unknown::x", "text ::warning::x", "::warning x", "##[warning", "a::b::c", "::"] {
            assert_eq!(parse(line, &known), None, "{line}");
        }
        assert!(parse("text ##[warning]x", &known).is_some());
    }
}
