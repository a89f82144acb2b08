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

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use atelier_runtime::RuntimeError;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::config::NetworkConfig;
use crate::file;

/// The other end of the pair, as the container calls it.
const NEXT_HOP: &str = "169.254.1.1";

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
    pub(crate) pid: i32,
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

    /// The container has its network afterwards.
    pub(crate) async fn attach(&self, seat: Seat, namespaces: OwnedFd) -> Result<(), RuntimeError> {
        if !self.config.egress {
            return Ok(());
        }
        self.rules.get_or_try_init(|| self.load_rules()).await?;
        detach(seat.slot).await?;
        let mtu = uplink_mtu();
        run(Command::new("ip").args(["-batch", "-"]), &host_side(seat, mtu)).await?;
        let mut inside = Command::new("ip");
        inside.args(["-batch", "-"]);
        // SAFETY: between fork and exec only one system call is made, on a descriptor that the closure owns.
        unsafe {
            inside.pre_exec(move || {
                if libc::setns(namespaces.as_raw_fd(), libc::CLONE_NEWNET) == 0 {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
        run(&mut inside, &container_side(seat)).await
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
    let name = host_name(slot);
    if !is_there(&name) {
        return Ok(());
    }
    let gone = run(Command::new("ip").args(["link", "del", "dev", &name]), "").await;
    if is_there(&name) { gone } else { Ok(()) }
}

/// Whether the host's end of the pair is there.
pub(crate) fn is_attached(slot: u32) -> bool {
    is_there(&host_name(slot))
}

fn is_there(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).exists()
}

fn host_name(slot: u32) -> String {
    format!("atl{slot}")
}

/// Fixed hardware addresses: locally administered, told apart by the slot.
fn hardware_address(slot: u32, host: bool) -> String {
    let [a, b, c, d] = slot.to_be_bytes();
    let end = if host { 0x06 } else { 0x02 };
    format!("{end:02x}:61:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn host_side(Seat { slot, address, pid }: Seat, mtu: u32) -> String {
    let name = host_name(slot);
    let (here, there) = (hardware_address(slot, true), hardware_address(slot, false));
    format!(
        "link add dev {name} address {here} mtu {mtu} type veth \
         peer name eth0 address {there} mtu {mtu} netns {pid}\n\
         link set dev {name} addrgenmode none\n\
         link set dev {name} up\n\
         route replace {address}/32 dev {name}\n\
         neigh replace {address} lladdr {there} dev {name} nud permanent\n"
    )
}

fn container_side(Seat { slot, address, .. }: Seat) -> String {
    let there = hardware_address(slot, true);
    format!(
        "link set dev eth0 addrgenmode none\n\
         address add {address}/32 dev eth0\n\
         link set dev eth0 up\n\
         route add {NEXT_HOP} dev eth0 scope link\n\
         neigh add {NEXT_HOP} lladdr {there} dev eth0 nud permanent\n\
         route add default via {NEXT_HOP}\n"
    )
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
    fn interface_names_fit_and_addresses_differ() {
        assert!(host_name(64_999).len() <= 15);
        assert_ne!(hardware_address(1, true), hardware_address(1, false));
        assert_ne!(hardware_address(1, true), hardware_address(257, true));
    }

    #[test]
    fn the_closed_networks_of_the_configuration_are_in_the_table() {
        assert!(rules(&["192.168.0.0/16".into()], &[]).contains("224.0.0.0/3, 192.168.0.0/16 }"));
    }
}
