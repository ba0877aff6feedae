/** Writes the `newc` cpio archive that Linux takes as its initramfs (Documentation/driver-api/early-userspace/buffer-format.rst). */

export interface Entry {
  path: string;
  /** A folder has none. */
  content?: Uint8Array;
  executable?: boolean;
}

const folderMode = 0o040755;
const fileMode = 0o100644;
const executableMode = 0o100755;

export function cpio(entries: readonly Entry[]): Buffer {
  return Buffer.concat([...entries.map(member), member({ path: 'TRAILER!!!', content: new Uint8Array() }, 0)]);
}

function member({ path, content, executable }: Entry, index: number): Buffer {
  const name = Buffer.from(`${path}\0`);
  const mode = content === undefined ? folderMode : executable ? executableMode : fileMode;
  const links = content === undefined ? 2 : 1;
  const size = content?.length ?? 0;
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [index + 1, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(content ?? new Uint8Array())]);
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
