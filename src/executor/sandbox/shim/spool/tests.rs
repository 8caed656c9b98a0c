use std::io::Write;

use super::super::frame::{MAX_DATA, file_header, lost_frame, output_header};
use super::*;

struct Writer {
    _dir: tempfile::TempDir,
    run: RunDir,
    id: StepId,
    file: File,
}

impl Writer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("run")).unwrap();
        let file = File::create(run.path().join("s.spool")).unwrap();
        let mut this = Self { _dir: dir, run, id: StepId::new("s").unwrap(), file };
        this.raw(&file_header());
        this
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
    }

    fn print(&mut self, data: &[u8]) {
        self.raw(&output_header(1, Stream::Stdout, data.len()));
        self.raw(data);
    }

    fn length(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    fn end(&self, exit: StepExit) {
        self.end_at(exit, self.length());
    }

    fn end_at(&self, exit: StepExit, spool_bytes: u64) {
        let record = StepRecord {
            format: StepRecord::FORMAT,
            step: self.id.clone(),
            exit,
            spool_bytes,
            lost_bytes: 0,
            started_us: 0,
            ended_us: 0,
            left_behind: 0,
        };
        let pending = self.run.path().join(".s.exit");
        std::fs::write(&pending, serde_json::to_vec(&record).unwrap()).unwrap();
        std::fs::rename(pending, self.run.path().join("s.exit")).unwrap();
    }

    fn open(&self) -> SpoolReader {
        SpoolReader::open(self.run.path(), &self.id).unwrap()
    }
}

async fn rest(reader: &mut SpoolReader) -> Result<(Vec<u8>, StepExit), SpoolError> {
    let mut all = Vec::new();
    loop {
        match reader.next().await? {
            SpoolEvent::Frame { bytes, .. } => all.extend_from_slice(&bytes),
            SpoolEvent::Lost { .. } => {}
            SpoolEvent::Ended(exit) => return Ok((all, exit)),
        }
    }
}

#[tokio::test]
async fn output_is_followed_while_it_grows_and_to_its_end() {
    let mut writer = Writer::new();
    let mut reader = writer.open();
    for round in 0..5 {
        let text = format!("line {round}\n");
        let (event, ()) = tokio::join!(reader.next(), async { writer.print(text.as_bytes()) });
        let SpoolEvent::Frame { bytes, stream, .. } = event.unwrap() else { panic!("no frame") };
        assert_eq!((bytes, stream), (Bytes::from(text), Stream::Stdout));
    }
    let (event, ()) = tokio::join!(reader.next(), async { writer.end(StepExit::Code(3)) });
    assert_eq!(event.unwrap(), SpoolEvent::Ended(StepExit::Code(3)));
    assert_eq!(reader.next().await.unwrap(), SpoolEvent::Ended(StepExit::Code(3)), "and says so again");
    assert_eq!(reader.record().unwrap().spool_bytes, writer.length());
}

