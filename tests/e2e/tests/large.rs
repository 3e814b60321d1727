//! An answer of 100 MB costs no memory where it need not change, and is an error where it would have to be held.
//!
//! The one test of its process, whose memory is the host's.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::Raw;
use gatehouse_fixtures::raw::{Kind, Step};
use serde_json::json;

const MB: usize = 1024 * 1024;

#[test]
fn an_answer_of_a_hundred_megabytes_is_passed_or_refused_and_never_held() {
    let server = Raw::mcp(Kind::Modern, |asked| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        let start = format!(r#"{head}{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","x":""#, asked.id());
        vec![Step::Send(start.into()), Step::Repeat(vec![b'x'; MB], 100), Step::Send(br#""}}"#.to_vec()), Step::Close]
    })
    .unwrap();
    let wish = Wish { servers: json!({ "raw": { "url": server.url() } }), ..Wish::default() };
    let world = World::new(Composition::OneApp, wish);
    let call = || json!({ "name": "raw__echo", "arguments": {} });
    // What is needed once for any call.
    assert!(world.legacy().request("tools/list", json!({})).unwrap().result().is_some());

    let (grown, (length, end)) = grown_while(|| {
        let mut body = world.modern().stream("tools/call", call()).unwrap().into_body().into_reader();
        let (mut length, mut end, mut piece) = (0, Vec::new(), vec![0; 64 * 1024]);
        loop {
            match body.read(&mut piece).unwrap() {
                0 => return (length, end),
                read => {
                    length += read;
                    end = piece[read.saturating_sub(3)..read].to_vec();
                }
            }
        }
    });
    assert!(length > 100 * MB && end.ends_with(b"}"), "{length} bytes, cut off");
    assert!(grown < 24 * MB, "passing it on took {} MB", grown / MB);

    let (grown, reply) = grown_while(|| world.legacy().request("tools/call", call()).unwrap());
    assert!(reply.is_tool_error() && reply.body.contains("longer than 16 MiB"), "{} bytes", reply.body.len());
    assert!(grown < 80 * MB, "refusing it took {} MB", grown / MB);
}

/// By how many bytes the process was larger at most than before.
fn grown_while<T>(act: impl FnOnce() -> T) -> (usize, T) {
    let before = resident();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let most = scope.spawn(|| {
            let mut most = before;
            while !over.load(Ordering::Relaxed) {
                most = most.max(resident());
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let made = act();
        over.store(true, Ordering::Relaxed);
        (most.join().unwrap() - before, made)
    })
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
