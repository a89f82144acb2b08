//! The network of notebooks: each has a pair of interfaces, one address, and one way out.
//!
//! ```text
//! container                     host
//! eth0  10.201.x.y/32  ───────  atl<slot>, no address, route to 10.201.x.y/32
//! default via 169.254.1.1 (a fixed neighbour: the other end of the pair)
//! ```
//!
//! The host's end has no address, so there is nothing of the host to talk to on it. What a notebook may reach is
//! decided by one static table whose rules name interfaces by their common beginning: no rule changes when a notebook
//! comes or goes, and all servers of the machine share it. The kernel remembers every connection, of so many in all: a
//! notebook may have some of them and no more. Loading it is one transaction and may be repeated; the set
//! of closed networks only grows, so that a server with fewer of them does not open another's.

use std::fmt::Display;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use atelier_runtime::RuntimeError;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{OnceCell, oneshot};

use crate::config::NetworkConfig;
use crate::file;

mod pair;

use pair::Pair;

/// How many connections a notebook may have with the outside at a time.
const CONNECTIONS: u32 = 8192;

/// The part of the network that notebooks share.
#[derive(Debug)]
pub(crate) struct Network {
    config: NetworkConfig,
    name_servers: Vec<Ipv4Addr>,
    rules: OnceCell<()>,
}

/// Where one notebook is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) slot: u32,
    pub(crate) address: Ipv4Addr,
}

impl Network {
    pub(crate) fn new(config: NetworkConfig) -> Self {
        let name_servers =
            if config.name_servers.is_empty() { upstream_name_servers() } else { config.name_servers.clone() };
        Self { config, name_servers, rules: OnceCell::new() }
    }

    /// What a container's `/etc/resolv.conf` says.
    pub(crate) fn resolv_conf(&self) -> String {
        lines(&self.name_servers, |server| format!("nameserver {server}"))
    }

    /// The container, named by its first process, has its network afterwards.
    pub(crate) async fn attach(&self, Seat { slot, address }: Seat, first: OwnedFd) -> Result<(), RuntimeError> {
        if !self.config.egress {
            return Ok(());
        }
        self.rules.get_or_try_init(|| self.load_rules()).await?;
        let pair = Pair { slot, address, mtu: uplink_mtu() };
        in_a_thread(move || pair.make(first.as_fd())).await
    }

    async fn load_rules(&self) -> Result<(), RuntimeError> {
        let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
        let on = fs::read_to_string(forward).is_ok_and(|t| t.trim() == "1");
        if !on && let Err(e) = fs::write(forward, "1") {
            return Err(RuntimeError::Permanent(format!("`{}` cannot be set: {e}", forward.display())));
        }
        run(Command::new("nft").args(["-f", "-"]), &rules(&self.config.closed, &self.name_servers)).await
    }
}

/// The pair is gone afterwards. It also goes by itself with the container, but some time later.
pub(crate) async fn detach(slot: u32) -> Result<(), RuntimeError> {
    // By its number: a call that was given up may come late, and is not to remove the pair of the next start.
    match pair::index(slot).map_err(|e| could_not_change(&e))? {
        Some(index) => in_a_thread(move || pair::remove(index)).await,
        None => Ok(()),
    }
}

/// Whether the host's end of the pair is there.
pub(crate) fn is_attached(slot: u32) -> bool {
    pair::index(slot).is_ok_and(|index| index.is_some())
}

/// Does this in a thread of its own, which ends with it and may so be left in any namespace.
async fn in_a_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), RuntimeError> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name("network".into());
    // Who no longer waits for the result has no use for it.
    thread.spawn(move || drop(done.send(work()))).map_err(|e| could_not_change(&e))?;
    result.await.map_err(|e| could_not_change(&e))?.map_err(|e| could_not_change(&e))
}

fn could_not_change(why: &dyn Display) -> RuntimeError {
    RuntimeError::Transient(format!("the network could not be changed: {why}"))
}

