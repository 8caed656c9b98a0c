//! `forgehand logs JOB`: what a job printed, while it runs and for some days after its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::{Verdict, block_on, render};
use crate::config::Locations;
use crate::state::logs::LogSource;
use crate::state::{JobPhase, JobRecord, Journal, StateDir};

/// How long a follower waits for growth before it looks whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Arguments of `forgehand logs`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  forgehand logs 4711\n  forgehand logs 4711 --follow | grep -i error\n\n\
                  It is the log as the forge gets it: masked, with the time stamps and section markers that GitLab's pages \
                  make use of. Logs of ended jobs are kept for `state.keep_logs`, 7 days unless configured.")]
pub struct LogsArgs {
    /// The job: its number at the forge, or its key as `forgehand status --json` shows it.
    job: String,
    /// Go on until the job has ended.
    #[arg(short, long)]
    follow: bool,
}

/// Runs `forgehand logs`.
pub fn run(args: &LogsArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let dir = StateDir::at(&locations.state_dir);
    let journal = match Journal::open_to_read(&dir, jiff::Timestamp::now) {
        Ok(Some(journal)) => journal,
        Ok(None) => {
            let message = format!("no job has run with the state directory {}", dir.root().display());
            return Ok(render::failed(&message, Verdict::Failed));
        }
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    let found = match block_on(journal.find(&args.job))? {
        Ok(found) => found,
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    let Some(job) = choose(&found) else {
        let message = format!("job `{}` is not known here; `forgehand status` lists the last ones", args.job);
        return Ok(render::failed(&message, Verdict::Failed));
    };
    Ok(match print(&journal, job, args.follow, &mut io::stdout().lock()) {
        Ok(Printed::All) => Verdict::Success,
        Ok(Printed::Nothing) => render::failed(&absent(job), Verdict::Failed),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Verdict::Success,
        Err(error) => {
            render::failed(&format!("the log of job {} cannot be read: {error}", job.id), Verdict::Environment)
        }
    })
}

/// The newest of the jobs that the name may mean; says so when it had a choice.
fn choose(found: &[JobRecord]) -> Option<&JobRecord> {
    let newest = found.first()?;
    if found.len() > 1 {
        eprintln!(
            "note: {} jobs are meant; this is the newest, `{}` of {}",
            found.len(),
            newest.key,
            newest.registration
        );
    }
    Some(newest)
}

fn absent(job: &JobRecord) -> String {
    match job.phase {
        JobPhase::Acknowledged => format!("the log of job {} is not kept any more (see `state.keep_logs`)", job.id),
        JobPhase::Accepted | JobPhase::Running | JobPhase::Ended => format!("job {} has printed nothing yet", job.id),
    }
}

/// What came of printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printed {
    All,
    Nothing,
}

fn print(journal: &Journal, job: &JobRecord, follow: bool, out: &mut impl Write) -> io::Result<Printed> {
    loop {
        match journal.logs().open(&job.key)? {
            Some(LogSource::Growing(mut file)) if follow => self::follow(&mut file, out)?,
            Some(LogSource::Growing(mut file)) => drop(io::copy(&mut file, out)?),
            Some(LogSource::Complete(mut log)) => drop(io::copy(&mut log, out)?),
            None if follow && job.phase != JobPhase::Acknowledged && journal.dir().job(&job.key).exists() => {
                std::thread::sleep(Duration::from_millis(200)); // it has not begun to print
                continue;
            }
            None => return Ok(Printed::Nothing),
        }
        out.flush()?;
        return Ok(Printed::All);
    }
}

/// Copies what is there and what comes, until the file's name is gone: the agent removes it when the job is closed, and
/// not before everything is in it.
fn follow(file: &mut File, out: &mut impl Write) -> io::Result<()> {
    let growth = Growth::of(file)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Looked at before reading: what was written before the name went is read below.
        let is_closed = file.metadata()?.nlink() == 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            out.write_all(&buffer[..read])?;
        }
        out.flush()?;
        if is_closed {
            return Ok(());
        }
        growth.wait()?;
    }
}

/// Wakes when a file grows or loses its name.
struct Growth {
    events: rustix::fd::OwnedFd,
}

impl Growth {
    fn of(file: &File) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        use std::os::fd::AsRawFd;
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        inotify::add_watch(&events, path, WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF)?;
        Ok(Self { events })
    }

    fn wait(&self) -> io::Result<()> {
        let limit = Timespec { tv_sec: LOOK_EVERY.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut [PollFd::new(&self.events, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = [0; 4096];
        match rustix::io::read(&self.events, &mut events) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;
    use crate::pipeline::JobOutcome;
    use crate::state::journal::tests_support::{assignment, journal};

    /// What has been printed so far; can be waited for.
    #[derive(Clone, Default)]
    struct Screen(Arc<(Mutex<Vec<u8>>, Condvar)>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.0.lock().unwrap().extend_from_slice(bytes);
            self.0.1.notify_all();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn shows(&self, text: &str) {
            let shown = self.0.0.lock().unwrap();
            let limit = Duration::from_secs(60);
            let (shown, waited) =
                self.0.1.wait_timeout_while(shown, limit, |shown| shown.as_slice() != text.as_bytes()).unwrap();
            assert!(!waited.timed_out(), "{:?}", String::from_utf8_lossy(&shown));
        }
    }

    #[test]
    fn a_follower_sees_each_piece_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let job = assignment("42", "t");
        block_on(async { journal.accept(&job, "r").await.unwrap() }).unwrap();
        let record = block_on(journal.find("42")).unwrap().unwrap().remove(0);
        let path = journal.dir().job_log(&job.key);
        std::fs::write(&path, "one ").unwrap();
        let screen = Screen::default();
        let (reader, mut to) = (journal.clone(), screen.clone());
        let follower = std::thread::spawn(move || print(&reader, &record, true, &mut to).unwrap());
        screen.shows("one ");
        let mut log = File::options().append(true).open(&path).unwrap();
        log.write_all(b"two ").unwrap();
        screen.shows("one two ");
        log.write_all(b"three").unwrap();
        block_on(async {
            journal.job(&job.key).set_outcome(&JobOutcome::Success).await.unwrap();
            journal.job(&job.key).close().await.unwrap();
        })
        .unwrap();
        drop(log);
        assert_eq!(follower.join().unwrap(), Printed::All);
        screen.shows("one two three");

        let record = block_on(journal.find("42")).unwrap().unwrap().remove(0);
        let mut after = Vec::new();
        assert_eq!(print(&journal, &record, true, &mut after).unwrap(), Printed::All);
        assert_eq!(after, b"one two three");
        std::fs::remove_file(journal.dir().kept_log(&job.key)).unwrap();
        assert_eq!(print(&journal, &record, false, &mut after).unwrap(), Printed::Nothing);
    }
}
