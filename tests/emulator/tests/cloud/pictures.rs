//! Scores from pixels: in every scene, a degraded JPEG scores below its original.
//! The scenes are drawn, but they pass through a real encoder and a real decoder.

use imm_emulator::pictures::{Kind, Picture, jpeg};
use imm_emulator::score::{Score, has_too_many_pixels, score, undecoded};

fn scored(kind: Kind, seed: u64, width: u32, height: u32) -> Score {
    score(
        &jpeg(&Picture {
            kind,
            width,
            height,
            seed,
        })
        .unwrap(),
    )
    .unwrap()
}

#[test]
fn every_spoilt_copy_scores_below_its_original() {
    for (width, height, scenes) in [(240, 180, 0..8), (700, 500, 8..9)] {
        for seed in scenes {
            let sharp = scored(Kind::Sharp, seed, width, height);
            for kind in [Kind::Blurred, Kind::Dark, Kind::Flat, Kind::Noise] {
                let spoilt = scored(kind, seed, width, height);
                assert!(
                    spoilt < sharp,
                    "{kind:?} of scene {seed}: {spoilt} against {sharp}"
                );
            }
        }
    }
}

#[test]
fn a_score_is_a_single_precision_number_and_the_same_every_time() {
    let text = scored(Kind::Sharp, 7, 320, 240).to_string();
    assert_eq!(text, scored(Kind::Sharp, 7, 320, 240).to_string());
    let single: f32 = text.parse().unwrap();
    assert!((0.0..=1.0).contains(&single), "{text}");
    assert_eq!(f64::from(single).to_string(), text);
    assert_ne!(
        text,
        scored(Kind::Sharp, 8, 320, 240).to_string(),
        "another scene"
    );
}

#[test]
fn bytes_that_are_no_picture_have_no_score() {
    assert!(score(b"plain text").is_err());
    assert!(score(b"").is_err());
    let whole = jpeg(&Picture {
        kind: Kind::Sharp,
        width: 64,
        height: 64,
        seed: 1,
    })
    .unwrap();
    assert!(score(&whole[..40]).is_err(), "a truncated file");
}

#[test]
fn pictures_are_scored_up_to_a_number_of_pixels() {
    // The head of a BMP is enough to read its size.
    let bmp = |width: i32, height: i32| {
        let mut head = b"BM".to_vec();
        head.extend([0; 8]);
        head.extend(54_u32.to_le_bytes());
        head.extend(40_u32.to_le_bytes());
        head.extend(width.to_le_bytes());
        head.extend(height.to_le_bytes());
        head.extend([1, 0, 24, 0]);
        head.extend([0; 24]);
        head
    };
    for (width, height, too_many) in [
        (30_000, 8_333, false),
        (30_000, 8_334, true),
        (30_001, 1, true),
        (1, 30_001, true),
    ] {
        assert_eq!(
            has_too_many_pixels(&bmp(width, height)),
            too_many,
            "{width} x {height}"
        );
    }
    assert!(!has_too_many_pixels(b"plain text"));
}

#[test]
fn a_format_that_is_not_decoded_still_has_a_score() {
    for head in [&b"RIFF\0\0\0\0WEBPVP8 "[..], b"II*\0\x08\0", b"MM\0*\0\0"] {
        assert_eq!(undecoded(head), undecoded(head));
        assert!(undecoded(head).is_some());
    }
    assert_eq!(undecoded(b"RIFF\0\0\0\0WAVEfmt "), None);
    assert_eq!(undecoded(b"plain text"), None);
}
