//! Trees to keep: the same bytes on every machine and in every run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::Failure;

const GIBIBYTE: usize = 1 << 30;
const SMALL_FILES: usize = 100_000;
/// Small files of a folder.
const A_FOLDER: usize = 40;

/// A kind of tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Random,
    Text,
    Zeros,
    Small,
}

/// Small files come first: ext4 looks long for an inode where many files have just been removed.
pub const KINDS: [Kind; 4] = [Kind::Small, Kind::Random, Kind::Text, Kind::Zeros];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Random => "random",
            Kind::Text => "text",
            Kind::Zeros => "zeros",
            Kind::Small => "small",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Random => "1 GiB random",
            Kind::Text => "1 GiB text",
            Kind::Zeros => "1 GiB zeros",
            Kind::Small => "100,000 small files",
        }
    }

    pub fn make(self, tree: &Path) -> Result<(), Failure> {
        fs::create_dir(tree)?;
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        match self {
            Kind::Random => one(tree, |buffer| noise.fill(buffer)),
            Kind::Text => {
                let words = Words::new(&mut noise);
                one(tree, |buffer| log_lines(buffer, &words, &mut noise))
            }
            Kind::Zeros => one(tree, |buffer| buffer.fill(0)),
            Kind::Small => small(tree, &mut noise),
        }
    }
}

/// Numbers that look random. (Marsaglia, "Xorshift RNGs", 2003, with the multiplier of xorshift64*.)
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for eight in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            eight.copy_from_slice(&bytes[..eight.len()]);
        }
    }
}

/// Words, a few of which are frequent, as everywhere.
struct Words(Vec<String>);

impl Words {
    fn new(noise: &mut Noise) -> Self {
        let letter = |noise: &mut Noise| char::from(b'a' + noise.below(26) as u8);
        Self((0..4096).map(|_| (0..2 + noise.below(9)).map(|_| letter(noise)).collect()).collect())
    }

    fn pick(&self, noise: &mut Noise) -> &str {
        let at = (noise.unit() * noise.unit() * noise.unit() * self.0.len() as f64) as usize;
        self.0.get(at).map_or("the", String::as_str)
    }
}

fn one(tree: &Path, mut fill: impl FnMut(&mut [u8])) -> Result<(), Failure> {
    let mut file = File::create(tree.join("file"))?;
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..GIBIBYTE / buffer.len() {
        fill(&mut buffer);
        file.write_all(&buffer)?;
    }
    Ok(())
}

fn log_lines(buffer: &mut [u8], words: &Words, noise: &mut Noise) {
    let mut text = String::with_capacity(buffer.len() + 256);
    while text.len() < buffer.len() {
        let (second, milli) = (noise.below(86_400), noise.below(1000));
        let _ = write!(
            text,
            "2026-11-27T{:02}:{:02}:{:02}.{milli:03}Z INFO ",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
        let _ = write!(text, "{}::{}: request={:08x}", words.pick(noise), words.pick(noise), noise.next() as u32);
        for _ in 0..4 + noise.below(8) {
            let _ = write!(text, " {}", words.pick(noise));
        }
        text.push('\n');
    }
    buffer.copy_from_slice(&text.as_bytes()[..buffer.len()]);
}

/// Files as large as those of a node_modules: half of them below 1.2 KiB, their mean a bit more than 4 KiB.
fn small(tree: &Path, noise: &mut Noise) -> Result<(), Failure> {
    let words = Words::new(noise);
    for number in 0..SMALL_FILES {
        let folder =
            tree.join(format!("package-{}", number / A_FOLDER / 8)).join(format!("lib{}", number / A_FOLDER % 8));
        if number % A_FOLDER == 0 {
            fs::create_dir_all(&folder)?;
        }
        // Normally distributed (Irwin and Hall: the sum of twelve), so that the sizes are log-normal.
        let normal: f64 = (0..12).map(|_| noise.unit()).sum::<f64>() - 6.0;
        let size = (1200.0 * (1.6 * normal).exp()).clamp(20.0, 2e6) as usize;
        let mut file = BufWriter::new(File::create(folder.join(format!("file-{number}.js")))?);
        let mut text = format!("// {number}\n'use strict';\n");
        while text.len() < size {
            let (name, other) = (words.pick(noise), words.pick(noise));
            let _ = write!(
                text,
                "function {name}({other}) {{\n  return this.{}.{}({other}, {});\n}}\n",
                words.pick(noise),
                words.pick(noise),
                noise.below(1000)
            );
        }
        text.truncate(size);
        file.write_all(text.as_bytes())?;
    }
    Ok(())
}
