//! The pair of interfaces of one notebook, made and removed by rtnetlink.
//!
//! A socket of the kernel's speaks for the network namespace in which it was opened, wherever the thread goes later. So
//! one thread opens the first socket here, joins the container's namespace, opens the second there, and ends when both
//! sides are made; no other thread ever leaves the machine's own network, and no process is started. The container is
//! named by a descriptor throughout, never by a number that another process could have by now.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::netdevice::name_to_index;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::file;

/// The other end of the pair, as the container calls it.
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What the container calls its end.
const INSIDE: &str = "eth0";

/// Both ends of a notebook's pair, and what is said of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) slot: u32,
    pub(super) address: Ipv4Addr,
    pub(super) mtu: u32,
}

impl Pair {
    /// Makes the pair between the caller's network namespace and that of the process, in place of one that is there.
    /// The thread stays in the other namespace, and is to end there.
    pub(super) fn make(self, process: BorrowedFd<'_>) -> io::Result<()> {
        let mut here = Kernel::open()?;
        move_into_thread_name_spaces(process, ThreadNameSpaceType::NETWORK)?;
        let mut there = Kernel::open()?;
        // Not before: what is there may be another attempt's, which must not go without a successor.
        if let Some(index) = index(self.slot)? {
            here.remove(index)?;
        }
        self.make_here(&mut here, File::open("/proc/thread-self/ns/net")?.as_fd())?;
        self.make_there(&mut there)
    }

    fn make_here(self, here: &mut Kernel, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let Self { slot, address, mtu } = self;
        let name = host_name(slot);
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(INSIDE.into()),
            LinkAttribute::Address(hardware_address(slot, false).into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::NetNsFd(namespace.as_raw_fd()),
        ];
        let mut pair = LinkMessage::default();
        pair.attributes = vec![
            LinkAttribute::IfName(name.clone()),
            LinkAttribute::Address(hardware_address(slot, true).into()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        here.ask(vec![Request::add("the pair", RouteNetlinkMessage::NewLink(pair))])?;
        let index = here.index(&name)?;
        here.ask(vec![
            Request::no_address_of_its_own(index),
            Request::up(index),
            Request::replace("the route", route(index, Some(address), None)),
            Request::replace("the neighbour", neighbour(index, address, hardware_address(slot, false))),
        ])
    }

    fn make_there(self, there: &mut Kernel) -> io::Result<()> {
        let Self { slot, address, .. } = self;
        let index = there.index(INSIDE)?;
        there.ask(vec![
            Request::no_address_of_its_own(index),
            Request::add("the address", own_address(index, address)),
            Request::up(index),
            Request::add("the route to the next hop", route(index, Some(NEXT_HOP), None)),
            Request::add("the next hop", neighbour(index, NEXT_HOP, hardware_address(slot, true))),
            Request::add("the default route", route(index, None, Some(NEXT_HOP))),
        ])
    }
}

/// The pair that had this number is gone afterwards.
pub(super) fn remove(index: u32) -> io::Result<()> {
    Kernel::open()?.remove(index)
}

/// The number of the machine's end of the pair, if there is one. No other interface ever has it. Looking is cheap; asking the
/// kernel has to wait for its turn.
pub(super) fn index(slot: u32) -> io::Result<Option<u32>> {
    match file::read(&Path::new("/sys/class/net").join(host_name(slot)).join("ifindex")) {
        Ok(text) => Ok(text.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok())),
        // It is going away, by itself.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        Err(e) => Err(e),
    }
}

fn host_name(slot: u32) -> String {
    format!("atl{slot}")
}

/// Fixed hardware addresses: locally administered, told apart by the slot.
fn hardware_address(slot: u32, host: bool) -> [u8; 6] {
    let [a, b, c, d] = slot.to_be_bytes();
    [if host { 0x06 } else { 0x02 }, 0x61, a, b, c, d]
}

fn own_address(index: u32, address: Ipv4Addr) -> RouteNetlinkMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = index;
    let address = IpAddr::V4(address);
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    RouteNetlinkMessage::NewAddress(message)
}

