//! Writes problem.npz: a network, a batch, and the gradient that the backward pass below computes.
//!
//!     rustc -O write_problem.rs && ./write_problem && fastbp check problem.npz
//!
//! An .npz is a zip archive whose members, here not compressed, are arrays: a header of text, then
//! the numbers, little-endian, row by row.

const INPUTS: usize = 2;
const HIDDEN: usize = 3;

// ---- .npz ----

#[derive(Default)]
struct Npz {
    archive: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

impl Npz {
    fn add(&mut self, key: &str, shape: &[usize], numbers: &[f64]) {
        assert_eq!(shape.iter().product::<usize>(), numbers.len());
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.add_bytes(key, "<f8", shape, &bytes);
    }

    fn add_text(&mut self, key: &str, text: &str) {
        self.add_bytes(key, &format!("|S{}", text.len()), &[], text.as_bytes());
    }

    fn add_bytes(&mut self, key: &str, descr: &str, shape: &[usize], bytes: &[u8]) {
        let lengths: String = shape.iter().map(|length| format!("{length},")).collect();
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({lengths}), }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut member = b"\x93NUMPY\x01\x00".to_vec();
        member.extend((header.len() as u16).to_le_bytes());
        member.extend(header.bytes());
        member.extend(bytes);

        let name = format!("{key}.npy");
        let size = member.len() as u32;
        let mut entry = vec![20, 0]; // version 2.0 of the format
        entry.extend([0, 0, 0, 0]); // no flags, not compressed
        entry.extend(0x0021_0000_u32.to_le_bytes()); // 1 January 1980
        for number in [crc32(&member), size, size] {
            entry.extend(number.to_le_bytes());
        }
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0, 0]);

        self.directory.extend(b"PK\x01\x02\x14\x00");
        self.directory.extend(&entry);
        self.directory.extend([0; 10]);
        self.directory.extend((self.archive.len() as u32).to_le_bytes());
        self.directory.extend(name.bytes());
        self.archive.extend(b"PK\x03\x04");
        self.archive.extend(&entry);
        self.archive.extend(name.bytes());
        self.archive.extend(&member);
        self.count += 1;
    }

    fn write(mut self, path: &str) -> std::io::Result<()> {
        let (start, size) = (self.archive.len() as u32, self.directory.len() as u32);
        self.archive.append(&mut self.directory);
        self.archive.extend(b"PK\x05\x06\x00\x00\x00\x00");
        self.archive.extend(self.count.to_le_bytes());
        self.archive.extend(self.count.to_le_bytes());
        self.archive.extend(size.to_le_bytes());
        self.archive.extend(start.to_le_bytes());
        self.archive.extend([0, 0]);
        std::fs::write(path, self.archive)
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

// ---- the gradient to be checked ----

fn main() -> std::io::Result<()> {
    let w0 = [0.5, -1.0, 1.5, 0.25, -0.75, 2.0];
    let b0 = [0.1, -0.2, 0.3];
    let w1 = [1.0, -2.0, 0.5];
    let b1 = [0.4];
    let x = [[1.0, 2.0], [-1.0, 0.5], [3.0, -1.0], [0.25, 1.0]];
    let y = [1.0, 0.0, -1.0, 2.0];

    // The sum over the batch of (output - y)^2, by all weights and biases.
    let (mut dw0, mut db0) = ([0.0; HIDDEN * INPUTS], [0.0; HIDDEN]);
    let (mut dw1, mut db1) = ([0.0; HIDDEN], [0.0]);
    for (inputs, target) in x.iter().zip(y) {
        let f: Vec<f64> = (0..HIDDEN)
            .map(|j| b0[j] + (0..INPUTS).map(|i| w0[j * INPUTS + i] * inputs[i]).sum::<f64>())
            .collect();
        let output = b1[0] + (0..HIDDEN).map(|j| w1[j] * f[j].max(0.0)).sum::<f64>();
        let s = 2.0 * (output - target);
        db1[0] += s;
        for j in 0..HIDDEN {
            dw1[j] += s * f[j].max(0.0);
            let below = if f[j] > 0.0 { s * w1[j] } else { 0.0 };
            db0[j] += below;
            for i in 0..INPUTS {
                dw0[j * INPUTS + i] += below * inputs[i];
            }
        }
    }

    let mut npz = Npz::default();
    npz.add_text("layout", "torch"); // rows of x are examples
    npz.add("weights_0", &[HIDDEN, INPUTS], &w0);
    npz.add("weights_1", &[1, HIDDEN], &w1);
    npz.add("biases_0", &[HIDDEN], &b0);
    npz.add("biases_1", &[1], &b1);
    npz.add("x", &[x.len(), INPUTS], &x.concat());
    npz.add("y", &[y.len(), 1], &y);
    npz.add("dweights_0", &[HIDDEN, INPUTS], &dw0);
    npz.add("dweights_1", &[1, HIDDEN], &dw1);
    npz.add("dbiases_0", &[HIDDEN], &db0);
    npz.add("dbiases_1", &[1], &db1);
    npz.write("problem.npz")
}
