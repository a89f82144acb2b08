//! What a campaign does, written down before it is done: rounds of faults and commands, made from a seed. A plan says
//! nothing of what it will meet, so any part of it can be left out and the rest still means something; that is how a
//! failure is made short.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// A call of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    BootId,
    Capacity,
    MemoryAvailable,
    ImageSize,
    PrepareImage,
    PrepareStorage,
    GrowStorage,
    DiscardStorage,
    PrepareCompute,
    ConfigureNetwork,
    Initialize,
    Stop,
    Remove,
    Observe,
    List,
    SetAside,
    BeginHook,
    HookEnd,
    HookTold,
    Shares,
    RemoveShare,
}

impl Call {
    /// Those about hooks and shared volumes, which not every notebook has.
    const OTHERS: [Self; 5] = [Self::BeginHook, Self::HookEnd, Self::HookTold, Self::Shares, Self::RemoveShare];
    /// Those about every notebook.
    pub(crate) const ALL: [Self; 16] = [
        Self::BootId,
        Self::Capacity,
        Self::MemoryAvailable,
        Self::ImageSize,
        Self::PrepareImage,
        Self::PrepareStorage,
        Self::GrowStorage,
        Self::DiscardStorage,
        Self::PrepareCompute,
        Self::ConfigureNetwork,
        Self::Initialize,
        Self::Stop,
        Self::Remove,
        Self::Observe,
        Self::List,
        Self::SetAside,
    ];
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It fails before it has any effect; trying again may help.
    Transient,
    /// It fails before it has any effect; trying again cannot help.
    Permanent,
    /// It takes this many milliseconds longer.
    Delay(u32),
    /// It never answers, and never has an effect.
    Hang,
    /// It does not let go when it is told to, and has its effect this many milliseconds later, as a call that hangs in
    /// the kernel.
    Stuck(u32),
    /// It has its effect, and the answer is an error.
    LostReply,
    /// It has its effect, and the answer is that trying again cannot help.
    LostReplyForGood,
    /// The process dies before the effect.
    DieBefore,
    /// The process dies after the effect, before the engine knows of it.
    DieAfter,
}

impl Deed {
    /// Its name without its measure.
    pub(crate) fn name(self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next calls of this kind go wrong, so many of them.
    Call(Call, Deed, u8),
    /// A commit goes wrong, after so many good ones.
    Commit(Deed, u8),
    /// A read fails, after so many good ones.
    Read(u8),
    /// The disk is full for this many milliseconds: every commit fails.
    DiskFull(u32),
    /// Somebody holds the database for this many milliseconds: every commit waits, and fails.
    Locked(u32),
    /// The wall clock is set.
    ClockJump(i64),
    /// Nothing runs for this many milliseconds.
    Pause(u32),
    /// The server of a running notebook ends; it is started again.
    ServerEnds(u8),
    /// All of a running notebook's instance but its volume is gone.
    InstanceVanishes(u8),
    /// The process dies when it has come this far in its talk with store and runtime.
    Die(u8),
    /// The process is ended in order, and started again.
    Restart,
    /// The machine is rebooted: the process dies, and everything that ran is gone.
    Reboot,
    /// An instance turns up that the store knows nothing of.
    Stranger,
}

impl Fault {
    /// Its name without its measures, for the sum at the end.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Call(call, deed, _) => format!("{call:?} {}", deed.name()),
            Self::Commit(deed, _) => format!("commit {}", deed.name()),
            other => {
                let text = format!("{other:?}");
                text.split('(').next().unwrap_or_default().to_owned()
            }
        }
    }
}

/// What a user wants. Notebooks are meant by their place among those that fit, whatever they are by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A new notebook with this flavor.
    Create { flavor: u8 },
    /// One that can be started, else a new one.
    Start { nth: u8 },
    /// One that runs.
    Stop { nth: u8 },
    /// Any one.
    Delete { nth: u8 },
    /// A new lease for one that runs.
    Renew { nth: u8 },
    /// What is there.
    List,
    /// A stop of somebody else's notebook.
    Trespass { nth: u8 },
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) user: u8,
    pub(crate) wish: Wish,
    /// What is asked for: −1 is never.
    pub(crate) grant_ms: i64,
    /// The client goes away before the answer.
    pub(crate) leaves: bool,
    /// What a new notebook has besides.
    pub(crate) extras: Extras,
}

/// What a notebook may have, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// The volume of its owner's notebooks.
    pub(crate) shared: bool,
    /// Hooks that are waited for.
    pub(crate) waits: bool,
    /// Hooks that are not.
    pub(crate) follows: bool,
}

/// What happens between two looks at everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// For the turns of tasks.
    pub(crate) seed: u64,
    /// This many milliseconds pass first.
    pub(crate) wait_ms: u32,
    pub(crate) faults: Vec<Fault>,
    pub(crate) commands: Vec<Command>,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {} ms; faults {:?}; commands [", self.wait_ms, self.faults)?;
        for (n, command) in self.commands.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let leaves = if command.leaves { " and leaves" } else { "" };
            write!(f, "{comma}user {} {:?} for {} ms{leaves}", command.user, command.wish, command.grant_ms)?;
            if command.extras != Extras::default() {
                write!(f, " with {:?}", command.extras)?;
            }
        }
        f.write_str("]")
    }
}

pub(crate) const USERS: u8 = 3;
const HOUR: i64 = 3_600_000;

/// The rounds of one episode.
pub(crate) fn episode(seed: u64, rounds: usize) -> Vec<Round> {
    let mut rounds = plain(seed, rounds);
    let mut chance = StdRng::seed_from_u64(!seed);
    for round in &mut rounds {
        enrich(&mut chance, round);
    }
    rounds
}

