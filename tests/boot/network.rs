//! The network as programs of the guest use it: addresses by DHCP, names, servers of this computer, and servers
//! of the guest.
//!
//! Needs Debian's `busybox-static` for the guest's programs.

use crate::guest::{Guest, Setup};
use crate::initramfs::Initramfs;
use dinghy::machine::{ClockSource, RunOutcome};
use dinghy::native::{HostNetwork, Published, SystemClock};
use dinghy::net::Policy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

const FILE_BYTES: usize = 2_000_000;

/// What runs in the guest: the guest image's own client script gets the address.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /etc
ifconfig lo up
ifconfig eth0 up
udhcpc -q -n -t 10 -i eth0 -s /bin/dhcp
ping -c 1 gateway >/ping && echo the gateway answers
nslookup files.example | grep Address
wget -q -O /file http://host.dinghy.internal:SERVER/file && echo fetched $(wc -c </file) bytes
nc host.dinghy.internal SINK </file && echo sent
nc host.dinghy.internal FORBIDDEN </dev/null || echo the other port is refused
ping -c 1 -W 1 192.0.2.1 >/ping || echo nobody answers outside
httpd -p 80 -h /
echo serving
read -r _
poweroff -f
"#;

/// A TCP server with one client; `serve` gives what it got from it.
fn serve(serve: impl FnOnce(TcpStream) -> Vec<u8> + Send + 'static) -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(serve(listener.accept().unwrap().0)));
    (address, receiver)
}

/// A name server that knows one name.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            assert!(answer[12..].starts_with(b"\x05files\x07example\0"));
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            if answer[length - 3] == 1 {
                answer[7] = 1;
                answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x07");
            }
            socket.send_to(&answer, asker).unwrap();
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    request
}

/// Runs the guest while another thread works.
fn run_while<T>(guest: &mut Guest, work: thread::JoinHandle<T>) -> T {
    while !work.is_finished() {
        guest.step();
    }
    work.join().unwrap()
}

#[test]
fn a_guest_fetches_sends_and_serves() {
    let file: Vec<u8> = (0..FILE_BYTES).map(|index| (index * 31 + index / 1021) as u8).collect();
    let served = file.clone();
    let (server, request) = serve(move |mut stream| {
        let request = read_request(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {FILE_BYTES}\r\n\r\n").unwrap();
        stream.write_all(&served).unwrap();
        request
    });
    let (sink, sent) = serve(|mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    // It listens, and yet must not be reached.
    let forbidden = TcpListener::bind("127.0.0.1:0").unwrap();
    forbidden.set_nonblocking(true).unwrap();

    let allowed = [server, sink].map(|address| address.to_string().parse().unwrap());
    let network = HostNetwork {
        policy: Policy::new(allowed.to_vec()),
        published: vec![Published { host_port: 0, guest_port: 80 }],
        name_server: Some(name_server()),
    };
    let (gateway, waker, published) = network.start(1).unwrap();
    let init = INIT
        .replace("SERVER", &server.port().to_string())
        .replace("SINK", &sink.port().to_string())
        .replace("FORBIDDEN", &forbidden.local_addr().unwrap().port().to_string());
    let busybox = std::fs::read("/bin/busybox").expect("Debian's busybox-static is the guest's programs");
    let initrd = Initramfs::with_init(init.as_bytes())
        .directory("bin")
        .file("bin/busybox", &busybox)
        .file("bin/dhcp", include_bytes!("../../guest/root/usr/lib/dinghy/dhcp"));
    let setup = Setup {
        clock: ClockSource::Real(Arc::new(SystemClock::start_now())),
        network: Some(Box::new(gateway)),
        ..Setup::new(initrd.finish())
    };
    let mut guest = setup.boot();
    waker.connect(guest.machine.handle(), thread::current());

    guest.run_until("serving");
    let text = guest.console.text();
    for line in [
        "the gateway answers",
        "203.0.113.7",
        "fetched 2000000 bytes",
        "sent",
        "the other port is refused",
        "nobody answers outside",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let patience = Duration::from_secs(10);
    assert!(request.recv_timeout(patience).unwrap().starts_with(b"GET /file HTTP/1.1\r\n"));
    assert!(sent.recv_timeout(patience).unwrap() == file);
    assert!(forbidden.accept().is_err());

    // Several clients at a time fetch the file from the guest.
    let address = published[0];
    let clients = thread::spawn(move || {
        let clients = [(); 4].map(|()| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
                let head = read_request(&mut stream);
                assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n") || head.starts_with(b"HTTP/1.0 200 OK\r\n"));
                let mut body = Vec::new();
                stream.read_to_end(&mut body).unwrap();
                body
            })
        });
        clients.map(|client| client.join().unwrap())
    });
    let bodies = run_while(&mut guest, clients);
    assert!(bodies.iter().all(|body| *body == file));
    guest.machine.handle().console_input(b"\r");
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
}
