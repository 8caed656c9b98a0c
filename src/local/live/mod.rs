//! The live view of a run on a terminal: what ended stands above, what goes on below, a line a job and one for all.
//!
//! Whoever tells it what happens never waits for the terminal: lines are queued, a thread draws. [`board`]: what is shown.
//! [`text`]: what of a job's words gets to the terminal. [`screen`]: where it is drawn.

pub mod board;
mod screen;
pub mod text;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use board::Board;
use screen::{Handle, Screen};

pub use screen::{AskSize, Size};

/// How often it is drawn.
const PACE: Duration = Duration::from_millis(100);
/// When so many lines wait, who brings another one draws.
const MOST_WAITING: usize = 4096;
/// How many lines are kept while the terminal is somebody else's.
const MOST_KEPT: usize = 10_000;

/// The view.
pub struct Live {
    view: Arc<View>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct View {
    state: Mutex<State>,
    /// There is something to draw, or it is over.
    bell: Condvar,
    /// Held by whoever writes to the terminal.
    brush: Mutex<Brush>,
    screen: Arc<Screen>,
}

struct State {
    board: Board,
    /// Lines that stay.
    above: VecDeque<String>,
    /// Lines that there was no room for.
    lost: usize,
    has_begun: bool,
    is_over: bool,
}

struct Brush {
    bar: ProgressBar,
    /// The terminal is somebody else's.
    lent: usize,
    /// Something stands below.
    has_drawn: bool,
}

impl Live {
    /// A view on `out`, a terminal with the cursor at the beginning of a line. Nothing is drawn before something begins.
    pub fn new(out: Box<dyn Write + Send>, size: Box<AskSize>, color: bool) -> Self {
        let screen = Arc::new(Screen::new(out, size));
        let target = ProgressDrawTarget::term_like(Box::new(Handle(Arc::clone(&screen))));
        let bar = ProgressBar::with_draw_target(None, target);
        // A template that is one placeholder has no errors.
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let board = Board::new(Instant::now(), color);
        let state = State { board, above: VecDeque::new(), lost: 0, has_begun: false, is_over: false };
        let view = Arc::new(View {
            state: Mutex::new(state),
            bell: Condvar::new(),
            brush: Mutex::new(Brush { bar, lent: 0, has_drawn: false }),
            screen,
        });
        let painter = Arc::clone(&view);
        let thread = std::thread::Builder::new().name("live-view".to_owned()).spawn(move || painter.paint());
        // Without a thread, lines are drawn by who brings them when enough wait, and at the end.
        Self { view, thread: Mutex::new(thread.ok()) }
    }

    /// Changes what is shown below.
    pub fn show(&self, change: impl FnOnce(&mut Board, Instant)) {
        let mut state = self.view.state();
        state.has_begun = true;
        change(&mut state.board, Instant::now());
    }

    /// Adds lines that stay. They must be tame.
    pub fn print(&self, lines: impl IntoIterator<Item = String>) {
        let must_draw = {
            let mut state = self.view.state();
            state.above.extend(lines);
            state.above.len() > MOST_WAITING
        };
        if must_draw {
            self.view.draw();
        }
    }

    /// Takes the view off the terminal until what comes back is dropped; lines wait meanwhile.
    pub fn lend(&self) -> Lent {
        self.view.draw();
        let mut brush = self.view.brush();
        brush.lent += 1;
        if std::mem::take(&mut brush.has_drawn) {
            self.view.screen.print(&[]);
        }
        drop(brush);
        Lent { view: Arc::clone(&self.view) }
    }

    /// Draws what is left and takes the view off the terminal.
    pub fn finish(&self) {
        self.view.state().is_over = true;
        self.view.bell.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.view.draw();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The terminal without the view.
pub struct Lent {
    view: Arc<View>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.view.brush().lent -= 1;
        self.view.draw();
    }
}

impl View {
    fn paint(&self) {
        loop {
            let state = self.state();
            let (state, _) = self
                .bell
                .wait_timeout_while(state, PACE, |state| !state.is_over)
                .unwrap_or_else(PoisonError::into_inner);
            if state.is_over {
                return;
            }
            drop(state);
            self.draw();
        }
    }

