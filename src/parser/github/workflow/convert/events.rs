//! `on`.

use smol_str::SmolStr;

use super::{Converter, cron};
use crate::parser::github::codes;
use crate::parser::github::workflow::model::{Event, EventDetail, EventFilters, Schedule};
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

impl Converter<'_, '_> {
    pub(super) fn events(&mut self, on: Token) -> Vec<Event> {
        match on.kind {
            TokenKind::Mapping(pairs) => pairs.into_iter().filter_map(|pair| self.event(pair)).collect(),
            _ => {
                let bare = |(name, span): (&SmolStr, _)| Event {
                    name: name.clone(),
                    span,
                    filters: EventFilters::default(),
                    detail: EventDetail::None,
                };
                on.texts().map(bare).collect()
            }
        }
    }

    fn event(&mut self, Pair { key, value }: Pair) -> Option<Event> {
        let name = SmolStr::from(key.as_text()?);
        let detail = match name.as_str() {
            "schedule" => EventDetail::Schedule(self.schedules(&value)),
            "workflow_dispatch" => {
                EventDetail::Dispatch(value.get("inputs").map(|inputs| self.inputs(inputs, false)).unwrap_or_default())
            }
            "workflow_call" => EventDetail::Call(self.call_interface(&value)),
            _ => EventDetail::None,
        };
        Some(Event { name, span: key.span, filters: filters(&value), detail })
    }

    fn schedules(&mut self, token: &Token) -> Vec<Schedule> {
        let mut schedules = Vec::new();
        for entry in token.as_sequence().unwrap_or_default() {
            let Some(cron) = entry.get("cron") else { continue };
            let text = cron.source();
            let is_word = self.dialect.takes_cron_words() && text.starts_with('@');
            if !is_word && !cron::is_valid(&text) {
                let message = "Invalid cron expression. Expected format: '* * * * *' (minute hour day month weekday)";
                self.error_with(codes::CRON, cron.span, message, Some(cron_help(&text)));
            }
            let timezone = entry.get("timezone").map(Token::source);
            schedules.push(Schedule { cron: text, timezone });
        }
        schedules
    }
}

fn cron_help(text: &str) -> String {
    match text.split_whitespace().count() {
        5 => {
            format!("`{text}` has a field out of its range: minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6")
        }
        1 if text.starts_with('@') => format!("`{text}` is not known; every day at midnight is '0 0 * * *'"),
        count => format!(
            "`{text}` has {count} fields; five are needed, as in '30 5 * * 1-5': at 5:30 UTC from Monday to Friday"
        ),
    }
}

fn filters(token: &Token) -> EventFilters {
    let list = |key: &str| token.get(key).map(|value| value.texts().map(|(text, _)| text.clone()).collect());
    if token.as_mapping().is_none() {
        return EventFilters::default();
    }
    EventFilters {
        branches: list("branches"),
        branches_ignore: list("branches-ignore"),
        tags: list("tags"),
        tags_ignore: list("tags-ignore"),
        paths: list("paths"),
        paths_ignore: list("paths-ignore"),
        types: list("types"),
        workflows: list("workflows"),
        names: list("names"),
        versions: list("versions"),
    }
}
