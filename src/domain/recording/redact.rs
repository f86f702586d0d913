//! Numbers that nobody may read in a transcript: of cards and accounts. Any long run of digits goes,
//! spoken in figures or, in English, in words.

/// Digits that are taken for such a number.
const LONG: usize = 8;
/// What stands in its place.
pub const REDACTED: &str = "[number]";

/// What a piece of a text is to a run of digits.
enum Piece {
    /// So many digits.
    Digits(usize),
    /// It may stand between two digits.
    Between,
    /// It ends a run.
    Other,
}

/// The text without any run of [`LONG`] digits or more.
#[must_use]
pub fn redact(text: &str) -> String {
    let pieces = pieces(text);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < pieces.len() {
        let (piece, kind) = &pieces[at];
        if !matches!(kind, Piece::Digits(_)) {
            out.push_str(piece);
            at += 1;
            continue;
        }
        // To the last digits of the run; what stands between them belongs to it.
        let (mut end, mut digits) = (at, 0);
        for (i, (_, kind)) in pieces.iter().enumerate().skip(at) {
            match kind {
                Piece::Digits(n) => {
                    digits += n;
                    end = i;
                }
                Piece::Between => {}
                Piece::Other => break,
            }
        }
        if digits >= LONG {
            out.push_str(REDACTED);
        } else {
            pieces[at..=end].iter().for_each(|(p, _)| out.push_str(p));
        }
        at = end + 1;
    }
    out
}

/// Words, figures, and single characters between them.
fn pieces(text: &str) -> Vec<(&str, Piece)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let class = |c: char| (c.is_numeric(), c.is_alphabetic());
        let length = match class(first) {
            (false, false) => first.len_utf8(),
            of_first => rest.find(|c| class(c) != of_first).unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push((piece, kind(piece, first)));
        rest = after;
    }
    pieces
}

fn kind(piece: &str, first: char) -> Piece {
    if first.is_numeric() {
        return Piece::Digits(piece.chars().count());
    }
    if !first.is_alphabetic() {
        return Piece::Between;
    }
    let words = [
        "zero", "oh", "o", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    let fillers = ["and", "then", "dash", "uh", "um", "er"];
    let is = |word: &&str| piece.eq_ignore_ascii_case(word);
    if words.iter().any(is) {
        Piece::Digits(1)
    } else if piece.eq_ignore_ascii_case("double") || piece.eq_ignore_ascii_case("triple") {
        // "double four": the four counts once more, at least.
        Piece::Digits(1)
    } else if fillers.iter().any(is) {
        Piece::Between
    } else {
        Piece::Other
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_numbers_go_and_short_ones_stay() {
        let table = [
            (
                "my card is 4111 1111 1111 1111, thanks",
                "my card is [number], thanks",
            ),
            ("4111-1111-1111-1111", "[number]"),
            ("call at 10:30 on the 21st", "call at 10:30 on the 21st"),
            ("that is 1,250 pounds", "that is 1,250 pounds"),
            ("four one one one one one one one", "[number]"),
            ("Four one one, um, one. double one one one", "[number]"),
            ("one of the two", "one of the two"),
            ("٤١١١١١١١١١١١١١١١", "[number]"),
            ("", ""),
        ];
        for (said, kept) in table {
            assert_eq!(redact(said), kept);
        }
    }

    proptest! {
        #[test]
        fn no_long_run_is_left(text in "([0-9]{1,9}|[a-z]{1,5}|[ .,()-]{1,3}){0,30}") {
            let clean = redact(&text);
            let mut run = 0;
            for c in clean.chars() {
                run = match c {
                    c if c.is_numeric() => run + 1,
                    c if c.is_alphabetic() || c == '[' => 0,
                    _ => run,
                };
                prop_assert!(run < LONG, "{clean}");
            }
            prop_assert_eq!(redact(&clean), clean.clone(), "once is enough");
        }

        #[test]
        fn a_card_however_grouped_is_gone(
            card in "[0-9]{13,19}", every in 1_usize..6, between in "[ .-]{1,2}", before in "[a-z]{0,9} ?"
        ) {
            let grouped: Vec<String> = card.chars().collect::<Vec<_>>().chunks(every).map(|c| c.iter().collect()).collect();
            let clean = redact(&format!("{before}{}", grouped.join(&between)));
            prop_assert!(!clean.chars().any(char::is_numeric), "{clean}");
        }

        #[test]
        fn text_without_digits_is_left_alone(text in "([b-n]{2,9}[ ,.]){0,30}") {
            let number = ["five", "nine", "eight", "double"];
            prop_assume!(!number.iter().any(|word| text.contains(word)));
            prop_assert_eq!(redact(&text), text);
        }
    }
}
