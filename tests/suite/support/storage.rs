//! An object storage on loopback that answers as a test says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest it waits for anybody.
const LIMIT: Duration = Duration::from_secs(60);

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    headers: Vec<(String, String)>,
}

impl Asked {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// From which byte on it asks, where it does not ask for all.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// An answer.
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub sent: Sent,
}

/// How much of the body goes out. All of its length is announced in any case.
pub enum Sent {
    Whole,
    /// So many bytes, then the connection ends.
    UpTo(usize),
    /// So many bytes, the others when there is word (or nobody who could give it).
    Held(usize, Receiver<()>),
}

impl Answer {
    /// All of `body`.
    pub fn whole(body: &[u8], headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { status: "200 OK", headers, body: body.to_vec(), sent: Sent::Whole }
    }

    /// `body` from a byte on.
    pub fn rest(body: &[u8], from: usize, headers: &[(&'static str, &str)]) -> Self {
        let mut answer = Self::whole(&body[from..], headers);
        answer.status = "206 Partial Content";
        answer.headers.push(("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
        answer
    }

    /// The same, sent in this way.
    pub fn sent(mut self, sent: Sent) -> Self {
        self.sent = sent;
        self
    }
}

/// The server, until it is dropped. It serves one request after the other, each on a connection of its own.
pub struct Storage {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
}

impl Storage {
    /// `answer` is given the number of the request, from 0, and the request.
    pub fn start(mut answer: impl FnMut(usize, &Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (of_thread, is_over) = (asked.clone(), ends.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Whoever hangs up has its reasons.
                let _ = serve(stream, &of_thread, &mut answer);
            }
        });
        Self { address, asked, ends }
    }

    /// Where an object lies; it has all.
    pub fn url(&self) -> String {
        format!("http://{}/bucket/archive", self.address)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: TcpStream,
    all: &Mutex<Vec<Asked>>,
    answer: &mut impl FnMut(usize, &Asked) -> Answer,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    if lines.next().transpose()?.is_none() {
        return Ok(());
    }
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let asked = Asked { headers };
    let number = {
        let mut all = all.lock().unwrap();
        all.push(asked.clone());
        all.len() - 1
    };
    let Answer { status, headers, body, sent } = answer(number, &asked);
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = stream;
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match sent {
        Sent::Whole => stream.write_all(&body),
        Sent::UpTo(bytes) => stream.write_all(&body[..bytes]),
        Sent::Held(bytes, word) => {
            stream.write_all(&body[..bytes])?;
            let _ = word.recv_timeout(LIMIT);
            stream.write_all(&body[bytes..])
        }
    }
}
