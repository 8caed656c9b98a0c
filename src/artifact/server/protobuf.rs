//! The three calls of version 2 in the binary form of protocol buffers, which sccache speaks (`apache/opendal: services/ghac`). Their fields are
//! texts, numbers and truths (`actions/toolkit: results/api/v1/cache.proto`).

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number or a truth.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    /// The text; `None`: it is none.
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Field::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            Field::Number(_) => None,
        }
    }
}

/// The fields of a message by their numbers, in order. `None`: it is no message.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = tag >> 3;
        match tag & 7 {
            0 => found.push((number, Field::Number(varint(&mut bytes)?))),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(length)?;
                found.push((number, Field::Bytes(field)));
                bytes = rest;
            }
            // Numbers of 8 and of 4 bytes: fields that none of the messages has.
            1 => bytes = bytes.get(8..)?,
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has one bit of the number.
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A message that is being written. What has its default value is left out.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A number or a truth.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    /// A text.
    pub(super) fn text(mut self, field: u64, value: &str) -> Self {
        if !value.is_empty() {
            self.varint(field << 3 | 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value.as_bytes());
        }
        self
    }

    /// The message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_as_the_format_is_specified() {
        // The examples of protobuf.dev/programming-guides/encoding.
        assert_eq!(fields(&[0x08, 0x96, 0x01]), Some(vec![(1, Field::Number(150))]));
        let testing = [&[0x12, 0x07][..], b"testing"].concat();
        assert_eq!(fields(&testing).unwrap()[0].1.text(), Some("testing"));
        assert_eq!(Writer::default().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Writer::default().text(2, "testing").number(3, 0).text(4, "").into_bytes(), testing);
        for wrong in [
            &[0x08][..],
            &[0x12, 0x07, b't'],
            &[0x0b],
            &[0xff; 11],
            &[0x09, 0, 0],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ] {
            assert_eq!(fields(wrong), None, "{wrong:x?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".{1,40}", number in 1u64..) {
            let bytes = Writer::default().text(2, &text).number(3, number).into_bytes();
            let read = fields(&bytes).unwrap();
            prop_assert_eq!(read, vec![(2, Field::Bytes(text.as_bytes())), (3, Field::Number(number))]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
