//! How many files, processes and watches there may be. Where a server runs, its own limits are looked at: a service's
//! differ from a shell's.

use super::finding::{Finding, State};
use super::{ok, read};
use crate::folder::Holder;

pub(super) fn look(holder: Option<&Holder>) -> Vec<Finding> {
    let server = holder.and_then(|holder| holder.pid);
    vec![open_files(server), processes(), tasks(server), watches()]
}

/// The soft limit of the running server, or of whoever asks, which a server that is started from here would have.
fn open_files(server: Option<i32>) -> Finding {
    let topic = "open files";
    let (whose, text) = match server {
        Some(pid) => ("the server", read(&format!("/proc/{pid}/limits"))),
        None => ("this shell", read("/proc/self/limits")),
    };
    let cost = "a connection takes up to three: new ones are refused under load";
    let Some(most) = soft_limit(&text, "Max open files") else {
        return Finding::unseen(topic, cost);
    };
    let found = format!("{most} at a time for {whose}");
    if most >= 8192 {
        return ok(topic, found);
    }
    Finding::bad(topic, State::Warning, found, cost, "`LimitNOFILE=65536` in the unit, or `ulimit -n 65536`")
}

/// A line of `/proc/PID/limits`.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    let soft = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

fn processes() -> Finding {
    let figure = |name: &str| read(&format!("/proc/sys/kernel/{name}")).trim().parse::<u64>().unwrap_or(0);
    let (numbers, threads) = (figure("pid_max"), figure("threads-max"));
    let found = format!("{numbers}, and {threads} threads");
    if numbers.min(threads) >= 131_072 {
        return ok("process numbers", found);
    }
    let cost = "many notebooks together run out of numbers";
    let cure = "sysctl -w kernel.pid_max=4194304 kernel.threads-max=1000000";
    Finding::bad("process numbers", State::Warning, found, cost, cure)
}

/// What the control group of the server allows: systemd gives a service a share of the machine's numbers.
fn tasks(server: Option<i32>) -> Finding {
    let topic = "tasks of the service";
    let whose = server.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let most = pids_group(&read(&format!("/proc/{whose}/cgroup")))
        .and_then(|folder| read(&format!("{folder}/pids.max")).trim().parse::<u64>().ok());
    match most {
        Some(most) if most < 4096 => {
            let cost = "the server cannot start the processes that make and watch notebooks";
            Finding::bad(topic, State::Warning, format!("{most} at most"), cost, "`TasksMax=infinity` in the unit")
        }
        Some(most) => ok(topic, format!("{most} at most")),
        None => ok(topic, "not limited by a control group"),
    }
}

/// Where the control group is that counts processes, by the text of `/proc/PID/cgroup`.
fn pids_group(text: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let second = |path: &str| format!("/sys/fs/cgroup{path}");
    lines
        .clone()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == "pids"))
        .map(|(controllers, path)| format!("/sys/fs/cgroup/{controllers}{path}"))
        .or_else(|| lines.find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| second(path)))
}

fn watches() -> Finding {
    let figure = |name: &str| read(&format!("/proc/sys/fs/inotify/{name}")).trim().parse::<u64>().unwrap_or(0);
    let (instances, watches) = (figure("max_user_instances"), figure("max_user_watches"));
    let found = format!("{instances} instances and {watches} watches for each user");
    if instances >= 128 && watches >= 8192 {
        return ok("inotify", found);
    }
    let cost = "programs in notebooks that watch files fail";
    let cure = "sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288";
    Finding::bad("inotify", State::Warning, found, cost, cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             unlimited            unlimited            processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text, "Max open files"), Some(1024));
        assert_eq!(soft_limit(text, "Max processes"), Some(u64::MAX));
        assert_eq!(soft_limit(text, "Max locks"), None);
    }

    #[test]
    fn the_group_that_counts_is_found_in_both_versions() {
        let first = "7:pids:/system.slice/atelier.service\n3:cpu,cpuacct:/\n0::/x\n";
        assert_eq!(pids_group(first).unwrap(), "/sys/fs/cgroup/pids/system.slice/atelier.service");
        assert_eq!(pids_group("0::/system.slice/a").unwrap(), "/sys/fs/cgroup/system.slice/a");
        assert_eq!(pids_group(""), None);
    }
}
