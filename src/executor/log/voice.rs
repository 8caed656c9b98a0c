//! One step among others that run at the same time, as it is heard in the job's log: its lines come whole, whatever the
//! others say meanwhile.

use super::Tone;
use super::filter::{Chain, StreamTag};
use super::job_log::{JobLog, in_tone, now_us, room_in_memory};
use super::observer::{JobEvent, LineStream, OpenLine, StepName, StepStatus};

/// The voice of one step.
pub struct StepVoice {
    log: JobLog,
    step: StepName,
    rules_version: u32,
    /// Standard output, standard error, our own words.
    streams: [VoiceStream; 3],
}

struct VoiceStream {
    chain: Chain,
    line: OpenLine,
}

impl StepVoice {
    /// The step begins.
    pub fn begin(log: &JobLog, step: StepName) -> Self {
        let mut inner = log.lock();
        let rules = &inner.rules;
        let is_heard = inner.ears.is_some();
        let streams = [StreamTag::STDOUT, StreamTag::STDERR, StreamTag::RUNNER].map(|tag| {
            let mut chain = rules.chain(tag);
            if is_heard {
                chain.listen();
            }
            VoiceStream { chain, line: OpenLine::default() }
        });
        let rules_version = inner.rules_version;
        inner.with_ears(|ears, at_us| ears.tell(JobEvent::StepStarted { step: &step, at_us }));
        drop(inner);
        Self { log: log.clone(), step, rules_version, streams }
    }

    /// Adds `bytes` of `stream`, written at `time_us` (microseconds since 1970). Whole lines, so that those of others do not
    /// stand between.
    pub fn write(&mut self, stream: LineStream, time_us: u64, bytes: &[u8]) {
        let inner = &mut *self.log.lock();
        if self.rules_version != inner.rules_version {
            self.rules_version = inner.rules_version;
            self.streams.iter_mut().for_each(|stream| stream.chain.follow(&inner.rules));
        }
        let Some(open) = self.streams.get_mut(place_of(stream)) else { return };
        let mut out = Vec::with_capacity(bytes.len());
        open.chain.write(time_us, bytes, &mut out);
        if let (Some(ears), Some(heard)) = (&mut inner.ears, open.chain.take_heard()) {
            ears.hear_step(&mut open.line, &self.step, stream, time_us, &heard);
        }
        inner.append(&out, room_in_memory(stream == LineStream::Command));
        self.log.tell(inner);
    }

    /// One line of our own.
    pub fn say(&mut self, tone: Tone, line: &str) {
        self.write(LineStream::Command, now_us(), in_tone(tone, line).as_bytes());
    }

    /// The step has ended.
    pub fn end(mut self, status: StepStatus, exit_code: Option<i32>, reason: Option<&str>) {
        self.flush();
        let mut inner = self.log.lock();
        let step = &self.step;
        inner.with_ears(|ears, at_us| {
            ears.tell(JobEvent::StepFinished { step, status, exit_code, reason, at_us });
        });
    }

    fn flush(&mut self) {
        let (inner, now) = (&mut *self.log.lock(), now_us());
        for (open, stream) in self.streams.iter_mut().zip(STREAMS) {
            let mut out = Vec::new();
            open.chain.flush(now, &mut out);
            if let (Some(ears), Some(heard)) = (&mut inner.ears, open.chain.take_heard()) {
                ears.hear_step(&mut open.line, &self.step, stream, now, &heard);
                ears.close_line(&mut open.line, &self.step, now);
            }
            inner.append(&out, room_in_memory(stream == LineStream::Command));
        }
        self.log.tell(inner);
    }
}

const STREAMS: [LineStream; 3] = [LineStream::Stdout, LineStream::Stderr, LineStream::Command];

fn place_of(stream: LineStream) -> usize {
    match stream {
        LineStream::Stdout => 0,
        LineStream::Stderr => 1,
        LineStream::Command => 2,
    }
}