    fn draw(&self) {
        let mut brush = self.brush();
        let size = self.screen.size();
        let (above, below) = {
            let mut state = self.state();
            if brush.lent > 0 {
                let too_many = state.above.len().saturating_sub(MOST_KEPT);
                state.above.drain(..too_many);
                state.lost += too_many;
                return;
            }
            let lost = std::mem::take(&mut state.lost);
            let note = (lost > 0).then(|| format!("({lost} lines left out)"));
            let above: Vec<String> = note.into_iter().chain(state.above.drain(..)).collect();
            let (columns, rows) =
                (usize::from(size.columns.saturating_sub(1)), usize::from(size.rows.saturating_sub(1)));
            let below = match state.has_begun && !state.is_over {
                true => state.board.lines(Instant::now(), columns, rows),
                false => Vec::new(),
            };
            (above, below)
        };
        if !above.is_empty() || below.is_empty() && brush.has_drawn {
            self.screen.print(&above);
        }
        brush.has_drawn = !below.is_empty();
        if brush.has_drawn {
            brush.bar.set_message(below.join("\n"));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn brush(&self) -> MutexGuard<'_, Brush> {
        self.brush.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;
    use crate::pipeline::JobStatus;

    /// A terminal that can be looked at.
    #[derive(Clone)]
    struct Terminal {
        parser: Arc<Mutex<vt100::Parser>>,
        columns: Arc<AtomicU16>,
        rows: Arc<AtomicU16>,
    }

    impl Terminal {
        fn new(rows: u16, columns: u16) -> Self {
            Self {
                parser: Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 1000))),
                columns: Arc::new(columns.into()),
                rows: Arc::new(rows.into()),
            }
        }

        fn live(&self) -> Live {
            let (columns, rows) = (self.columns.clone(), self.rows.clone());
            let size = move || Size { columns: columns.load(Ordering::Relaxed), rows: rows.load(Ordering::Relaxed) };
            Live::new(Box::new(self.clone()), Box::new(size), false)
        }

        fn resize(&self, rows: u16, columns: u16) {
            self.columns.store(columns, Ordering::Relaxed);
            self.rows.store(rows, Ordering::Relaxed);
            self.parser.lock().unwrap().screen_mut().set_size(rows, columns);
        }

        /// What is seen, without the time.
        fn seen(&self) -> Vec<String> {
            let text = self.parser.lock().unwrap().screen().contents();
            text.lines().map(|line| line.trim_end().to_owned()).collect()
        }
    }

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.parser.lock().unwrap().process(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_ended_stands_above_what_goes_on() {
        let terminal = Terminal::new(10, 40);
        let live = terminal.live();
        live.show(|board, now| board.started("build", now));
        live.show(|board, now| board.started("test", now));
        live.view.draw();
        assert_eq!(terminal.seen().len(), 3);
        live.show(|board, _| board.ended("build", JobStatus::Success));
        live.print(["success  build".to_owned(), "a long line ".repeat(5)]);
        live.view.draw();
        let seen = terminal.seen();
        // The terminal breaks what is too long, and knows that it is one line.
        assert_eq!(seen[..2], ["success  build", "a long line ".repeat(5).trim()]);
        assert!(seen[2].starts_with("running  test"), "{seen:?}");
        assert!(seen[3].contains("1 of 2 jobs"), "{seen:?}");
        assert_eq!(seen.len(), 4);
        live.finish();
        assert_eq!(terminal.seen().len(), 2);
    }

    #[test]
    fn lines_that_are_wider_than_they_seem_and_windows_that_change_leave_nothing_behind() {
        let terminal = Terminal::new(8, 60);
        let live = terminal.live();
        for number in 0..20 {
            live.show(|board, now| board.started(&format!("job {number}"), now));
            live.show(|board, _| board.line(&format!("job {number}"), &"❤️‍🔥日本\t\x1b[2J\u{200b}".repeat(30)));
            live.view.draw();
        }
        let seen = terminal.seen();
        assert_eq!(seen.len(), 7, "{seen:?}");
        assert!(seen[5].contains("and 15 more"), "{seen:?}");
        for (rows, columns) in [(8, 100), (20, 100), (5, 100), (5, 200)] {
            terminal.resize(rows, columns);
            live.view.draw();
            let seen = terminal.seen();
            assert_eq!(seen.iter().filter(|line| line.contains("of 20 jobs")).count(), 1, "{seen:?}");
            assert!(seen.len() < usize::from(rows), "{seen:?}");
        }
    }

    #[test]
    fn lines_wait_while_the_terminal_is_lent() {
        let terminal = Terminal::new(10, 40);
        let live = terminal.live();
        live.show(|board, now| board.started("build", now));
        live.view.draw();
        let lent = live.lend();
        assert_eq!(terminal.seen(), Vec::<String>::new());
        live.print((0..MOST_KEPT + 5).map(|number| format!("line {number}")));
        live.view.draw();
        assert_eq!(terminal.seen(), Vec::<String>::new());
        drop(lent);
        let seen = terminal.seen();
        assert!(seen.contains(&format!("line {}", MOST_KEPT + 4)), "{seen:?}");
        assert!(seen.last().unwrap().contains("0 of 1 jobs"), "{seen:?}");
        terminal.parser.lock().unwrap().screen_mut().set_scrollback(1000);
        live.finish();
    }
}
