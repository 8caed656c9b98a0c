//! What a definition of the schema is.

use super::scope::ScopeSet;

/// What may stand in a place.
#[derive(Debug)]
pub struct Def {
    /// What expressions may use here, besides what they may further out.
    pub scope: ScopeSet,
    /// The shape.
    pub shape: Shape,
}

/// The shape of a value.
#[derive(Debug)]
pub enum Shape {
    /// Nothing.
    Null,
    /// A truth.
    Bool,
    /// A number.
    Number,
    /// Any text.
    Text,
    /// Text that is not empty.
    NonEmpty,
    /// One of these texts.
    Words(&'static [&'static str]),
    /// A list of such.
    Sequence(&'static Def),
    /// Keys and values.
    Mapping(&'static MappingDef),
    /// One of these.
    OneOf(&'static [&'static Def]),
}

/// Keys and values.
#[derive(Debug)]
pub struct MappingDef {
    /// The known keys.
    pub properties: &'static [Property],
    /// What other keys may hold, where there may be other keys; they are not empty.
    pub others: Option<&'static Def>,
}

/// A known key.
#[derive(Debug)]
pub struct Property {
    /// The key.
    pub name: &'static str,
    /// What it holds.
    pub def: &'static Def,
    /// Whether it must be there.
    pub required: bool,
}

impl Def {
    /// A shape without a scope of its own.
    pub const fn of(shape: Shape) -> Self {
        Self { scope: ScopeSet::NONE, shape }
    }

    /// A shape in which expressions may use `scope` too.
    pub const fn with(scope: ScopeSet, shape: Shape) -> Self {
        Self { scope, shape }
    }

    /// What a list may hold here.
    pub(super) fn sequence(&self) -> Option<&'static Def> {
        let of = |def: &Def| if let Shape::Sequence(item) = def.shape { Some(item) } else { None };
        match self.shape {
            Shape::OneOf(choices) => choices.iter().find_map(|choice| of(choice)),
            _ => of(self),
        }
    }

    /// The mappings that may stand here.
    pub(super) fn mappings(&self) -> Mappings {
        let mut all = Mappings::default();
        match self.shape {
            Shape::Mapping(mapping) => all.push(mapping),
            Shape::OneOf(choices) => choices.iter().for_each(|choice| {
                if let Shape::Mapping(mapping) = choice.shape {
                    all.push(mapping);
                }
            }),
            _ => {}
        }
        all
    }

    /// Whether one of the scalar shapes that may stand here satisfies `test`.
    pub(super) fn any_scalar(&self, test: &dyn Fn(&Shape) -> bool) -> bool {
        match self.shape {
            Shape::OneOf(choices) => choices.iter().any(|choice| choice.any_scalar(test)),
            ref shape => test(shape),
        }
    }

    /// The words that may stand here.
    pub(super) fn words(&self, into: &mut Vec<&'static str>) {
        match self.shape {
            Shape::Words(words) => into.extend(words),
            Shape::OneOf(choices) => choices.iter().for_each(|choice| choice.words(into)),
            _ => {}
        }
    }
}

/// The mappings that a place allows: never more than a step has kinds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mappings {
    all: [Option<&'static MappingDef>; 6],
}

impl Mappings {
    fn push(&mut self, mapping: &'static MappingDef) {
        if let Some(free) = self.all.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(mapping);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static MappingDef> {
        self.all.into_iter().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The one that is left, where it is one.
    pub(super) fn only(&self) -> Option<&'static MappingDef> {
        let mut left = self.iter();
        left.next().filter(|_| left.next().is_none())
    }

    /// The property of this name; mappings without it are out from now on.
    pub(super) fn take(&mut self, name: &str) -> Option<&'static Property> {
        let found = self.iter().find_map(|mapping| mapping.property(name))?;
        for slot in &mut self.all {
            *slot = slot.filter(|mapping| mapping.property(name).is_some());
        }
        Some(found)
    }
}

impl MappingDef {
    /// The known key of this name.
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties.iter().find(|property| property.name == name)
    }
}
