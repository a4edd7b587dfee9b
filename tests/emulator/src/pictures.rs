//! Test pictures: a scene drawn from a seed number, sharp or degraded in one way, encoded as a real JPEG.
//! The repository stores no pictures: the same seed number draws the same picture on every machine.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, ImageError, Luma, imageops};
use serde::Deserialize;

/// The degradation of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// None: the original.
    #[default]
    Sharp,
    /// Out of focus.
    Blurred,
    /// Strongly underexposed.
    Dark,
    /// Very low contrast.
    Flat,
    /// Strong grain.
    Noise,
}

/// The parameters of a generated picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Picture {
    /// The degradation.
    pub kind: Kind,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The scene: equal numbers draw the same scene, whatever the kind.
    #[serde(default)]
    pub seed: u64,
}

/// A small generator with a fixed sequence, so that a seed file yields the same pictures everywhere.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap_or(0) % bound.max(1)
    }

    fn shade(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// Draws overlapping rectangles on a grey gradient: edges everywhere and a wide histogram.
fn scene(width: u32, height: u32, seed: u64) -> GrayImage {
    let mut sequence = Sequence(seed.wrapping_add(0x9e37_79b9));
    let mut image = GrayImage::from_fn(width, height, |x, y| {
        let share = (x + y) * 200 / (width + height).max(1);
        Luma([u8::try_from(share + 28).unwrap_or(u8::MAX)])
    });
    for _ in 0..90 {
        let (left, top) = (sequence.below(width), sequence.below(height));
        let (across, down) = (sequence.below(width / 5) + 2, sequence.below(height / 5) + 2);
        let shade = Luma([sequence.shade()]);
        for y in top..(top + down).min(height) {
            for x in left..(left + across).min(width) {
                image.put_pixel(x, y, shade);
            }
        }
    }
    image
}

fn each_pixel(image: &mut GrayImage, mut change: impl FnMut(u32) -> u32) {
    for Luma([shade]) in image.pixels_mut() {
        *shade = u8::try_from(change(u32::from(*shade))).unwrap_or(u8::MAX);
    }
}

/// The pictures drawn by this process. A test binary starts many emulators from one seed.
static DRAWN: LazyLock<Mutex<HashMap<Picture, Bytes>>> = LazyLock::new(Mutex::default);

/// Returns the JPEG of a picture, drawn at most once per process. Fails if the encoder rejects the size.
pub fn jpeg(picture: &Picture) -> Result<Bytes, ImageError> {
    let drawn = || DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bytes) = drawn().get(picture) {
        return Ok(bytes.clone());
    }
    let bytes = Bytes::from(draw(picture)?);
    drawn().insert(*picture, bytes.clone());
    Ok(bytes)
}

fn draw(picture: &Picture) -> Result<Vec<u8>, ImageError> {
    let mut image = scene(picture.width.max(8), picture.height.max(8), picture.seed);
    match picture.kind {
        Kind::Sharp => {}
        Kind::Blurred => image = imageops::blur(&image, 4.0),
        Kind::Dark => each_pixel(&mut image, |shade| shade / 8),
        Kind::Flat => each_pixel(&mut image, |shade| 112 + shade / 8),
        Kind::Noise => {
            let mut grain = Sequence(picture.seed);
            each_pixel(&mut image, |shade| (shade + grain.below(161)).saturating_sub(80));
        }
    }
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&image)?;
    Ok(bytes)
}
