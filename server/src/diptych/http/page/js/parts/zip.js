/** ZIP archives of files that are compressed already (APPNOTE 6.3, method 0: stored). */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(data) {
  let value = ~0;
  for (const byte of data) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/** A list of `[number of bytes, value]` as little-endian bytes. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, Math.min(value, MAX_32), true);
    else view.setUint16(at, Math.min(value, MAX_16), true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

const MAX_16 = 0xffff;  // a number that does not fit is this one, and stands in a record of ZIP64
const MAX_32 = 0xffffffff;
const VERSION = 45;
const UTF8_NAMES = 0x0800;
const NEW_YEAR_1980 = 0x21;

/** A file for `zip`. The browser keeps the blob where it likes; its bytes are in memory only here. */
export async function zipEntry(name, blob) {
  return { name, blob, crc: crc32(new Uint8Array(await blob.arrayBuffer())) };
}

/** An archive of `zipEntry`s of less than 4 GB each; equal names get a number. */
export function zip(files) {
  const parts = [];
  const directory = [];
  const names = new Set();
  let offset = 0;
  for (const { name, blob, crc } of files) {
    const encoded = new TextEncoder().encode(unique(name, names));
    const common = [
      [2, VERSION], [2, UTF8_NAMES], [2, 0], [2, 0], [2, NEW_YEAR_1980],
      [4, crc], [4, blob.size], [4, blob.size], [2, encoded.length],
    ];
    const header = record([4, 0x04034b50], ...common, [2, 0]);
    parts.push(header, encoded, blob);
    const extra = offset < MAX_32 ? record() : record([2, 1], [2, 8], [8, offset]);
    const place = [[2, extra.length], [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(record([4, 0x02014b50], [2, VERSION], ...common, ...place), encoded, extra);
    offset += header.length + encoded.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const place = (bytes) => [[bytes, files.length], [bytes, files.length]];
  if (files.length >= MAX_16 || offset + size >= MAX_32) {
    const end64 = [[4, 0x06064b50], [8, 44], [2, VERSION], [2, VERSION], [4, 0], [4, 0], ...place(8), [8, size]];
    directory.push(record(...end64, [8, offset], [4, 0x07064b50], [4, 0], [8, offset + size], [4, 1]));
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], ...place(2), [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function unique(name, names) {
  let found = name;
  for (let n = 2; names.has(found); n += 1) found = name.replace(/(\.\w+)?$/, ` ${n}$1`);
  names.add(found);
  return found;
}
