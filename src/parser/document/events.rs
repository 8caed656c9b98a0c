//! libyaml's events, safely.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use libyaml_rs as sys;

use super::node::Style;

/// What comes next in the text. Its texts are libyaml's own, and gone with the next one. It is small, and texts are looked at
/// only when they are asked for: a file has hundreds of thousands of them.
pub(super) enum Event<'e> {
    /// Beginning or end of the stream or of a document; only the end of the stream matters.
    Frame,
    /// A document begins.
    DocumentStart,
    /// Nothing comes any more.
    StreamEnd,
    /// A reference to an anchor.
    Alias(RawText<'e>),
    /// Text.
    Scalar(RawScalar<'e>),
    /// A list begins.
    SequenceStart(Name<'e>),
    /// A mapping begins.
    MappingStart(Name<'e>),
    /// A list or a mapping ends.
    End,
}

/// What stands before a node.
#[derive(Clone, Copy)]
pub(super) struct Name<'e> {
    pub(super) anchor: RawText<'e>,
    pub(super) tag: RawText<'e>,
}

/// A text of libyaml's that may be absent.
#[derive(Clone, Copy)]
pub(super) struct RawText<'e> {
    /// Null, or a text that ends with a zero byte and lives for `'e`.
    pointer: *const u8,
    _event: PhantomData<&'e str>,
}

impl<'e> RawText<'e> {
    /// # Safety
    /// `pointer` is null or a text that ends with a zero byte and lives for `'e`.
    unsafe fn new(pointer: *const u8) -> Self {
        Self { pointer, _event: PhantomData }
    }

    /// The text, if there is one.
    pub(super) fn get(self) -> Option<Cow<'e, str>> {
        // SAFETY: as promised when it was made.
        (!self.pointer.is_null()).then(|| utf8(unsafe { CStr::from_ptr(self.pointer.cast()) }.to_bytes()))
    }
}

/// A scalar as libyaml has it.
#[derive(Clone, Copy)]
pub(super) struct RawScalar<'e> {
    pub(super) name: Name<'e>,
    pub(super) style: Style,
    bytes: &'e [u8],
}

impl<'e> RawScalar<'e> {
    /// Its text, quotes and escapes undone.
    pub(super) fn text(self) -> Cow<'e, str> {
        utf8(self.bytes)
    }
}

/// Places of an event: line and column from 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// The text is not YAML.
#[derive(Debug)]
pub(super) struct EventError {
    pub(super) problem: String,
    /// What was being read, and where that begins.
    pub(super) context: Option<(String, Mark)>,
    pub(super) at: Option<Mark>,
    /// The byte at which it is not even text.
    pub(super) offset: usize,
}

/// libyaml reading one text.
pub(super) struct Events<'a> {
    /// libyaml keeps pointers into this structure, so it must not move.
    parser: Box<MaybeUninit<sys::yaml_parser_t>>,
    _text: PhantomData<&'a str>,
}

impl<'a> Events<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut parser = Box::new(MaybeUninit::<sys::yaml_parser_t>::uninit());
        let pointer = parser.as_mut_ptr();
        // SAFETY: `pointer` is valid for writes and stays where it is as long as the box lives; `text` outlives `Self`.
        // `yaml_parser_initialize` fails only where memory is refused, which aborts before.
        unsafe {
            let _ = sys::yaml_parser_initialize(pointer);
            sys::yaml_parser_set_encoding(pointer, sys::YAML_UTF8_ENCODING);
            sys::yaml_parser_set_input_string(pointer, text.as_ptr(), text.len() as u64);
        }
        Self { parser, _text: PhantomData }
    }

    /// Hands the next event to `take`, with its beginning and end.
    #[inline]
    pub(super) fn next<R>(&mut self, take: impl FnOnce(Event<'_>, Mark, Mark) -> R) -> Result<R, EventError> {
        let parser = self.parser.as_mut_ptr();
        let mut event = MaybeUninit::<sys::yaml_event_t>::uninit();
        // SAFETY: `parser` was initialised in `new`; `yaml_parser_parse` initialises `event` where it does not fail, and then
        // `event` owns its texts until `yaml_event_delete`, after which nothing of it is used: `take` cannot keep what it is
        // lent. A `take` that panics leaks the event.
        unsafe {
            if sys::yaml_parser_parse(parser, event.as_mut_ptr()).fail {
                return Err(problem(&*parser));
            }
            let event = event.as_mut_ptr();
            let taken = take(view(&*event), mark((*event).start_mark), mark((*event).end_mark));
            sys::yaml_event_delete(event);
            Ok(taken)
        }
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, deleted once.
        unsafe { sys::yaml_parser_delete(self.parser.as_mut_ptr()) }
    }
}

