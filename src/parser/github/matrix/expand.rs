//! Vectors, `include` and `exclude` to combinations.

use crate::parser::expression::Value;

/// The most combinations a matrix may have.
pub const LIMIT: usize = 256;

/// A matrix, evaluated.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    vectors: Vec<(String, Vec<Value>)>,
    include: Vec<Entry>,
    exclude: Vec<Entry>,
}

type Entry = Vec<(String, Value)>;

/// One combination: keys and values in order.
#[derive(Clone, Debug, Default)]
pub struct Combination {
    /// The keys and their values.
    pub values: Vec<(String, Value)>,
}

/// A matrix that gives no jobs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// It is no mapping of lists.
    #[error("the matrix {0}")]
    Form(String),
    /// A vector is empty.
    #[error("Matrix vector '{0}' does not contain any values")]
    EmptyVector(String),
    /// There is neither a vector nor an include.
    #[error("Matrix must define at least one vector")]
    Nothing,
    /// An entry of `include` is empty.
    #[error("Matrix include mapping does not contain any values")]
    EmptyInclude,
    /// An entry of `exclude` is empty.
    #[error("Matrix exclude filter must not be empty")]
    EmptyExclude,
    /// An entry of `exclude` has a key that is none of the matrix.
    #[error("Matrix exclude key '{0}' does not match any key within the matrix")]
    UnknownExclude(String),
    /// There are too many combinations.
    #[error("the matrix has more than {LIMIT} combinations")]
    TooMany,
}

impl Matrix {
    /// The matrix that a value describes.
    pub fn of(value: &Value) -> Result<Self, MatrixError> {
        let Value::Object(object) = value else {
            return Err(MatrixError::Form(format!("must be a mapping of lists, not {}", value.kind())));
        };
        let mut matrix = Matrix::default();
        let mut has_vector = false;
        for (key, value) in object.entries() {
            match &**key {
                "include" => matrix.include = entries("include", value)?,
                "exclude" => matrix.exclude = entries("exclude", value)?,
                name => {
                    has_vector = true;
                    let Value::Array(items) = value else {
                        return Err(MatrixError::Form(format!(
                            "has `{name}`, which must be a list, not {}",
                            value.kind()
                        )));
                    };
                    if items.is_empty() {
                        return Err(MatrixError::EmptyVector(name.to_owned()));
                    }
                    matrix.vectors.push((name.to_owned(), items.to_vec()));
                }
            }
        }
        if !has_vector && matrix.include.is_empty() {
            return Err(MatrixError::Nothing);
        }
        if matrix.include.iter().any(Vec::is_empty) {
            return Err(MatrixError::EmptyInclude);
        }
        matrix.check_exclude()?;
        Ok(matrix)
    }

    /// Whether there are certainly more combinations than a matrix may have. Where `exclude` has much to take away this is
    /// not counted.
    pub fn has_too_many(&self) -> bool {
        let mut size = usize::from(!self.vectors.is_empty());
        for (_, values) in &self.vectors {
            size = size.saturating_mul(values.len());
        }
        if self.exclude.is_empty() && size > LIMIT {
            return true;
        }
        size <= COUNTED && size.saturating_add(self.include.len()) > LIMIT && self.combinations().is_err()
    }

    fn check_exclude(&self) -> Result<(), MatrixError> {
        for entry in &self.exclude {
            if entry.is_empty() {
                return Err(MatrixError::EmptyExclude);
            }
            if let Some((key, _)) = entry.iter().find(|(key, _)| !self.has_vector(key)) {
                return Err(MatrixError::UnknownExclude(key.clone()));
            }
        }
        Ok(())
    }