/// A route through the interface, to one address, or to all.
fn route(index: u32, to: Option<Ipv4Addr>, via: Option<Ipv4Addr>) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: if to.is_some() { 32 } else { 0 },
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: if via.is_some() { RouteScope::Universe } else { RouteScope::Link },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let to = to.map(|address| RouteAttribute::Destination(RouteAddress::Inet(address)));
    let via = via.map(|hop| RouteAttribute::Gateway(RouteAddress::Inet(hop)));
    message.attributes = to.into_iter().chain(via).chain([RouteAttribute::Oif(index)]).collect();
    RouteNetlinkMessage::NewRoute(message)
}

/// An address that is never asked for.
fn neighbour(index: u32, address: Ipv4Addr, at: [u8; 6]) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::LinkLayerAddress(at.into()),
    ];
    RouteNetlinkMessage::NewNeighbour(message)
}

/// One thing that the kernel is asked for.
struct Request {
    /// What is to be made, as an error tells it.
    what: &'static str,
    flags: u16,
    message: RouteNetlinkMessage,
    /// The refusal that says that it is so already.
    but: Option<i32>,
}

impl Request {
    fn new(what: &'static str, flags: u16, message: RouteNetlinkMessage) -> Self {
        Self { what, flags: NLM_F_REQUEST | NLM_F_ACK | flags, message, but: None }
    }

    fn add(what: &'static str, message: RouteNetlinkMessage) -> Self {
        Self::new(what, NLM_F_CREATE | NLM_F_EXCL, message)
    }

    fn replace(what: &'static str, message: RouteNetlinkMessage) -> Self {
        Self::new(what, NLM_F_CREATE | NLM_F_REPLACE, message)
    }

    /// No address of version 6 comes with the interface. A kernel without version 6 refuses, and gives none either.
    fn no_address_of_its_own(index: u32) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])])];
        let request = Self::new("an interface without an address", 0, RouteNetlinkMessage::SetLink(message));
        Self { but: Some(libc::EAFNOSUPPORT), ..request }
    }

    fn up(index: u32) -> Self {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        Self::new("an interface that is up", 0, RouteNetlinkMessage::SetLink(message))
    }
}

/// A conversation with the kernel about the interfaces of the network namespace in which it was begun.
struct Kernel(Socket);

