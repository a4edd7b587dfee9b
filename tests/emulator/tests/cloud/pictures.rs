//! Scores from pixels: in every scene, a degraded JPEG scores below its original.
//! The scenes are drawn, but they pass through a real encoder and a real decoder.

use imm_emulator::pictures::{Kind, Picture, jpeg};
use imm_emulator::score::{Score, score};

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
