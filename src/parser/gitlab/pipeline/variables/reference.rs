//! Where a text refers to variables: `$NAME`, `${NAME}`, `%NAME%`.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// A reference.
    Reference {
        /// The name.
        name: &'a str,
        /// As it is written, signs included.
        whole: &'a str,
    },
}

/// Whether `$$` and `%%` are a sign of their own: in values of variables, not in other texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubled {
    /// They stay, and what follows is no reference.
    Stays,
    /// They mean nothing special.
    Nothing,
}

/// The pieces of a text in order.
pub fn pieces(text: &str, doubled: Doubled) -> Pieces<'_> {
    Pieces { rest: text, doubled, waiting: None }
}

/// Whether a text can hold a reference at all.
pub fn may_refer(text: &str) -> bool {
    memchr::memchr2(b'$', b'%', text.as_bytes()).is_some()
}

/// An iterator over [`Piece`]s.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    rest: &'a str,
    doubled: Doubled,
    waiting: Option<Piece<'a>>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if let Some(piece) = self.waiting.take() {
            return Some(piece);
        }
        let mut from = 0;
        while let Some(at) = memchr::memchr2(b'$', b'%', self.rest.as_bytes().get(from..)?) {
            let at = from + at;
            let (before, here) = self.rest.split_at(at);
            if self.doubled == Doubled::Stays && (here.starts_with("$$") || here.starts_with("%%")) {
                from = at + 2;
                continue;
            }
            let Some((name, length)) = reference(here) else {
                from = at + 1;
                continue;
            };
            let (whole, rest) = here.split_at(length);
            self.rest = rest;
            let found = Piece::Reference { name, whole };
            if before.is_empty() {
                return Some(found);
            }
            self.waiting = Some(found);
            return Some(Piece::Text(before));
        }
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then_some(Piece::Text(rest))
    }
}

/// The name that a text begins with a reference to, and how long the reference is.
fn reference(text: &str) -> Option<(&str, usize)> {
    let (opening, closing) = match text.as_bytes() {
        [b'$', b'{', ..] => (2, "}"),
        [b'$', ..] => (1, ""),
        _ => (1, "%"),
    };
    let inner = text.get(opening..)?;
    let end = inner.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    let (name, after) = inner.split_at(end);
    let is_name = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    (is_name && after.starts_with(closing)).then_some((name, opening + end + closing.len()))
}
