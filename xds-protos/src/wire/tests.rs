use super::*;

#[test]
fn entries_of_every_wire_type() {
    let mut bytes = vec![];
    put_tag(&mut bytes, 1, 0);
    put_varint(&mut bytes, u64::MAX);
    put_tag(&mut bytes, 2, 1);
    bytes.extend(7u64.to_le_bytes());
    put_bytes(&mut bytes, 300, b"abc");
    put_tag(&mut bytes, 4, 5);
    bytes.extend(9u32.to_le_bytes());
    let raws: Vec<_> = entries(&bytes).unwrap().into_iter().map(|e| (e.number, e.raw)).collect();
    let expected =
        [(1, Raw::Varint(u64::MAX)), (2, Raw::Fixed64(7)), (300, Raw::Bytes(b"abc")), (4, Raw::Fixed32(9))];
    assert_eq!(raws, expected);
}

#[test]
fn groups_are_skipped() {
    let bytes = [0x0b, 0x13, 0x18, 0x05, 0x14, 0x0c, 0x20, 0x01];
    let raws: Vec<_> = entries(&bytes).unwrap().into_iter().map(|e| (e.number, e.raw)).collect();
    assert_eq!(raws, [(1, Raw::Group), (4, Raw::Varint(1))]);
}

#[test]
fn bad_bytes_are_errors() {
    for bytes in [
        &[0x08][..],                                                              // no payload
        &[0x0a, 0x05, 0x00],                                                      // length beyond the end
        &[0x00, 0x00],                                                            // field 0
        &[0x0e],                                                                  // wire type 6
        &[0x0c],       // end of a group never opened
        &[0x0b, 0x08], // open group
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], // 65 bits
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // length of 2^64-1
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x0], // endless varint
        &[0x0b; 200],  // groups in groups
    ] {
        assert!(entries(bytes).is_err(), "{bytes:02x?}");
    }
}
