//! Nodes behind those they point to.

/// The nodes in such an order that each comes after those it points to, else as they are; or a circle. A node that points
/// to itself is none.
///
/// Tarjan's way without recursion: a chain of references may be as long as the file is.
pub(super) fn children_first(edges: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut walk = Walk { edges, number: vec![None; edges.len()], low: vec![0; edges.len()], ..Walk::default() };
    for node in 0..edges.len() {
        if walk.number.get(node).is_some_and(Option::is_none) {
            walk.from(node)?;
        }
    }
    Ok(walk.order)
}

#[derive(Default)]
struct Walk<'a> {
    edges: &'a [Vec<usize>],
    number: Vec<Option<usize>>,
    low: Vec<usize>,
    open: Vec<usize>,
    order: Vec<usize>,
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

    fn from(&mut self, start: usize) -> Result<(), Vec<usize>> {
        let mut path = vec![(start, 0)];
        self.enter(start);
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            let Some(&child) = self.edges[node].get(*next) else {
                path.pop();
                if let Some((parent, _)) = path.last() {
                    self.low[*parent] = self.low[*parent].min(self.low[node]);
                }
                self.leave(node)?;
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
        Ok(())
    }

    fn leave(&mut self, node: usize) -> Result<(), Vec<usize>> {
        if self.number[node] != Some(self.low[node]) {
            return Ok(());
        }
        let begin = self.open.iter().rposition(|open| *open == node).unwrap_or(0);
        let component = self.open.split_off(begin);
        if component.len() > 1 {
            return Err(component);
        }
        self.number[node] = Some(usize::MAX);
        self.order.push(node);
        Ok(())
    }
}
