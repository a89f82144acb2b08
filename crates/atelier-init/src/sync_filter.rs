//! The filter by which the init is asked what `sync` does in a container.
//!
//! The kernel's own `sync` writes every file system of the machine and waits for all of them: a notebook that calls it over
//! and over keeps the disk busy with what others have written. With this filter the caller waits, and the init hears of
//! it through the descriptor that the kernel gives to whoever installs the filter.
//!
//! The init installs it in itself, so that all that it starts has it. What was made elsewhere installs it too, and hands
//! the descriptor over ([`Command::AnswerSyncs`]).
//!
//! [`Command::AnswerSyncs`]: crate::protocol::Command::AnswerSyncs

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF, sock_filter};

/// The program. It looks at the number of the call alone: the list of allowed calls ends whoever makes calls of another
/// architecture, and refuses the second table of this one.
pub const fn program() -> [sock_filter; 4] {
    // Opcodes of the kernel's filter machine, in the width of an instruction.
    const LOAD_NUMBER: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The numbers of calls are small.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the line below")]
    const SYNC: u32 = libc::SYS_sync as u32;
    const _: () = assert!(SYNC as i64 == libc::SYS_sync);
    [
        sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 },
        sock_filter { code: IF_EQUAL, jt: 0, jf: 1, k: SYNC },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: SECCOMP_RET_USER_NOTIF },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: SECCOMP_RET_ALLOW },
    ]
}
