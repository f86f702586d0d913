#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths of a few hundred kilobytes, on machines that have them"
)]

use futures_util::TryStreamExt;
use proptest::prelude::*;

use super::*;

const NAME: &str = "recordings/t/1";

fn keys(text: &str) -> Keys {
    Keys::parse(text).unwrap()
}

fn ours() -> Keys {
    keys(&format!("k1:{}", STANDARD.encode([7; 32])))
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn body(bytes: &[u8], pieces: usize) -> MediaStream {
    let chunks: Vec<_> = bytes
        .chunks(pieces.max(1))
        .map(|c| Ok(Bytes::copy_from_slice(c)))
        .collect();
    stream::iter(chunks).boxed()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(work).expect("nothing here waits")
}

fn gather(stream: MediaStream) -> Result<Vec<u8>, MediaError> {
    run(async {
        let chunks: Vec<Bytes> = stream.try_collect().await?;
        Ok(chunks.concat())
    })
}

fn sealed(text: &[u8], pieces: usize) -> Vec<u8> {
    let (id, sealer) = ours().sealer(&tenant("t"), NAME).unwrap();
    assert_eq!(id, "k1");
    gather(sealer.seal(body(text, pieces))).unwrap()
}

fn opened(
    keys: &Keys,
    sealed: &[u8],
    bytes: u64,
    range: Range<u64>,
) -> Result<Vec<u8>, MediaError> {
    let header = sealed.get(..HEADER as usize).unwrap_or_default();
    let opener = keys.opener(&tenant("t"), NAME, header, bytes)?;
    let there = opener.sealed_range(&range);
    let (from, to) = (there.start as usize, there.end as usize);
    // What a storage does that has less.
    let there = &sealed[from.min(sealed.len())..to.min(sealed.len())];
    gather(opener.open(body(there, 1_000), range))
}

fn text(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn keys_are_read_and_never_shown() {
    let one = STANDARD.encode([1; 32]);
    let both = keys(&format!("new:{one}, old:{one}"));
    assert_eq!(format!("{both:?}"), "Keys(new, old)");
    for bad in [
        "",
        "k1",
        "k1:AAAA",
        &format!(":{one}"),
        &format!("a b:{one}"),
        &format!("{}:{one}", "x".repeat(25)),
        &format!("a:{one},a:{one}"),
    ] {
        assert_eq!(Keys::parse(bad).err(), Some(BadKeys), "{bad}");
    }
}

#[test]
fn the_wrong_key_tenant_or_name_opens_nothing() {
    let there = sealed(b"hello", 9);
    let new = STANDARD.encode([8; 32]);
    let right = STANDARD.encode([7; 32]);
    assert_eq!(
        opened(&keys(&format!("k2:{new},k1:{right}")), &there, 5, 0..5).unwrap(),
        b"hello"
    );
    let without = opened(&keys(&format!("k2:{new}")), &there, 5, 0..5);
    assert_eq!(without, Err(crate::media::no_key("k1")));
    assert!(matches!(
        opened(&keys(&format!("k1:{new}")), &there, 5, 0..5),
        Err(MediaError::Sealed(_))
    ));
    for (who, name) in [("t2", NAME), ("t", "recordings/t/2")] {
        let opener = ours().opener(&tenant(who), name, &there[..64], 5).unwrap();
        let range = opener.sealed_range(&(0..5));
        let part = &there[range.start as usize..range.end as usize];
        assert!(
            gather(opener.open(body(part, 99), 0..5)).is_err(),
            "{who} {name}"
        );
    }
}

#[test]
fn chunks_cannot_be_moved_or_left_out() {
    let all = text(3 * CHUNK + 5);
    let there = sealed(&all, 40_000);
    let at = |i: usize| HEADER as usize + i * SEALED as usize;
    let bytes = all.len() as u64;
    let mut swapped = there.clone();
    swapped[at(0)..at(1)].copy_from_slice(&there[at(1)..at(2)]);
    swapped[at(1)..at(2)].copy_from_slice(&there[at(0)..at(1)]);
    assert!(opened(&ours(), &swapped, bytes, 0..9).is_err());
    // Cut after a whole chunk, by somebody who can change the document as well.
    let cut = &there[..at(2)];
    assert!(opened(&ours(), cut, 2 * CHUNK as u64, 0..2 * CHUNK as u64).is_err());
    assert!(opened(&ours(), cut, bytes, 0..bytes).is_err());
    // A chunk of another object.
    let other = sealed(&all, 40_000);
    let mut mixed = there.clone();
    mixed[at(1)..at(2)].copy_from_slice(&other[at(1)..at(2)]);
    assert!(opened(&ours(), &mixed, bytes, 0..bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_part_of_any_text_comes_back(
        n in prop_oneof![1_usize..300, CHUNK - 2..CHUNK + 3, 2 * CHUNK - 2..2 * CHUNK + 3, 1..4 * CHUNK],
        pieces in prop_oneof![1_usize..9, 1_000..200_000_usize],
        a in 0.0..1.0_f64, b in 0.0..1.0_f64,
    ) {
        let all = text(n);
        let there = sealed(&all, pieces.max(n / 500));
        let chunks = n.div_ceil(CHUNK);
        prop_assert_eq!(there.len(), HEADER as usize + n + chunks * TAG);
        let place = |x: f64| ((x * n as f64) as usize).min(n - 1);
        let (from, to) = (place(a).min(place(b)), place(a).max(place(b)) + 1);
        let part = opened(&ours(), &there, n as u64, from as u64..to as u64).unwrap();
        prop_assert_eq!(part, &all[from..to]);
        prop_assert_eq!(opened(&ours(), &there, n as u64, 0..n as u64).unwrap(), all);
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_noticed(
        n in 1_usize..2 * CHUNK, at in 0.0..1.0_f64, bit in 0_u8..8, keep in 0.0..1.0_f64,
    ) {
        let all = text(n);
        let mut there = sealed(&all, 50_000);
        let cut = &there[..(keep * there.len() as f64) as usize];
        prop_assert!(opened(&ours(), cut, n as u64, 0..n as u64).is_err());
        let at = (at * there.len() as f64) as usize;
        there[at] ^= 1 << bit;
        prop_assert!(opened(&ours(), &there, n as u64, 0..n as u64).is_err());
    }
}
