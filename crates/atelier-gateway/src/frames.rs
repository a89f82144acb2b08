//! What a visitor sends over a `WebSocket`, overheard: where messages begin, and how they begin.
//!
//! The bytes pass as they came; nothing is collected but the first part of each message, which says what it is. Pings,
//! pongs and the close are no messages. A browser answers the server's pings by itself, so counting bytes instead would
//! make every open page a person at work.

/// How much of each message is looked at. The heads of kernels' messages are well within.
const BEGINNING: usize = 1024;
/// The longest head of a frame.
const HEAD: usize = 14;

/// Follows one direction of a `WebSocket`.
#[derive(Debug)]
pub(crate) struct Frames {
    head: Vec<u8>,
    /// What of the present frame's payload has not passed yet.
    left: u64,
    mask: [u8; 4],
    masked_at: usize,
    /// The frame belongs to a message, and is not about the connection.
    of_message: bool,
    /// It is the last one of its message.
    last: bool,
    beginning: Vec<u8>,
    message: Message,
}

/// How far the present message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// Its beginning is being collected.
    Begun,
    /// Its payload cannot be read: it is compressed.
    Opaque,
    /// It has been told, or there was none yet.
    Told,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self {
            head: Vec::with_capacity(HEAD),
            left: 0,
            mask: [0; 4],
            masked_at: 0,
            of_message: false,
            last: false,
            beginning: Vec::new(),
            message: Message::Told,
        }
    }

    /// Whether what has passed ends with the end of a frame, so that another one may stand here.
    pub(crate) fn are_whole(&self) -> bool {
        self.left == 0 && self.head.is_empty()
    }

    /// Takes the next bytes, and tells the beginning of every message as soon as enough of it, or its end, was there.
    /// What cannot be read is told as nothing.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.head.push(bytes[0]);
                bytes = &bytes[1..];
                if self.head.len() == head_length(&self.head) {
                    self.begin_frame();
                    self.end_frame(&mut tell);
                }
                continue;
            }
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (payload, rest) = bytes.split_at(here);
            self.payload(payload, &mut tell);
            bytes = rest;
            self.left -= u64::try_from(here).unwrap_or(u64::MAX);
            self.end_frame(&mut tell);
        }
    }

    fn begin_frame(&mut self) {
        let (first, second) = (self.head[0], self.head[1]);
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.left = if extended == 0 { u64::from(second & 0x7f) } else { number(&self.head[2..2 + extended]) };
        self.mask = [0; 4];
        if second & 0x80 != 0 {
            self.mask.copy_from_slice(&self.head[2 + extended..]);
        }
        self.masked_at = 0;
        let opcode = first & 0x0f;
        self.of_message = opcode < 8;
        if self.of_message {
            self.last = first & 0x80 != 0;
            if opcode != 0 {
                self.beginning.clear();
                self.message = if first & 0x70 == 0 { Message::Begun } else { Message::Opaque };
            }
        }
        self.head.clear();
    }

    fn payload(&mut self, payload: &[u8], tell: &mut impl FnMut(&[u8])) {
        if !self.of_message || self.message != Message::Begun {
            return;
        }
        let wanted = payload.len().min(BEGINNING - self.beginning.len());
        let unmasked = payload[..wanted].iter().zip(self.mask.iter().cycle().skip(self.masked_at % 4));
        self.beginning.extend(unmasked.map(|(byte, mask)| byte ^ mask));
        self.masked_at += wanted;
        if self.beginning.len() == BEGINNING {
            self.tell(tell);
        }
    }

    /// Tells the message, when this was the end of its last frame.
    fn end_frame(&mut self, tell: &mut impl FnMut(&[u8])) {
        if self.left == 0 && self.of_message && self.last && self.message != Message::Told {
            self.tell(tell);
        }
    }

    fn tell(&mut self, tell: &mut impl FnMut(&[u8])) {
        let opaque = self.message == Message::Opaque;
        self.message = Message::Told;
        tell(if opaque { &[] } else { &self.beginning });
    }
}

/// How long the head of a frame is, as far as that is known from its first bytes.
fn head_length(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else { return 2 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u8 = 0x1;
    const PING: u8 = 0x9;
    const PONG: u8 = 0xa;
    const LAST: u8 = 0x80;
    const COMPRESSED: u8 = 0x40;

    /// A frame as browsers send it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x33, 0xf4];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            medium @ 126..65536 => {
                bytes.push(0x80 | 0x7e);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(0x80 | 127);
                bytes.extend(u64::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn told(bytes: &[u8], pieces: usize) -> Vec<Vec<u8>> {
        let (mut frames, mut told) = (Frames::new(), Vec::new());
        for piece in bytes.chunks(pieces) {
            frames.take(piece, |beginning| told.push(beginning.to_vec()));
        }
        told
    }

    #[test]
    fn messages_are_told_by_their_beginnings_however_the_bytes_arrive() {
        let medium: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let long = vec![7; 70_000];
        let all = [
            frame(LAST | TEXT, b"one"),
            frame(LAST | PING, b"are you there"),
            frame(LAST | TEXT, &medium),
            frame(TEXT, b"in "),
            frame(LAST | PONG, b""),
            frame(0, b""),
            frame(LAST, b"pieces"),
            frame(LAST | TEXT, &long),
            frame(LAST | TEXT, b""),
            frame(LAST | 0x8, b"\x03\xe8"),
        ]
        .concat();
        let wanted =
            [b"one".to_vec(), medium[..1024].to_vec(), b"in pieces".to_vec(), long[..1024].to_vec(), Vec::new()];
        for pieces in [1, 2, 3, 7, 1000, all.len()] {
            assert_eq!(told(&all, pieces), wanted, "in pieces of {pieces}");
        }
    }

    #[test]
    fn frames_are_whole_between_two_of_them_only() {
        let (mut frames, all) = (Frames::new(), frame(LAST | TEXT, b"four"));
        assert!(frames.are_whole());
        for byte in &all[..all.len() - 1] {
            frames.take(&[*byte], |_| {});
            assert!(!frames.are_whole());
        }
        frames.take(&all[all.len() - 1..], |_| {});
        assert!(frames.are_whole());
    }

    #[test]
    fn what_is_about_the_connection_is_no_message() {
        let all = [frame(LAST | PING, b"x"), frame(LAST | PONG, &[1; 125]), frame(LAST | PONG, b"")].concat();
        for pieces in [1, 5, 500] {
            assert_eq!(told(&all, pieces), Vec::<Vec<u8>>::new());
        }
    }

    #[test]
    fn what_is_compressed_is_told_as_nothing() {
        let all = [frame(LAST | COMPRESSED | TEXT, b"zzz"), frame(LAST | TEXT, b"plain")].concat();
        assert_eq!(told(&all, 4), [Vec::new(), b"plain".to_vec()]);
    }

    #[test]
    fn a_frame_without_a_mask_is_read_too() {
        assert_eq!(told(&[LAST | TEXT, 2, b'h', b'i'], 1), [b"hi".to_vec()]);
    }
}
