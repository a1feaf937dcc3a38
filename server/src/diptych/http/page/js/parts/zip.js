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
    if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return new Uint8Array(view.buffer);
}

const VERSION = 20;
const UTF8_NAMES = 0x0800;
const NEW_YEAR_1980 = 0x21;

/** `files`: `{name, data: Uint8Array}`; equal names get a number. */
export function zip(files) {
  const parts = [];
  const directory = [];
  const names = new Set();
  let offset = 0;
  for (const { name, data } of files) {
    const encoded = new TextEncoder().encode(unique(name, names));
    const common = [
      [2, VERSION], [2, UTF8_NAMES], [2, 0], [2, 0], [2, NEW_YEAR_1980],
      [4, crc32(data)], [4, data.length], [4, data.length], [2, encoded.length], [2, 0],
    ];
    const header = record([4, 0x04034b50], ...common);
    parts.push(header, encoded, data);
    const entry = [[4, 0x02014b50], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]];
    directory.push(record(...entry), encoded);
    offset += header.length + encoded.length + data.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const counts = [[2, files.length], [2, files.length]];
  const end = record([4, 0x06054b50], [2, 0], [2, 0], ...counts, [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function unique(name, names) {
  let found = name;
  for (let n = 2; names.has(found); n += 1) found = name.replace(/(\.\w+)?$/, ` ${n}$1`);
  names.add(found);
  return found;
}
