// Writes problem.npz: a network, a batch, and the gradient that the backward pass below computes.
//
//     node write_problem.mjs && fastbp check problem.npz
//
// An .npz is a zip archive whose members, here not compressed, are arrays: a header of text, then
// the numbers, little-endian, row by row.

import { writeFileSync } from "node:fs";

// ---- .npz ----

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** Little-endian bytes of numbers: littleEndian([2, size], [4, crc]). */
function littleEndian(...fields) {
  return Buffer.concat(
    fields.map(([bytes, value]) => {
      const field = Buffer.alloc(bytes);
      field.writeUIntLE(value, 0, bytes);
      return field;
    }),
  );
}

/** An array as the bytes of an .npy: numbers as doubles, or a text. */
function npy(value, shape) {
  const isText = typeof value === "string";
  const data = isText ? Buffer.from(value, "latin1") : Buffer.alloc(8 * value.length);
  if (!isText) value.forEach((number, place) => data.writeDoubleLE(number, 8 * place));
  const descr = isText ? `|S${data.length}` : "<f8";
  const lengths = shape.map((length) => `${length},`).join("");
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${lengths}), }`;
  header = header.padEnd(64 * Math.ceil((header.length + 11) / 64) - 11) + "\n";
  const start = Buffer.from("\x93NUMPY\x01\x00", "latin1");
  return Buffer.concat([start, littleEndian([2, header.length]), Buffer.from(header), data]);
}

/** The bytes of an .npz: arrays by their keys, each [numbers or text, shape]. */
function npz(arrays) {
  const members = [];
  const directory = [];
  let offset = 0;
  const keys = Object.keys(arrays);
  for (const key of keys) {
    const member = npy(...arrays[key]);
    const name = Buffer.from(`${key}.npy`);
    const entry = littleEndian(
      [2, 20], // version 2.0 of the format
      [4, 0], // no flags, not compressed
      [4, 0x00210000], // 1 January 1980
      [4, crc32(member)],
      [4, member.length],
      [4, member.length],
      [2, name.length],
      [2, 0],
    );
    const local = Buffer.concat([littleEndian([4, 0x04034b50]), entry, name, member]);
    const rest = littleEndian([4, 0], [2, 0], [4, 0], [4, offset]);
    directory.push(littleEndian([4, 0x02014b50], [2, 20]), entry, rest, name);
    members.push(local);
    offset += local.length;
  }
  const listed = Buffer.concat(directory);
  const end = littleEndian(
    [4, 0x06054b50], [4, 0], [2, keys.length], [2, keys.length], [4, listed.length], [4, offset],
    [2, 0],
  );
  return Buffer.concat([...members, listed, end]);
}

// ---- the gradient to be checked ----

const w0 = [[0.5, -1.0], [1.5, 0.25], [-0.75, 2.0]];
const b0 = [0.1, -0.2, 0.3];
const w1 = [1.0, -2.0, 0.5];
const b1 = [0.4];
const x = [[1.0, 2.0], [-1.0, 0.5], [3.0, -1.0], [0.25, 1.0]];
const y = [1.0, 0.0, -1.0, 2.0];

// The sum over the batch of (output - y)^2, by all weights and biases.
const dw0 = w0.map((row) => row.map(() => 0));
const db0 = b0.map(() => 0);
const dw1 = w1.map(() => 0);
const db1 = [0];
x.forEach((inputs, n) => {
  const f = w0.map((row, j) => row.reduce((sum, weight, i) => sum + weight * inputs[i], b0[j]));
  const output = f.reduce((sum, value, j) => sum + w1[j] * Math.max(value, 0), b1[0]);
  const s = 2 * (output - y[n]);
  db1[0] += s;
  f.forEach((value, j) => {
    dw1[j] += s * Math.max(value, 0);
    const below = value > 0 ? s * w1[j] : 0;
    db0[j] += below;
    inputs.forEach((input, i) => (dw0[j][i] += below * input));
  });
});

const file = npz({
  layout: ["torch", []], // rows of x are examples
  weights_0: [w0.flat(), [3, 2]],
  weights_1: [w1, [1, 3]],
  biases_0: [b0, [3]],
  biases_1: [b1, [1]],
  x: [x.flat(), [4, 2]],
  y: [y, [4, 1]],
  dweights_0: [dw0.flat(), [3, 2]],
  dweights_1: [dw1, [1, 3]],
  dbiases_0: [db0, [3]],
  dbiases_1: [db1, [1]],
});
writeFileSync("problem.npz", file);
