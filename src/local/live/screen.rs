//! A terminal for indicatif that loses no line: what a job prints may be wider than it seems, windows change their size.
//!
//! indicatif ends a line by filling it to its last column, which leaves rubbish wherever a character is wider than was thought
//! or the window gets narrower. Here each line ends by itself, wraps never, and keeps clear of the last column; where the lines
//! of the last drawing stand is known from what was drawn.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

use super::text::columns;

/// The columns and rows of a terminal that does not say.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How wide.
    pub columns: u16,
    /// How high.
    pub rows: u16,
}

impl Size {
    /// Of the terminal behind `descriptor`.
    pub fn of(descriptor: impl rustix::fd::AsFd) -> Self {
        match rustix::termios::tcgetwinsize(descriptor) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size { columns: size.ws_col, rows: size.ws_row },
            _ => USUAL,
        }
    }
}

/// How the size is asked for.
pub type AskSize = dyn Fn() -> Size + Send + Sync;

/// The terminal.
pub struct Screen {
    size: Box<AskSize>,
    frame: Mutex<Frame>,
}

struct Frame {
    out: Box<dyn Write + Send>,
    /// What is about to be written, at one go.
    bytes: Vec<u8>,
    /// How wide the lines are that stand there, and the terminal when they were drawn.
    drawn: Vec<usize>,
    drawn_in: u16,
    /// The drawing has begun.
    is_open: bool,
    /// What comes next only fills the line.
    is_filler: bool,
}

impl Screen {
    /// A terminal of this size, on which the cursor stands at the beginning of a line.
    pub fn new(out: Box<dyn Write + Send>, size: Box<AskSize>) -> Self {
        let frame = Frame { out, bytes: Vec::new(), drawn: Vec::new(), drawn_in: 0, is_open: false, is_filler: false };
        Self { size, frame: Mutex::new(frame) }
    }

    /// Its size.
    pub fn size(&self) -> Size {
        (self.size)()
    }

    /// Takes away what was drawn and writes lines that stay. The next drawing comes below them.
    pub fn print(&self, lines: &[String]) {
        let mut frame = self.lock();
        frame.open(self.size());
        frame.bytes.extend_from_slice(b"\x1b[J");
        for line in lines {
            frame.bytes.extend_from_slice(line.as_bytes());
            frame.bytes.extend_from_slice(b"\r\n");
        }
        // A terminal that is gone is no reason to stop.
        let _ = frame.write();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Frame> {
        self.frame.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Frame {
    /// Goes to the beginning of the first line that was drawn.
    fn open(&mut self, size: Size) {
        if self.is_open {
            return;
        }
        (self.is_open, self.is_filler) = (true, false);
        // A window that got narrower has broken the lines that were too long for it.
        let rows: usize = self.drawn.iter().map(|width| rows(*width, size.columns, self.drawn_in)).sum();
        let up = rows.saturating_sub(1).min(usize::from(size.rows).saturating_sub(1));
        if up > 0 {
            self.bytes.extend_from_slice(format!("\x1b[{up}A").as_bytes());
        }
        self.bytes.push(b'\r');
        self.drawn.clear();
        self.drawn_in = size.columns;
    }

    fn write(&mut self) -> io::Result<()> {
        self.is_open = false;
        let bytes = std::mem::take(&mut self.bytes);
        self.out.write_all(&bytes)?;
        self.out.flush()
    }
}

/// How many rows a line of so many columns takes in a terminal that was wider when it was drawn.
fn rows(width: usize, columns: u16, before: u16) -> usize {
    if columns >= before { 1 } else { width.div_ceil(usize::from(columns.max(1))).max(1) }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

/// The screen as indicatif knows it.
#[derive(Debug)]
pub struct Handle(pub std::sync::Arc<Screen>);

impl TermLike for Handle {
    fn width(&self) -> u16 {
        // Nothing stands in the last column: there terminals differ.
        self.0.size().columns.saturating_sub(1).max(1)
    }

    fn height(&self) -> u16 {
        self.0.size().rows
    }

    fn move_cursor_up(&self, _lines: usize) -> io::Result<()> {
        self.0.lock().open(self.0.size());
        Ok(())
    }

    fn move_cursor_down(&self, _lines: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.write_str(line)?;
        self.write_str("")
    }

    /// A line, then what fills it: in turns.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut frame = self.0.lock();
        if frame.is_filler {
            frame.is_filler = false;
            return Ok(());
        }
        frame.is_filler = true;
        if !frame.drawn.is_empty() {
            frame.bytes.extend_from_slice(b"\r\n");
        }
        // Without wrapping a line that is wider than it seems is cut and takes no second row.
        frame.bytes.extend_from_slice(b"\x1b[?7l");
        frame.bytes.extend_from_slice(text.as_bytes());
        frame.bytes.extend_from_slice(b"\x1b[K\x1b[?7h");
        frame.drawn.push(columns(text));
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut frame = self.0.lock();
        frame.bytes.extend_from_slice(b"\x1b[J");
        frame.write()
    }
}
