//! Requests that are refused before they were read.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const REFUSED: &str = "PATCH /_apis/artifactcache/caches/1 HTTP/1.1\r\nHost: x\r\nContent-Range: bytes 5-3/*\r\n";

async fn connected(place: &Place) -> TcpStream {
    let address = place.server.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    TcpStream::connect(&address).await.unwrap()
}

async fn until(stream: &mut TcpStream, is_enough: impl Fn(&str) -> bool) -> String {
    let mut heard = Vec::new();
    let reading = async {
        loop {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0, "the connection ended after {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&bytes[..read]);
            if is_enough(&String::from_utf8_lossy(&heard)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("no answer");
    String::from_utf8(heard).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_of_a_connection_is_answered_too() {
    let place = Place::new().await;
    let mut stream = connected(&place).await;
    let length = 3 << 20;
    stream.write_all(format!("{REFUSED}Content-Length: {length}\r\n\r\n").as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; length - 1]).await.unwrap();
    stream.write_all(b"xGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let heard =
        until(&mut stream, |heard| heard.matches("HTTP/1.1 ").count() == 2 && heard.contains("HTTP/1.1 404")).await;
    assert!(heard.starts_with("HTTP/1.1 401"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_to_read_is_answered_and_the_connection_ends() {
    let place = Place::new().await;
    for rest in ["Content-Length: 1000000000000\r\n\r\n", "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"] {
        let mut stream = connected(&place).await;
        stream.write_all(format!("{REFUSED}{rest}").as_bytes()).await.unwrap();
        let heard = until(&mut stream, |heard| heard.contains("\r\n\r\n")).await.to_lowercase();
        assert!(heard.starts_with("http/1.1 401") && heard.contains("\r\nconnection: close\r\n"), "{heard}");
    }
}
