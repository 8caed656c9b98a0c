//! Errors, warnings and notices with the place in the code they are about.

use super::line::Command;

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `error`.
    Error,
    /// `warning`.
    Warning,
    /// `notice`.
    Notice,
}

impl Level {
    /// The level of this name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        [Level::Error, Level::Warning, Level::Notice]
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        }
    }
}

/// Something a step wants to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// How bad.
    pub level: Level,
    /// What.
    pub message: String,
    /// A title.
    pub title: Option<String>,
    /// A tool's code for it.
    pub code: Option<String>,
    /// The file it is about, as written.
    pub file: Option<String>,
    /// Where in it.
    pub place: IssuePlace,
}

/// Lines and columns, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuePlace {
    /// The first line.
    pub line: Option<String>,
    /// The last line.
    pub end_line: Option<String>,
    /// The first column; only where there is one line.
    pub column: Option<String>,
    /// The last column.
    pub end_column: Option<String>,
}

impl Issue {
    /// The issue that a command tells.
    pub fn of_command(level: Level, command: &Command) -> Self {
        let property = |name: &str| command.property(name).map(str::to_owned);
        let place = IssuePlace {
            line: property("line"),
            end_line: property("endLine"),
            column: property("col"),
            end_column: property("endColumn"),
        };
        Self {
            level,
            message: command.data.clone(),
            title: property("title"),
            code: property("code"),
            file: property("file"),
            place: place.settled(),
        }
    }
}

impl IssuePlace {
    /// Without what makes no sense: columns need one line, ends come after beginnings.
    #[must_use]
    pub fn settled(mut self) -> Self {
        if self.line.is_none() {
            self.line.clone_from(&self.end_line);
        }
        if self.column.is_none() {
            self.column.clone_from(&self.end_column);
        }
        let has_columns = self.column.is_some();
        let spans_lines = self.end_line.is_some() && self.line != self.end_line;
        if has_columns && (self.line.is_none() || spans_lines) {
            (self.column, self.end_column) = (None, None);
        }
        if is_before(&self.end_line, &self.line) {
            (self.line, self.end_line) = (None, None);
        }
        if is_before(&self.end_column, &self.column) {
            (self.column, self.end_column) = (None, None);
        }
        self
    }
}

fn is_before(end: &Option<String>, begin: &Option<String>) -> bool {
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.trim().parse::<i64>().ok());
    matches!((number(end), number(begin)), (Some(end), Some(begin)) if end < begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: &str, end_line: &str, column: &str, end_column: &str) -> IssuePlace {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        IssuePlace { line: some(line), end_line: some(end_line), column: some(column), end_column: some(end_column) }
    }

    #[test]
    fn columns_need_one_line_and_ends_come_last() {
        assert_eq!(place("1", "2", "1", "2").settled(), place("1", "2", "", ""));
        assert_eq!(place("", "", "1", "2").settled(), place("", "", "", ""));
        assert_eq!(place("", "4", "", "").settled(), place("4", "4", "", ""));
        assert_eq!(place("5", "4", "", "").settled(), place("", "", "", ""));
        assert_eq!(place("1", "", "3", "2").settled(), place("1", "", "", ""));
        assert_eq!(place("1", "1", "", "2").settled(), place("1", "1", "2", "2"));
    }
}