#[tokio::test]
async fn reading_again_from_any_offset_gives_the_same_pieces() {
    let mut writer = Writer::new();
    for size in [1, 70, MAX_DATA, 3, MAX_DATA, 9] {
        writer.print(&vec![b'x'; size]);
    }
    writer.end(StepExit::Code(0));
    let mut reader = writer.open();
    let mut pieces = Vec::new();
    loop {
        let at = reader.offset();
        match reader.next().await.unwrap() {
            SpoolEvent::Ended(_) => break,
            event => pieces.push((at, event)),
        }
    }
    for (index, (at, _)) in pieces.iter().enumerate() {
        let mut again = SpoolReader::resume(writer.run.path(), &writer.id, *at).unwrap();
        for (_, event) in &pieces[index..] {
            assert_eq!(&again.next().await.unwrap(), event);
        }
        assert_eq!(again.next().await.unwrap(), SpoolEvent::Ended(StepExit::Code(0)));
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_nothing() {
    let mut writer = Writer::new();
    let mut reader = writer.open();
    for _ in 0..20 {
        let _ = timeout(Duration::from_micros(50), reader.next()).await;
    }
    writer.print(b"here");
    writer.end(StepExit::Code(0));
    assert_eq!(rest(&mut reader).await.unwrap(), (b"here".to_vec(), StepExit::Code(0)));
}

#[tokio::test]
async fn without_inotify_the_reader_looks_by_itself() {
    let mut writer = Writer::new();
    let mut reader = writer.open();
    reader.watch = Watch(None);
    let (event, ()) = tokio::join!(reader.next(), async {
        tokio::task::yield_now().await;
        writer.print(b"here");
    });
    assert!(matches!(event.unwrap(), SpoolEvent::Frame { .. }));
}

#[tokio::test]
async fn a_loss_is_told_where_it_happened() {
    let mut writer = Writer::new();
    writer.print(b"before");
    writer.raw(&lost_frame(5, 1234));
    writer.end(StepExit::OutputLost);
    let mut reader = writer.open();
    assert!(matches!(reader.next().await.unwrap(), SpoolEvent::Frame { .. }));
    assert_eq!(reader.next().await.unwrap(), SpoolEvent::Lost { time_us: 5, bytes: 1234 });
    assert_eq!(reader.next().await.unwrap(), SpoolEvent::Ended(StepExit::OutputLost));
}

#[tokio::test]
async fn a_spool_that_shrinks_is_an_error() {
    let mut writer = Writer::new();
    writer.print(b"some output");
    let mut reader = writer.open();
    reader.next().await.unwrap();
    writer.file.set_len(4).unwrap();
    assert!(matches!(reader.next().await, Err(SpoolError::Shrunk { size: 4, .. })));
}

#[tokio::test]
async fn a_spool_with_garbage_is_an_error_at_its_place() {
    let mut writer = Writer::new();
    writer.print(b"good");
    let at = writer.length();
    writer.raw(&[0xaa; 100]);
    let mut reader = writer.open();
    reader.next().await.unwrap();
    assert!(matches!(reader.next().await, Err(SpoolError::Broken { offset, .. }) if offset == at));

    let writer = Writer::new();
    std::fs::write(writer.run.path().join("s.spool"), "no spool at all, but long enough").unwrap();
    let error = writer.open().next().await.unwrap_err();
    assert!(matches!(error, SpoolError::Broken { source: FrameError::Magic, .. }), "{error}");
}

#[tokio::test]
async fn output_that_the_exit_file_counts_and_that_is_not_there_is_an_error() {
    let mut writer = Writer::new();
    writer.print(b"good");
    writer.end_at(StepExit::Code(0), writer.length() + 1000);
    let mut reader = writer.open();
    reader.next().await.unwrap();
    assert!(matches!(reader.next().await, Err(SpoolError::Short { .. })));
}

#[tokio::test]
async fn what_is_written_after_the_end_is_not_the_steps() {
    let mut writer = Writer::new();
    writer.print(b"good");
    writer.end(StepExit::Code(0));
    writer.print(b"later");
    writer.raw(&[0xaa; 100]);
    assert_eq!(rest(&mut writer.open()).await.unwrap(), (b"good".to_vec(), StepExit::Code(0)));
}

#[tokio::test]
async fn a_spool_of_another_kind_is_not_opened() {
    let writer = Writer::new();
    let path = writer.run.path().join("s.spool");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let error = SpoolReader::open(writer.run.path(), &writer.id).err().unwrap();
    assert!(matches!(error, SpoolError::RunDir(RunDirError::Kind { .. })), "{error}");
}

#[tokio::test]
async fn what_is_forgotten_takes_no_room_and_the_rest_can_be_read() {
    let mut writer = Writer::new();
    for _ in 0..64 {
        writer.print(&[b'x'; 60_000]);
    }
    let path = writer.run.path().join(writer.id.spool_name());
    let room = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap()) * 512;
    let before = room();
    let mut reader = writer.open();
    for _ in 0..60 {
        reader.next().await.unwrap();
    }
    let at = reader.offset();
    assert!(reader.forget(at).await);
    assert!(room() < before / 4, "{} of {before} bytes", room());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), writer.length(), "it is as long as before");
    writer.print(b"last");
    writer.end(StepExit::Code(0));
    let mut later = SpoolReader::resume(writer.run.path(), &writer.id, at).unwrap();
    for reader in [&mut reader, &mut later] {
        let (bytes, exit) = rest(reader).await.unwrap();
        assert_eq!((bytes.len(), exit), (4 * 60_000 + 4, StepExit::Code(0)));
    }
    assert_eq!(writer.open().ended().await.unwrap(), StepExit::Code(0), "the end is known without the output");
}

#[tokio::test]
async fn behind_a_hole_the_frames_go_on_and_the_end_is_found() {
    for (kept, from) in [(4, 0), (4, 16), (0, 0), (0, 60_016)] {
        let mut writer = Writer::new();
        for _ in 0..64 {
            writer.print(&[b'x'; 60_000]);
        }
        let mut reader = writer.open();
        for _ in kept..64 {
            reader.next().await.unwrap();
        }
        let at = reader.offset();
        assert!(reader.forget(at).await);
        let mut later = SpoolReader::resume_behind_hole(writer.run.path(), &writer.id, from).unwrap();
        for _ in 0..kept {
            assert!(matches!(later.next().await.unwrap(), SpoolEvent::Frame { .. }), "{kept} frames from {from}");
        }
        if from > 0 {
            writer.print(b"last");
        }
        writer.end(StepExit::Code(7));
        let (bytes, exit) = rest(&mut later).await.unwrap();
        assert_eq!((bytes.len(), exit), (if from > 0 { 4 } else { 0 }, StepExit::Code(7)), "{kept} frames from {from}");
    }
}