    fn has_vector(&self, key: &str) -> bool {
        self.vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key))
    }

    /// The combinations in the order of the legs: the product, the last vector changing fastest, then what `include` adds.
    pub fn combinations(&self) -> Result<Vec<Combination>, MatrixError> {
        let mut size = usize::from(!self.vectors.is_empty());
        for (_, values) in &self.vectors {
            size = size.checked_mul(values.len()).filter(|size| *size <= PRODUCT_LIMIT).ok_or(MatrixError::TooMany)?;
        }
        let mut all = Vec::new();
        let mut has_joined = vec![false; self.include.len()];
        for index in 0..size {
            let mut combination = self.product(index, size);
            if self.exclude.iter().any(|entry| entry.iter().all(|(key, value)| combination.has(key, value))) {
                continue;
            }
            let originals = combination.values.len();
            for (entry, joined) in self.include.iter().zip(&mut has_joined) {
                let fits = |(key, value): &(String, Value)| !self.has_vector(key) || combination.has(key, value);
                if entry.iter().all(fits) {
                    *joined = true;
                    combination.join(entry, originals);
                }
            }
            all.push(combination);
        }
        let alone = self.include.iter().zip(&has_joined).filter(|(_, joined)| !**joined);
        all.extend(alone.map(|(entry, _)| Combination { values: entry.clone() }));
        if all.len() > LIMIT { Err(MatrixError::TooMany) } else { Ok(all) }
    }

    /// Combination `index` of the product of `size`.
    fn product(&self, index: usize, size: usize) -> Combination {
        let mut block = size;
        let values = self.vectors.iter().filter_map(|(name, values)| {
            block /= values.len();
            values.get(index / block % values.len()).map(|value| (name.clone(), value.clone()))
        });
        Combination { values: values.collect() }
    }
}

/// Of a product up to this, what `exclude` leaves is counted before the run.
const COUNTED: usize = 1_024;

/// Of a product larger than this, `exclude` would have to take away so much that it is refused unseen.
const PRODUCT_LIMIT: usize = 1 << 16;

impl Combination {
    /// The value of a key, whatever its case.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    fn has(&self, key: &str, wanted: &Value) -> bool {
        matches(self.get(key).unwrap_or(&Value::Null), wanted)
    }

    /// Adds what an entry of `include` brings beside the first `originals` values.
    fn join(&mut self, entry: &Entry, originals: usize) {
        for (key, value) in entry {
            match self.values.iter().position(|(name, _)| name.eq_ignore_ascii_case(key)) {
                Some(at) if at < originals => {}
                Some(at) => {
                    if let Some(known) = self.values.get_mut(at) {
                        known.1 = value.clone();
                    }
                }
                None => self.values.push((key.clone(), value.clone())),
            }
        }
    }
}

/// Whether each leaf of `wanted` is the same in `found`, as `==` compares them.
fn matches(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted.entries().iter().all(|(key, wanted)| match found {
            Value::Object(found) => matches(found.get(key).unwrap_or(&Value::Null), wanted),
            _ => matches(&Value::Null, wanted),
        }),
        Value::Array(wanted) => wanted.iter().enumerate().all(|(at, wanted)| match found {
            Value::Array(found) => matches(found.get(at).unwrap_or(&Value::Null), wanted),
            _ => matches(&Value::Null, wanted),
        }),
        leaf => is_equal(found, leaf),
    }
}

fn entries(name: &str, value: &Value) -> Result<Vec<Entry>, MatrixError> {
    let form = |value: &Value| {
        MatrixError::Form(format!("has `{name}`, which must be a list of mappings, not {}", value.kind()))
    };
    let items = match value {
        Value::Array(items) => items,
        // `include: ${{ ... }}` that came to nothing.
        Value::Null => return Ok(Vec::new()),
        other => return Err(form(other)),
    };
    items
        .iter()
        .map(|item| match item {
            Value::Object(object) => {
                Ok(object.entries().iter().map(|(key, value)| (key.to_string(), value.clone())).collect::<Entry>())
            }
            other => Err(form(other)),
        })
        .collect()
}

/// `==` of two values that are neither lists nor mappings on the right.
fn is_equal(found: &Value, leaf: &Value) -> bool {
    match (found, leaf) {
        (Value::Text(a), Value::Text(b)) => a == b || a.to_uppercase() == b.to_uppercase(),
        (Value::Null, Value::Null) => true,
        (found, leaf) => found.is_primitive() && found.to_number() == leaf.to_number(),
    }
}