fn mark(mark: sys::yaml_mark_t) -> Mark {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { line: number(mark.line), column: number(mark.column) }
}

/// # Safety
/// `parser` has just failed.
unsafe fn problem(parser: &sys::yaml_parser_t) -> EventError {
    // SAFETY: libyaml's problem and context are null or texts that live as long as the program.
    let text = |pointer: *const std::ffi::c_char| unsafe {
        if pointer.is_null() { String::new() } else { CStr::from_ptr(pointer.cast()).to_string_lossy().into_owned() }
    };
    let (problem, context) = (text(parser.problem.cast()), text(parser.context.cast()));
    let is_reader = parser.error == sys::YAML_READER_ERROR;
    let problem = if problem.is_empty() { "it is not YAML".to_owned() } else { problem };
    let context = (!context.is_empty()).then(|| (context, mark(parser.context_mark)));
    let offset = usize::try_from(parser.problem_offset).unwrap_or(usize::MAX);
    EventError { problem, context, at: (!is_reader).then(|| mark(parser.problem_mark)), offset }
}

/// # Safety
/// `event` was filled by libyaml and not yet deleted.
unsafe fn view(event: &sys::yaml_event_t) -> Event<'_> {
    // SAFETY: the member of the union is the one that the type names; its texts are null or end with a zero byte, a
    // scalar's has the length that stands beside it. All of them live as long as the event.
    unsafe {
        let name = |anchor, tag| Name { anchor: RawText::new(anchor), tag: RawText::new(tag) };
        match event.type_ {
            sys::YAML_STREAM_END_EVENT => Event::StreamEnd,
            sys::YAML_DOCUMENT_START_EVENT => Event::DocumentStart,
            sys::YAML_ALIAS_EVENT => Event::Alias(RawText::new(event.data.alias.anchor)),
            sys::YAML_SCALAR_EVENT => {
                let scalar = &event.data.scalar;
                let length = usize::try_from(scalar.length).unwrap_or(0);
                Event::Scalar(RawScalar {
                    name: name(scalar.anchor, scalar.tag),
                    style: match scalar.style {
                        sys::YAML_PLAIN_SCALAR_STYLE => Style::Plain,
                        sys::YAML_LITERAL_SCALAR_STYLE | sys::YAML_FOLDED_SCALAR_STYLE => Style::Block,
                        _ => Style::Quoted,
                    },
                    bytes: std::slice::from_raw_parts(scalar.value, length),
                })
            }
            sys::YAML_SEQUENCE_START_EVENT => {
                let sequence = &event.data.sequence_start;
                Event::SequenceStart(name(sequence.anchor, sequence.tag))
            }
            sys::YAML_MAPPING_START_EVENT => {
                let mapping = &event.data.mapping_start;
                Event::MappingStart(name(mapping.anchor, mapping.tag))
            }
            sys::YAML_SEQUENCE_END_EVENT | sys::YAML_MAPPING_END_EVENT => Event::End,
            _ => Event::Frame,
        }
    }
}

/// Bytes as text. libyaml has checked them: they are copied only where it let something through.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
