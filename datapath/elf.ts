/** The content of a section of a 64-bit little-endian ELF file, which is what clang makes for BPF. */

const MAGIC = 0x464c457f;
const SECTION_HEADER_BYTES = 64;
const NO_BITS = 8;

/** Undefined when there is no such section or it occupies no space in the file (.bss). */
export function elfSection(file: Buffer, name: string): Buffer | undefined {
  if (file.length < 64 || file.readUInt32LE(0) !== MAGIC || file[4] !== 2 || file[5] !== 1) {
    throw new TypeError('not a 64-bit little-endian ELF file');
  }
  const table = Number(file.readBigUInt64LE(0x28));
  const count = file.readUInt16LE(0x3c);
  const sections = Array.from({ length: count }, (_, i) => {
    const header = file.subarray(table + i * SECTION_HEADER_BYTES, table + (i + 1) * SECTION_HEADER_BYTES);
    return {
      nameAt: header.readUInt32LE(0),
      type: header.readUInt32LE(4),
      offset: Number(header.readBigUInt64LE(0x18)),
      size: Number(header.readBigUInt64LE(0x20)),
    };
  });
  const names = sections[file.readUInt16LE(0x3e)];
  if (!names) throw new TypeError('ELF file without section names');
  const found = sections.find(({ nameAt }) => {
    const start = names.offset + nameAt;
    return file.toString('latin1', start, file.indexOf(0, start)) === name;
  });
  return found && found.type !== NO_BITS ? file.subarray(found.offset, found.offset + found.size) : undefined;
}
