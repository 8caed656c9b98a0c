//! Durations for people.

use std::time::Duration;

/// `1h10m0s`, as Go prints durations and GitLab's users read them, in whole seconds.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        assert_eq!(in_words(Duration::from_secs(3)), "3s");
        assert_eq!(in_words(Duration::from_secs(600)), "10m0s");
        assert_eq!(in_words(Duration::from_secs(4200)), "1h10m0s");
    }
}
