//! Figures, not promises. `cargo test --release --lib store::tests::measure -- --ignored --nocapture`

use std::time::Instant;

use super::*;

fn timed<T>(what: &str, bytes: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let time = start.elapsed().as_secs_f64();
    println!("{what:<30} {:>8.0} ms {:>6.0} MB/s", time * 1e3, bytes as f64 / 1e6 / time);
    result
}

#[test]
#[ignore = "for figures only"]
fn a_gibibyte_in_and_out() {
    let small = "function f() { return 'the quick brown fox'; }\n";
    for (name, files, length) in [
        ("random, one file", 1, 1_usize << 30),
        ("random, 16 files", 16, 64 << 20),
        ("text", 1, 1 << 30),
        ("zeros", 1, 1 << 30),
        ("100,000 small", 100_000, 2048),
    ] {
        let bench = Bench::new();
        let tree = bench.folder("tree");
        for n in 0..files {
            let content = match name {
                "zeros" => vec![0; length],
                "text" => {
                    let words: Vec<u8> = noise(length / 8, 5);
                    let mut t = Vec::with_capacity(length);
                    let mut i = 0;
                    while t.len() < length {
                        t.extend_from_slice(
                            format!(
                                "2026-11-27 INFO module::{} request id={:x}{:x} took {} ms\n",
                                words[i] % 97,
                                words[i + 1],
                                words[i + 2],
                                words[i + 3]
                            )
                            .as_bytes(),
                        );
                        i = (i + 4) % (words.len() - 8);
                    }
                    t.truncate(length);
                    t
                }
                "100,000 small" => {
                    fs::create_dir_all(tree.join(format!("d{}", n / 100))).unwrap();
                    format!("// {n}\n{}", small.repeat(30 + n % 30)).into_bytes()
                }
                _ => noise(length, n as u64 + 1),
            };
            let path =
                if files > 1000 { tree.join(format!("d{}/f{n}.js", n / 100)) } else { tree.join(format!("f{n}")) };
            fs::write(path, content).unwrap();
        }
        rustix::fs::sync();
        println!("== {name}");
        let bytes = (files * length) as u64;
        let kept = timed("put", bytes, || bench.put(&member(), "a", &tree));
        println!("   new bytes {:.3}", kept.put.new_bytes as f64 / bytes as f64);
        timed("put again", bytes, || bench.put(&member(), "a", &tree));
        timed("get", bytes, || bench.get(&member(), &kept.put.id, &bench.folder("out")).unwrap());
    }
}
