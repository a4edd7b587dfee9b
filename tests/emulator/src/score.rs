//! Computes a quality score from the pixels: sharpness, exposure and contrast. It is not IMM's model.
//!
//! The only requirement is the order: a blurred, dark or flat copy scores below its original.

use image::{GenericImageView as _, ImageError, ImageReader, Luma, imageops};

/// A score in thousandths, printed as IMM does: a single-precision number with the digits of double precision, such as
/// 0.859000027179718.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u16);

impl std::fmt::Display for Score {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", f64::from(f32::from(self.0) / 1000.0))
    }
}

/// Derives a score from the object's key alone, for objects without pixels: the 64-bit FNV-1a hash of the key's bytes,
/// both halves folded by xor, modulo 1001, in thousandths.
pub fn of_key(key: &str) -> Score {
    of_bytes(key.as_bytes())
}

fn of_bytes(bytes: &[u8]) -> Score {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Score(u16::try_from((hash ^ (hash >> 32)) % 1001).unwrap_or(0))
}

/// Largest width and height, and largest number of pixels, that IMM's page on image processing names.
const MAX_SIDE: u32 = 30_000;
const MAX_PIXELS: u64 = 250_000_000;

/// Returns whether a picture has more pixels than are scored. `false` if its size cannot be read.
pub fn has_too_many_pixels(bytes: &[u8]) -> bool {
    let reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format();
    let size = reader.ok().and_then(|reader| reader.into_dimensions().ok());
    size.is_some_and(|(width, height)| {
        width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS
    })
}

/// Returns a score of a WebP or TIFF, which IMM also reads. The emulator cannot decode them, so the score is derived
/// from all bytes. `None` for other formats.
pub fn undecoded(bytes: &[u8]) -> Option<Score> {
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP".as_slice());
    let tiff = bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*");
    (webp || tiff).then(|| of_bytes(bytes))
}

/// Large pictures are scaled to this size first, so that the same scene scores alike at any resolution.
const LONGEST_SIDE: u32 = 512;

/// Decodes a JPEG, PNG or BMP and scores it. Fails if the bytes are none of these.
pub fn score(bytes: &[u8]) -> Result<Score, ImageError> {
    let image = ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()?
        .decode()?;
    let (width, height) = image.dimensions();
    let gray = image.into_luma8();
    let gray = if width.max(height) > LONGEST_SIDE {
        let scaled = |side: u32| (side * LONGEST_SIDE / width.max(height)).max(1);
        imageops::thumbnail(&gray, scaled(width), scaled(height))
    } else {
        gray
    };
    let (width, height) = gray.dimensions();
    let at = |x: u32, y: u32| {
        gray.get_pixel_checked(x, y)
            .map_or(0.0, |Luma([shade])| f64::from(*shade))
    };

    let shades: Vec<f64> = gray.pixels().map(|Luma([shade])| f64::from(*shade)).collect();
    let (brightness, spread) = mean_and_variance(&shades);
    let edges: Vec<f64> = (1..height.saturating_sub(1))
        .flat_map(|y| (1..width.saturating_sub(1)).map(move |x| (x, y)))
        .map(|(x, y)| at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4.0 * at(x, y))
        .collect();
    let (_, edge_energy) = mean_and_variance(&edges);

    // Each part is in [0, 1]. Grain has far more edge energy than any scene, so sharpness decreases above that energy.
    let logarithm = (1.0 + edge_energy).ln();
    let sharpness = (logarithm / 7.5).min(1.0) - ((logarithm - 8.0) / 2.0).clamp(0.0, 0.6);
    let exposure = 1.0 - ((brightness - 120.0).abs() / 120.0).min(1.0).powi(2);
    let contrast = (spread.sqrt() / 60.0).min(1.0);
    let total = 0.5 * sharpness + 0.25 * exposure + 0.25 * contrast;
    Ok(Score(thousandths(total)))
}

fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let count = u32::try_from(values.len()).map_or(1.0, f64::from).max(1.0);
    let mean = values.iter().sum::<f64>() / count;
    (
        mean,
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count,
    )
}

/// Rounds a fraction to thousandths without a lossy cast, by counting the thousandths that fit.
fn thousandths(share: f64) -> u16 {
    let target = share.clamp(0.0, 1.0) * 1000.0 + 0.5;
    (0..=1000_u16)
        .rev()
        .find(|candidate| f64::from(*candidate) <= target)
        .unwrap_or(0)
}
