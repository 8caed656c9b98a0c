//! The variables of a job and how their values refer to each other.
//!
//! A job's variables are an ordered list with duplicates; the last one of a name counts. That is what GitLab sends
//! and what its users rely on. Values refer to other variables as `$NAME` or `${NAME}`; a file variable is referred to
//! by its path, not by its content. (protocols: GitLab runner 10.1 to 10.4.)

use super::secret::Secret;

/// One variable of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub key: String,
    /// Its value. Secret whether masked or not: the forge says which values are masked, not which are secret.
    pub value: Secret,
    /// May be given to service containers.
    pub public: bool,
    /// The value is hidden in the log.
    pub masked: bool,
    /// The value is the content of a file; the job's processes see the file's path.
    pub file: bool,
    /// `$` in the value is just a dollar sign.
    pub raw: bool,
}

impl Variable {
    /// A variable set by the runner itself: public, not masked, taken literally.
    pub fn plain(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: Secret::new(value), public: true, masked: false, file: false, raw: true }
    }
}

/// The variables of a job, in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    list: Vec<Variable>,
    /// Folder in which file variables live; a reference to one is `FOLDER/KEY`.
    file_dir: Option<String>,
}

impl Variables {
    /// The list as given; `file_dir` is the folder, as the job sees it, where file variables will lie.
    pub fn new(list: Vec<Variable>, file_dir: Option<String>) -> Self {
        Self { list, file_dir }
    }

    /// Adds one; it hides an earlier one of the same name.
    pub fn push(&mut self, variable: Variable) {
        self.list.push(variable);
    }

    /// All of them in order, hidden ones too.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Variable> {
        self.list.iter()
    }

    /// The variable of this name that counts: the last.
    pub fn get(&self, key: &str) -> Option<&Variable> {
        self.list.iter().rev().find(|v| v.key == key)
    }

    /// The value of `key` as the job's processes see it: a file variable's path, else the text. Empty when not set.
    pub fn value(&self, key: &str) -> String {
        self.get(key).map(|v| self.seen(v)).unwrap_or_default()
    }

    /// The content of `key`: a file variable's content, else the text. `None` when not set.
    pub fn content(&self, key: &str) -> Option<&Secret> {
        self.get(key).map(|v| &v.value)
    }

    /// Whether `key` says yes. As in Go's `ParseBool` (1, t, T, true, TRUE, True); anything else is no.
    pub fn is_true(&self, key: &str) -> bool {
        self.boolean(key) == Some(true)
    }

    /// What `key` says, if it says yes or no at all (`ParseBool`'s words).
    pub fn boolean(&self, key: &str) -> Option<bool> {
        let value = self.content(key)?;
        match value.expose().trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }

    /// `text` with its references replaced by values as they are, not expanded again. Names that are not set become
    /// nothing.
    pub fn expand(&self, text: &str) -> String {
        expand_with(text, |name| self.value(name))
    }

    /// The list with each value that is not raw expanded once against the list as it was.
    ///
    /// One level only: the forge has resolved the rest before (protocols: GitLab 10.2).
    pub fn expanded(&self) -> Variables {
        let list = self
            .list
            .iter()
            .map(|variable| {
                let mut variable = variable.clone();
                if !variable.raw {
                    variable.value = Secret::new(self.expand(variable.value.expose()));
                }
                variable
            })
            .collect();
        Variables { list, file_dir: self.file_dir.clone() }
    }

    /// The path at which the job sees the file variable `key`.
    pub fn file_path(&self, key: &str) -> String {
        match &self.file_dir {
            Some(dir) => format!("{dir}/{key}"),
            None => key.to_owned(),
        }
    }

    fn seen(&self, variable: &Variable) -> String {
        if variable.file { self.file_path(&variable.key) } else { variable.value.expose().to_owned() }
    }
}

/// Replaces `$NAME` and `${NAME}` in `text` by what `value` says, by the rules of the runner (not of a shell):
///
/// `$$` is one dollar sign; `$*`, `$#`, `$@`, `$!`, `$?`, `$-` and `$0` to `$9` are nothing; a `$` before anything else stays;
/// `${` without a closing brace or without a name is dropped.
pub fn expand_with(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(next) = rest.chars().next() else {
            out.push('$');
            break;
        };
        match next {
            '$' => {
                out.push('$');
                rest = &rest[1..];
            }
            '{' => {
                let inner = &rest[1..];
                match inner.find('}') {
                    Some(end) => {
                        let name = &inner[..end];
                        if is_name(name) {
                            out.push_str(&value(name));
                        }
                        rest = &inner[end + 1..];
                    }
                    None => rest = inner,
                }
            }
            '*' | '#' | '@' | '!' | '?' | '-' | '0'..='9' => rest = &rest[1..],
            c if is_name_char(c) => {
                let end = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
                out.push_str(&value(&rest[..end]));
                rest = &rest[end..];
            }
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let list = pairs.iter().map(|(k, v)| Variable { raw: false, ..Variable::plain(*k, *v) }).collect();
        Variables::new(list, Some("/builds/p.tmp".into()))
    }

    #[test]
    fn the_last_of_a_name_counts() {
        assert_eq!(variables(&[("A", "1"), ("A", "2")]).expand("$A"), "2");
    }

    #[test]
    fn references_go_one_level_deep() {
        let expanded = variables(&[("A", "$B"), ("B", "$C"), ("C", "end")]).expanded();
        assert_eq!(expanded.value("A"), "$C");
    }

    #[test]
    fn a_file_variable_is_its_path() {
        let mut all = variables(&[]);
        all.push(Variable { file: true, ..Variable::plain("KUBE", "content") });
        assert_eq!(all.expand("--config $KUBE"), "--config /builds/p.tmp/KUBE");
        assert_eq!(all.content("KUBE").unwrap().expose(), "content");
    }

    #[test]
    fn odd_dollars() {
        let all = variables(&[("A", "1")]);
        for (text, want) in [
            ("$$A", "$A"),
            ("a$", "a$"),
            ("$.x", "$.x"),
            ("${A", "A"),
            ("${}x", "x"),
            ("$1$#$@x", "x"),
            ("${A}b$A-", "1b1-"),
            ("ü$A", "ü1"),
            ("$UNSET!", "!"),
        ] {
            assert_eq!(all.expand(text), want, "{text}");
        }
    }
}
