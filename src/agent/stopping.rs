//! How far the agent has been told to stop.

/// How far the agent has been told to stop. Only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopping {
    /// It serves.
    No,
    /// It takes no more jobs; those that run go on to their end.
    Drain,
    /// Running jobs are cancelled, tidily: after-steps and reports still happen.
    Cancel,
    /// It ends at once. Sandboxes run on, and the next agent takes them up.
    Now,
}

impl Stopping {
    /// One step further.
    pub fn once_more(self) -> Self {
        match self {
            Stopping::No => Stopping::Drain,
            Stopping::Drain => Stopping::Cancel,
            Stopping::Cancel | Stopping::Now => Stopping::Now,
        }
    }

    /// What `status` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stopping::No => "serving",
            Stopping::Drain => "draining",
            Stopping::Cancel => "cancelling",
            Stopping::Now => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_goes_one_step_further_and_never_back() {
        let mut stopping = Stopping::No;
        for expected in [Stopping::Drain, Stopping::Cancel, Stopping::Now, Stopping::Now] {
            assert!(stopping.once_more() >= stopping);
            stopping = stopping.once_more();
            assert_eq!(stopping, expected);
        }
    }
}
