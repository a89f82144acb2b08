//! The system calls that a notebook may make.
//!
//! An allowlist like that of the usual container engines for a container without rights: what is not named is
//! refused with EPERM, a second table of numbers (x32) included. Namespaces cannot be made: `clone` is checked by its
//! flags, and `clone3`, whose flags a filter cannot see, is answered with ENOSYS, so that the C library falls back to
//! `clone`. Calls newer than this list are answered with ENOSYS as well: programs expect that and have another way.
//!
//! Two kinds of calls that container engines allow are left out: the older asynchronous input and output (`io_setup`)
//! and POSIX message queues (`mq_open`). The kernel has a fixed number of requests for the whole machine, and of bytes
//! for the queues of all user namespaces of one owner: one notebook could use them up.
//!
//! The programs are made here and installed by the init in the server it starts; everything below inherits them. Beside
//! them is one of the init's own, which asks it what `sync` is to do ([`atelier_init::sync_filter`]).

use std::collections::BTreeMap;
use std::sync::OnceLock;

use atelier_init::sync_filter;
use libc::{
    AF_ALG, AF_VSOCK, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS, ENOSYS, EPERM,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

mod allowed;

const NEW_NAMESPACES: i32 =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
/// The personalities that change nothing of security: none, other version numbers, and the question itself.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// The last call in the table when the list was made.
const LAST_KNOWN_CALL: u32 = 469;
/// `clone3` has the same number on every architecture.
const CLONE3: u32 = 435;
const _: () = assert!(CLONE3 as i64 == libc::SYS_clone3);
/// Calls of the x32 table have this bit.
const X32: u32 = 0x4000_0000;

/// The filters as the init takes them: in hexadecimal digits, in the order in which they are installed.
pub(crate) fn filters() -> Result<Vec<String>, BackendError> {
    static MADE: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let made = vec![hex(&allowlist()?), hex(&not_there())];
    Ok(MADE.get_or_init(|| made).clone())
}

/// The filter that asks the init what `sync` is to do, in the same form. Whoever installs it gets the descriptor by which the
/// init hears of the calls.
pub(crate) fn sync_filter() -> String {
    hex(&sync_filter::program().map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }))
}

fn allowlist() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = allowed::CALLS.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![rule(vec![flags_without(NEW_NAMESPACES)?])?]);
    let family = |other: i32| argument(0, SeccompCmpOp::Ne, u64::from(other.unsigned_abs()));
    rules.insert(libc::SYS_socket, vec![rule(vec![family(AF_ALG)?, family(AF_VSOCK)?])?]);
    let personality = |p: &u64| rule(vec![argument(0, SeccompCmpOp::Eq, *p)?]);
    rules.insert(libc::SYS_personality, PERSONALITIES.iter().map(personality).collect::<Result<_, _>>()?);
    let refuse = SeccompAction::Errno(EPERM.unsigned_abs());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture()?)?.try_into()
}

fn architecture() -> Result<TargetArch, BackendError> {
    TargetArch::try_from(std::env::consts::ARCH)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

fn flags_without(flags: i32) -> Result<SeccompCondition, BackendError> {
    argument(0, SeccompCmpOp::MaskedEq(u64::from(flags.unsigned_abs())), 0)
}

/// Answers "there is no such call" where programs know what to do then. Installed last: of two refusals the one of
/// the newest filter is what the program sees.
fn not_there() -> BpfProgram {
    // Opcodes of the kernel's filter machine, in the width of an instruction.
    const LOAD_NUMBER: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const IF_GREATER: u16 = 0x25;
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let jump = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    vec![
        jump(LOAD_NUMBER, 0, 0, 0),
        jump(IF_EQUAL, CLONE3, 3, 0),
        jump(IF_AT_LEAST, X32, 1, 0),
        jump(IF_GREATER, LAST_KNOWN_CALL, 1, 0),
        jump(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        jump(RETURN, libc::SECCOMP_RET_ERRNO | ENOSYS.unsigned_abs(), 0, 0),
    ]
}

fn hex(program: &[sock_filter]) -> String {
    use std::fmt::Write as _;
    program.iter().fold(String::with_capacity(program.len() * 16), |mut text, i| {
        let [a, b] = i.code.to_le_bytes();
        let bytes = [a, b, i.jt, i.jf].into_iter().chain(i.k.to_le_bytes());
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_filters_fit_into_the_kernels_limit() {
        let filters = filters().unwrap();
        assert_eq!(filters.len(), 2);
        for filter in filters {
            assert!(filter.len() % 16 == 0 && filter.len() / 16 <= 4096, "{} digits", filter.len());
        }
    }

    #[test]
    fn dangerous_calls_are_not_named() {
        let dangerous = [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_io_setup,
            libc::SYS_mq_open,
            libc::SYS_perf_event_open,
            libc::SYS_open_by_handle_at,
            libc::SYS_kexec_load,
            libc::SYS_init_module,
            libc::SYS_reboot,
            libc::SYS_open_tree,
            libc::SYS_pivot_root,
        ];
        assert!(dangerous.iter().all(|call| !allowed::CALLS.contains(call)));
    }
}