impl Kernel {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Asks for all of it at once. The kernel has done what it will by the time that it has taken the question, one
    /// thing after the other; the first that it refused is the error.
    fn ask(&mut self, requests: Vec<Request>) -> io::Result<()> {
        let mut question = Vec::new();
        let mut expected = Vec::with_capacity(requests.len());
        for (number, request) in (0_u32..).zip(requests) {
            let mut header = NetlinkHeader::default();
            header.flags = request.flags;
            header.sequence_number = number;
            let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request.message));
            message.finalize();
            let begin = question.len();
            question.resize(begin + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut question[begin..]);
            expected.push((number, request.what, request.but));
        }
        self.0.send(&question, 0)?;
        let mut refused = Ok(());
        for (number, what, but) in expected {
            let code = self.answer(number)?;
            if code != 0 && Some(code) != but && refused.is_ok() {
                let why = io::Error::from_raw_os_error(code);
                refused = Err(io::Error::new(why.kind(), format!("{what}: {why}")));
            }
        }
        refused
    }

    /// What the kernel says to the request of that number: zero, or the error's.
    fn answer(&self, number: u32) -> io::Result<i32> {
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(said) if answer.header.sequence_number == number => Ok(said.raw_code().abs()),
            _ => Err(io::Error::other("the kernel's answer is to another question")),
        }
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(self.0.as_fd(), name)?)
    }

    /// The pair is gone afterwards.
    fn remove(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let request = Request::new("the pair's end", 0, RouteNetlinkMessage::DelLink(message));
        self.ask(vec![Request { but: Some(libc::ENODEV), ..request }])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::thread;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    const PAIR: Pair = Pair { slot: 64_999, address: Ipv4Addr::new(10, 201, 3, 4), mtu: 1400 };

    /// A process in a network of its own, which ends with its input.
    struct Elsewhere {
        process: Child,
        pidfd: OwnedFd,
    }

    impl Elsewhere {
        fn new() -> Self {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            // SAFETY: one system call, which needs nothing of the parent's.
            unsafe { command.pre_exec(unshared) };
            let process = command.spawn().unwrap();
            let pidfd = pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
            Self { process, pidfd }
        }

        fn has(&self, file: &str) -> String {
            fs::read_to_string(format!("/proc/{}/net/{file}", self.process.id())).unwrap()
        }
    }

    impl Drop for Elsewhere {
        fn drop(&mut self) {
            drop(self.process.stdin.take());
            self.process.wait().unwrap();
        }
    }

    fn unshared() -> io::Result<()> {
        // SAFETY: only the calling thread gets another network.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Does this in a machine of its own, as far as its network goes.
    fn in_a_network<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshared().unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// In a thread of its own, as its caller is to do it.
    fn make(pair: Pair, to: &Elsewhere) -> io::Result<()> {
        thread::scope(|scope| scope.spawn(|| pair.make(to.pidfd.as_fd())).join().unwrap())
    }

    fn here(file: &str) -> String {
        fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()
    }

    #[test]
    fn interface_names_fit_and_addresses_differ() {
        assert!(host_name(64_999).len() <= 15);
        assert_ne!(hardware_address(1, true), hardware_address(1, false));
        assert_ne!(hardware_address(1, true), hardware_address(257, true));
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn each_end_knows_the_way_to_the_other_and_nothing_else() {
        in_a_network(|| {
            let notebook = Elsewhere::new();
            make(PAIR, &notebook).unwrap();
            let (ours, theirs) = ("06:61:00:00:fd:e7", "02:61:00:00:fd:e7");
            let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let table = |text: String| text.lines().skip(1).map(words).collect::<Vec<_>>();

            let inside = table(notebook.has("route"));
            // As the kernel writes them: interface, destination, gateway, and the mask at the end but three.
            let shown: Vec<_> = inside.iter().map(|r| [&*r[0], &*r[1], &*r[2], &*r[7]]).collect();
            assert_eq!(
                shown,
                [["eth0", "00000000", "0101FEA9", "00000000"], ["eth0", "0101FEA9", "00000000", "FFFFFFFF"]]
            );
            let hop = table(notebook.has("arp"));
            assert_eq!(
                hop.iter().map(|n| [&*n[0], &*n[3], &*n[5]]).collect::<Vec<_>>(),
                [["169.254.1.1", ours, "eth0"]]
            );
            assert!(notebook.has("fib_trie").contains("10.201.3.4\n           /32 host LOCAL"));
            // The file is there where the kernel knows version 6.
            if Path::new("/proc/net/if_inet6").exists() {
                assert!(!notebook.has("if_inet6").contains("eth0"), "it has no address of version 6");
                assert!(!here("if_inet6").contains("atl64999"));
            }

            let outside = table(here("route"));
            let shown: Vec<_> = outside.iter().map(|r| [&*r[0], &*r[1], &*r[2], &*r[7]]).collect();
            assert_eq!(shown, [["atl64999", "0403C90A", "00000000", "FFFFFFFF"]]);
            let neighbours = table(here("arp"));
            let shown: Vec<_> = neighbours.iter().map(|n| [&*n[0], &*n[3], &*n[5]]).collect();
            assert_eq!(shown, [["10.201.3.4", theirs, "atl64999"]]);
        });
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn a_pair_that_was_removed_can_be_made_again_and_one_that_is_gone_removed() {
        in_a_network(|| {
            for _ in 0..2 {
                make(PAIR, &Elsewhere::new()).unwrap();
                let index = Kernel::open().unwrap().index("atl64999").unwrap();
                remove(index).unwrap();
                assert!(!here("dev").contains("atl64999"));
                remove(index).unwrap();
            }
        });
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn a_refusal_says_what_was_refused() {
        in_a_network(|| {
            let notebook = Elsewhere::new();
            make(PAIR, &notebook).unwrap();
            // What is there is looked for in the machine's own network, and not found.
            let refused = make(PAIR, &notebook).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert!(refused.to_string().starts_with("the pair: "), "{refused}");
        });
    }

    #[test]
    #[cfg_attr(not(as_root), ignore = "needs root")]
    fn a_process_that_has_ended_gets_no_network() {
        in_a_network(|| {
            let mut notebook = Elsewhere::new();
            notebook.process.kill().unwrap();
            notebook.process.wait().unwrap();
            assert!(make(PAIR, &notebook).is_err());
            assert!(!here("dev").contains("atl64999"));
        });
    }
}
