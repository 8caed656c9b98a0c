//! Nodes behind those they point to.

use std::collections::{HashMap, VecDeque};

/// The nodes in such an order that each comes after those it points to, else as they are; or circles, one of each knot, from
/// its first node on. A node that points to itself is none.
///
/// Tarjan's way without recursion: a chain of references may be as long as the file is.
pub(super) fn children_first(edges: &[Vec<usize>]) -> Result<Vec<usize>, Vec<Vec<usize>>> {
    let mut walk = Walk { edges, number: vec![None; edges.len()], low: vec![0; edges.len()], ..Walk::default() };
    for node in 0..edges.len() {
        if walk.number.get(node).is_some_and(Option::is_none) {
            walk.from(node);
        }
    }
    if walk.knots.is_empty() {
        return Ok(walk.order);
    }
    let mut circles: Vec<Vec<usize>> = walk.knots.iter().map(|knot| circle(edges, knot)).collect();
    circles.sort_unstable();
    Err(circles)
}

/// The shortest way from the first node of a knot back to it.
fn circle(edges: &[Vec<usize>], knot: &[usize]) -> Vec<usize> {
    let Some(first) = knot.iter().copied().min() else { return Vec::new() };
    // Where each node of the knot was reached from.
    let mut from: HashMap<usize, Option<usize>> = knot.iter().map(|node| (*node, None)).collect();
    let mut waiting = VecDeque::from([first]);
    while let Some(node) = waiting.pop_front() {
        for child in edges.get(node).into_iter().flatten().copied() {
            if child == first && node != first {
                let mut way: Vec<usize> = std::iter::successors(Some(node), |node| *from.get(node)?).collect();
                way.reverse();
                return way;
            }
            if child != first
                && let Some(reached @ None) = from.get_mut(&child)
            {
                *reached = Some(node);
                waiting.push_back(child);
            }
        }
    }
    knot.to_vec()
}

#[derive(Default)]
struct Walk<'a> {
    edges: &'a [Vec<usize>],
    number: Vec<Option<usize>>,
    low: Vec<usize>,
    open: Vec<usize>,
    order: Vec<usize>,
    /// Nodes that reach each other, more than one.
    knots: Vec<Vec<usize>>,
    count: usize,
}

// Every index is a node, and the lists have one entry a node.
impl Walk<'_> {
    fn enter(&mut self, node: usize) {
        self.number[node] = Some(self.count);
        self.low[node] = self.count;
        self.count += 1;
        self.open.push(node);
    }

    fn from(&mut self, start: usize) {
        let mut path = vec![(start, 0)];
        self.enter(start);
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(&child) = self.edges[node].get(*next) else {
                path.pop();
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[node]);
                }
                self.leave(node);
                continue;
            };
            *next += 1;
            match self.number[child] {
                None => {
                    self.enter(child);
                    path.push((child, 0));
                }
                // Done ones are in no open component.
                Some(number) if number != usize::MAX => self.low[node] = self.low[node].min(number),
                Some(_) => {}
            }
        }
    }

    fn leave(&mut self, node: usize) {
        if self.number[node] != Some(self.low[node]) {
            return;
        }
        let begin = self.open.iter().rposition(|open| *open == node).unwrap_or(0);
        let component = self.open.split_off(begin);
        for node in &component {
            self.number[*node] = Some(usize::MAX);
        }
        if component.len() > 1 {
            self.knots.push(component);
        } else {
            self.order.push(node);
        }
    }
}
