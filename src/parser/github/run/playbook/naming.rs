//! Names of jobs as they are shown. The forge tells jobs apart by their ids and may show several by one name; here a name is
//! what a job is known by in plans, events and logs, so that it is given once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use smol_str::SmolStr;

/// The names that were given, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    given: HashMap<SmolStr, Owner>,
}

/// A job by the keys that lead to it, and its number in its matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    /// Joined by `/`, which no key has in it.
    path: SmolStr,
    index: Option<u32>,
}

impl Naming {
    /// No names yet, and room for as many.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { given: HashMap::with_capacity(names) }
    }

    /// The name of a job that is shown as `shown`: that, unless another job has it. Who asks again gets the same.
    pub(super) fn give(&mut self, shown: String, path: &[String], index: Option<u32>) -> String {
        let path = if let [only] = path { SmolStr::new(only) } else { path.join("/").into() };
        let owner = Owner { path, index };
        let first = match self.given.get(shown.as_str()) {
            None => {
                self.given.insert(SmolStr::new(&shown), owner);
                return shown;
            }
            Some(first) if *first == owner => return shown,
            Some(first) => first,
        };
        let leg = index.map(|index| format!("leg {}", index + 1));
        let of_same_job = first.path == owner.path;
        let parts = [Some(owner.path.to_string()).filter(|_| !of_same_job), leg.filter(|_| of_same_job)];
        let mark = parts.into_iter().flatten().next().unwrap_or_else(|| owner.path.to_string());
        self.numbered(&format!("{shown} ({mark})"), owner)
    }

    /// The name, or with the first number after it that makes it free.
    fn numbered(&mut self, name: &str, owner: Owner) -> String {
        let mut number = 1_u32;
        loop {
            let tried = if number == 1 { name.to_owned() } else { format!("{name} {number}") };
            match self.given.entry(tried.into()) {
                Entry::Vacant(free) => {
                    let name = free.key().to_string();
                    free.insert(owner);
                    return name;
                }
                Entry::Occupied(known) if *known.get() == owner => return known.key().to_string(),
                Entry::Occupied(_) => number = number.saturating_add(1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(naming: &mut Naming, shown: &str, path: &[&str], index: Option<u32>) -> String {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        naming.give(shown.to_owned(), &path, index)
    }

    #[test]
    fn only_a_name_that_is_taken_gets_a_mark() {
        let mut naming = Naming::default();
        assert_eq!(give(&mut naming, "Build", &["a"], None), "Build");
        assert_eq!(give(&mut naming, "Build", &["b"], None), "Build (b)");
        assert_eq!(give(&mut naming, "Build", &["a"], None), "Build", "it is the same job");
        assert_eq!(give(&mut naming, "Build", &["b"], None), "Build (b)");
        assert_eq!(give(&mut naming, "m (1)", &["m"], Some(0)), "m (1)");
        assert_eq!(give(&mut naming, "m (1)", &["m"], Some(1)), "m (1) (leg 2)");
        assert_eq!(give(&mut naming, "x / i", &["c", "i"], None), "x / i");
        assert_eq!(give(&mut naming, "x / i", &["d", "i"], None), "x / i (d/i)");
        assert_eq!(give(&mut naming, "Build (c)", &["other"], None), "Build (c)");
        assert_eq!(give(&mut naming, "Build", &["c"], None), "Build (c) 2");
        assert_eq!(give(&mut naming, "Build", &["n"], Some(0)), "Build (n)");
        assert_eq!(give(&mut naming, "Build", &["n"], Some(1)), "Build (n) 2");
    }
}