/// The same without hooks and shared volumes.
pub(crate) fn plain(seed: u64, rounds: usize) -> Vec<Round> {
    let mut chance = StdRng::seed_from_u64(seed);
    (0..rounds).map(|_| round(&mut chance)).collect()
}

/// Adds hooks and shared volumes, and what can go wrong with them.
fn enrich(chance: &mut StdRng, round: &mut Round) {
    for command in &mut round.commands {
        let (shared, waits, follows) = (chance.random_bool(0.4), chance.random_bool(0.2), chance.random_bool(0.2));
        command.extras = Extras { shared, waits, follows };
    }
    let Some(Fault::Call(call, ..)) = round.faults.first_mut().filter(|_| chance.random_bool(0.3)) else { return };
    *call = *Call::OTHERS.choose(chance).unwrap();
    let nth = chance.random();
    let (wish, extras) = match *call {
        Call::Shares | Call::RemoveShare => (Wish::Delete { nth }, Extras::default()),
        _ => (Wish::Create { flavor: nth }, Extras { waits: true, ..round.commands[0].extras }),
    };
    round.commands[0].wish = wish;
    round.commands[0].extras = extras;
}

fn round(chance: &mut StdRng) -> Round {
    let mut faults = vec![fault(chance)];
    // A second fault meets the repair of the first.
    while chance.random_bool(0.3) && faults.len() < 3 {
        faults.push(fault(chance));
    }
    if faults.iter().any(|f| matches!(f, Fault::Call(Call::DiscardStorage, ..))) {
        // A volume is discarded only when a creation fails before its server is tried.
        let call = *[Call::PrepareImage, Call::PrepareCompute, Call::ConfigureNetwork].choose(chance).unwrap();
        faults.push(Fault::Call(call, Deed::Permanent, 1));
    }
    let mut commands = vec![fitting(chance, faults[0])];
    while chance.random_bool(0.6) && commands.len() < 6 {
        let wish = wish(chance);
        commands.push(command(chance, wish));
    }
    let wait_ms =
        if chance.random_bool(0.1) { chance.random_range(0..8_000_000) } else { chance.random_range(0..2000) };
    Round { seed: chance.random(), wait_ms, faults, commands }
}

fn fault(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..100) {
        0..55 => {
            let call = *Call::ALL.choose(chance).unwrap();
            Fault::Call(call, deed(chance, call), *[1, 1, 1, 2, 3, 9].choose(chance).unwrap())
        }
        55..70 => {
            let deeds = [
                Deed::Transient,
                Deed::LostReply,
                Deed::LostReply,
                Deed::DieBefore,
                Deed::DieAfter,
                Deed::Delay(chance.random_range(1..9000)),
            ];
            Fault::Commit(*deeds.choose(chance).unwrap(), chance.random_range(0..8))
        }
        70..73 => Fault::Read(chance.random_range(0..20)),
        73..76 => Fault::DiskFull(chance.random_range(1..200_000)),
        76..79 => Fault::Locked(chance.random_range(1..60_000)),
        79..84 => Fault::ClockJump(chance.random_range(-3 * HOUR..3 * HOUR)),
        84..87 => Fault::Pause(60_000),
        87..90 => Fault::ServerEnds(chance.random()),
        90..92 => Fault::InstanceVanishes(chance.random()),
        92..96 => Fault::Die(chance.random_range(0..60)),
        96..97 => Fault::Restart,
        97..99 => Fault::Reboot,
        _ => Fault::Stranger,
    }
}

fn deed(chance: &mut StdRng, call: Call) -> Deed {
    let deeds: &[Deed] = &[
        Deed::Transient,
        Deed::Permanent,
        Deed::Delay(chance.random_range(1..200_000)),
        Deed::Hang,
        Deed::LostReply,
        Deed::LostReplyForGood,
        Deed::DieBefore,
        Deed::DieAfter,
        Deed::Stuck(chance.random_range(1..400_000)),
    ];
    match call {
        // Asked once, at the start, before anything is served: who waits for it is the operator.
        Call::Capacity | Call::BootId => {
            *[Deed::Transient, Deed::Permanent, Deed::DieBefore, Deed::DieAfter].choose(chance).unwrap()
        }
        _ => *deeds.choose(chance).unwrap(),
    }
}

/// A command that leads to where the fault waits.
fn fitting(chance: &mut StdRng, fault: Fault) -> Command {
    let nth = chance.random();
    let wish = match fault {
        Fault::Call(Call::MemoryAvailable | Call::ImageSize | Call::DiscardStorage, ..) => {
            Wish::Create { flavor: chance.random() }
        }
        Fault::Call(Call::Stop, ..) => Wish::Stop { nth },
        Fault::Call(Call::SetAside | Call::Remove, ..) => Wish::Delete { nth },
        Fault::Call(..) => Wish::Start { nth },
        _ => wish(chance),
    };
    command(chance, wish)
}

fn command(chance: &mut StdRng, wish: Wish) -> Command {
    let grant_ms = if chance.random_bool(0.2) { -1 } else { chance.random_range(HOUR..4 * HOUR) };
    Command {
        user: chance.random_range(0..USERS),
        wish,
        grant_ms,
        leaves: chance.random_bool(0.1),
        extras: Extras::default(),
    }
}

fn wish(chance: &mut StdRng) -> Wish {
    let nth = chance.random();
    match chance.random_range(0..100) {
        0..20 => Wish::Create { flavor: nth },
        20..45 => Wish::Start { nth },
        45..63 => Wish::Stop { nth },
        63..78 => Wish::Delete { nth },
        78..90 => Wish::Renew { nth },
        90..95 => Wish::List,
        _ => Wish::Trespass { nth },
    }
}