/// The whole table as one transaction, which may be repeated. Name servers are reachable for questions even where
/// their network is closed.
pub(crate) fn rules(closed: &[String], name_servers: &[Ipv4Addr]) -> String {
    let closed = closed.iter().fold(String::new(), |all, network| all + ", " + network);
    let servers = lines(name_servers, |s| format!("add element inet atelier resolvers {{ {s} }}"));
    format!(
        "add table inet atelier
add set inet atelier closed4 {{ type ipv4_addr; flags interval; auto-merge; }}
add set inet atelier resolvers {{ type ipv4_addr; }}
add element inet atelier closed4 {{ 0.0.0.0/8, 10.201.0.0/16, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3{closed} }}
add set inet atelier connected {{ type ipv4_addr; flags dynamic; }}
{servers}add chain inet atelier from_notebook
add chain inet atelier first {{ type filter hook prerouting priority raw; policy accept; }}
add chain inet atelier to_host {{ type filter hook input priority filter - 5; policy accept; }}
add chain inet atelier forwarded {{ type filter hook forward priority filter - 5; policy accept; }}
add chain inet atelier counted {{ type filter hook forward priority filter - 6; policy accept; }}
add chain inet atelier outside {{ type nat hook postrouting priority srcnat; policy accept; }}
flush chain inet atelier from_notebook
flush chain inet atelier first
flush chain inet atelier to_host
flush chain inet atelier forwarded
flush chain inet atelier counted
flush chain inet atelier outside
add rule inet atelier from_notebook meta nfproto != ipv4 drop
add rule inet atelier from_notebook fib saddr . iif oif missing drop
add rule inet atelier from_notebook fib daddr type {{ local, broadcast, anycast, multicast }} drop
add rule inet atelier from_notebook ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 return
add rule inet atelier from_notebook ip daddr @closed4 drop
add rule inet atelier first iifname \"atl*\" jump from_notebook
add rule inet atelier to_host iifname \"atl*\" ct state established,related accept
add rule inet atelier to_host iifname \"atl*\" drop
add rule inet atelier forwarded iifname \"atl*\" oifname \"atl*\" drop
add rule inet atelier forwarded oifname \"atl*\" ct state established,related accept
add rule inet atelier forwarded oifname \"atl*\" drop
add rule inet atelier counted iifname \"atl*\" ct state new add @connected {{ ip saddr ct count over {CONNECTIONS} }} drop
add rule inet atelier outside ip saddr 10.201.0.0/16 oifname != \"atl*\" masquerade
"
    )
}

fn lines(servers: &[Ipv4Addr], line: impl Fn(&Ipv4Addr) -> String) -> String {
    servers.iter().fold(String::new(), |all, server| all + &line(server) + "\n")
}

/// The name servers that the machine itself asks in the end. Those on its own loopback cannot be reached from
/// another network namespace; where a local forwarder is in front, its file names the servers behind it.
fn upstream_name_servers() -> Vec<Ipv4Addr> {
    let read = |path: &str| name_servers(&fs::read_to_string(path).unwrap_or_default());
    let found = read("/etc/resolv.conf");
    let found = if found.is_empty() { read("/run/systemd/resolve/resolv.conf") } else { found };
    if found.is_empty() {
        tracing::warn!("no name server outside this machine is known; notebooks will not find hosts by name");
    }
    found
}

fn name_servers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    let lines = resolv_conf.lines().filter_map(|l| l.trim().strip_prefix("nameserver"));
    lines
        .filter_map(|l| l.trim().parse::<Ipv4Addr>().ok())
        .filter(|a| !a.is_loopback() && !a.is_unspecified())
        .collect()
}

/// The largest packet of the machine's own way out; a larger one inside would only be cut.
fn uplink_mtu() -> u32 {
    let routes = file::read(Path::new("/proc/net/route")).ok().flatten().unwrap_or_default();
    let routes = String::from_utf8_lossy(&routes);
    let uplink = routes.lines().skip(1).map(|l| l.split_ascii_whitespace().collect::<Vec<_>>());
    let uplink = uplink.into_iter().find(|f| f.get(1) == Some(&"00000000"));
    let mtu = uplink.and_then(|f| fs::read_to_string(format!("/sys/class/net/{}/mtu", f[0])).ok());
    mtu.and_then(|text| text.trim().parse().ok()).unwrap_or(1500)
}

/// Runs a program with this input; its own words are the error.
async fn run(command: &mut Command, input: &str) -> Result<(), RuntimeError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => RuntimeError::Permanent(format!("`{program}` is not there")),
        _ => RuntimeError::Transient(format!("{program}: {e}")),
    };
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(RuntimeError::Transient(format!("the network could not be made: {program}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarder_on_the_loopback_is_no_name_server() {
        let text = "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nnameserver fd00::1\noptions edns0\n";
        assert_eq!(name_servers(text), [Ipv4Addr::new(10, 0, 0, 53)]);
    }

    #[test]
    fn the_closed_networks_of_the_configuration_are_in_the_table() {
        assert!(rules(&["192.168.0.0/16".into()], &[]).contains("224.0.0.0/3, 192.168.0.0/16 }"));
    }
}
