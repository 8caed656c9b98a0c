//! Where nodes wait until the list or mapping they stand in ends.

use std::sync::Arc;

use super::node::{Entry, Node};

/// What stands in the open lists and mappings so far, the innermost's last; keys and values take turns. One pile for all of
/// them: each gets its own memory once, when it ends and its size is known.
#[derive(Default)]
pub(super) struct Pile(Vec<Node>);

// What `Pile::cut` relies on.
const _: () = assert!(size_of::<Entry>() == 2 * size_of::<Node>() && align_of::<Entry>() == align_of::<Node>());

impl Pile {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn last(&self) -> Option<&Node> {
        self.0.last()
    }

    pub(super) fn push(&mut self, node: Node) {
        self.0.push(node);
    }

    /// What lies from `from` on, as a list.
    pub(super) fn list(&mut self, from: usize) -> Arc<[Node]> {
        // SAFETY: a node is laid out like a node.
        unsafe { self.cut(from) }
    }

    /// What lies from `from` on, as keys with their values. A key without a value at the end is dropped.
    pub(super) fn entries(&mut self, from: usize) -> Arc<[Entry]> {
        // SAFETY: `Entry` has the layout that C gives two nodes, key and value, one after the other.
        unsafe { self.cut(from) }
    }

    /// Takes what lies from `from` on, all in one piece: one by one, through an iterator, takes twice as long, and every node of
    /// a file passes here.
    ///
    /// # Safety
    /// A `T` is laid out like so many nodes one after the other as its size has room for.
    unsafe fn cut<T>(&mut self, from: usize) -> Arc<[T]> {
        let each = size_of::<T>() / size_of::<Node>();
        let from = from.min(self.0.len());
        let count = (self.0.len() - from) / each;
        self.0.truncate(from + count * each);
        let mut out = Arc::<[T]>::new_uninit_slice(count);
        if let Some(slots) = Arc::get_mut(&mut out) {
            // SAFETY: behind `from` lie `count * each` nodes, which are `count` of `T` by the caller's word; the new memory has
            // room for these and nobody else knows it. They are moved: the pile ends before them from here on.
            unsafe {
                self.0.set_len(from);
                let nodes = self.0.as_ptr().add(from).cast::<T>();
                std::ptr::copy_nonoverlapping(nodes, slots.as_mut_ptr().cast::<T>(), count);
            }
        }
        // SAFETY: nobody else had a just made `Arc`, so all of it was filled above.
        unsafe { out.assume_init() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::document::{FileId, Span};

    fn pile(texts: &[&str]) -> Pile {
        let mut pile = Pile::default();
        for text in texts {
            pile.push(Node::text(*text, Span::start_of(FileId(0))));
        }
        pile
    }

    fn text(node: &Node) -> &str {
        node.as_scalar().map_or("", |scalar| &scalar.text)
    }

    #[test]
    fn the_innermost_are_taken_and_the_others_stay() {
        let long = "longer than what a node holds in itself, so that it has memory of its own";
        let mut pile = pile(&["outer", "key", "value", long, "last"]);
        let entries = pile.entries(1);
        let pairs: Vec<_> = entries.iter().map(|entry| (text(&entry.key), text(&entry.value))).collect();
        assert_eq!(pairs, [("key", "value"), (long, "last")]);
        assert_eq!(pile.len(), 1);
        let list = pile.list(0);
        assert_eq!(list.iter().map(text).collect::<Vec<_>>(), ["outer"]);
        assert_eq!(pile.len(), 0);
        drop((entries, list));
        assert_eq!(pile.list(7).len(), 0);
    }

    #[test]
    fn a_key_without_a_value_is_dropped() {
        let mut pile = pile(&["key", "value", "alone"]);
        assert_eq!(pile.entries(0).len(), 1);
        assert_eq!(pile.len(), 0);
    }
}
